# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as Ansible makes it: what it writes, when it says that it has changed, and nodes that cannot be asked."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import yaml

from hostnic.cloud import credentials
from hostnic.cloud.build import connect
from hostnic.config import Settings
from tests.emulator import Emulator
from tests.support import fleets
from tests.support.ansible import attempt
from tests.support.integration import SECRET, ZONE, cloud, variables
from tests.support.tasks import Task, results

REPORT: t.Final = "qingcloud.cni.hostnic_report"
EVIL: t.Final = "<script>alert(1)</script>{{ 7 * 7 }}"
WORLD: t.Final = {
    "routers": [{"router_id": "rtr-1", "vpc_network": "172.16.0.0/16"}],
    "vxnets": [{"vxnet_id": "vxnet-a", "router_id": "rtr-1", "ip_network": "172.16.1.0/24"}],
    "instances": [
        {"instance_id": "i-1", "primary": {"vxnet_id": "vxnet-a"}},
        {"instance_id": "i-2", "primary": {"vxnet_id": "vxnet-a"}},
    ],
}


class Unsafe(str):
    """Text that Ansible does not take for a template, as what real nodes answer."""


yaml.SafeDumper.add_representer(Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"'))


def given(path: Path, **changes: t.Any) -> dict[str, t.Any]:
    answer = fleets.node(1, 6, **changes)
    answer["leases"][0]["args"]["K8S_POD_NAME"] = EVIL
    return {"path": str(path), "nodes": {"node1": {"answers": Unsafe(json.dumps(answer))}}, "vxnets": fleets.vxnets(1)}


def test_it_is_written_as_a_whole_and_changes_with_what_it_says(tmp_path: Path) -> None:
    path, open_to_all = tmp_path / "page.html", tmp_path / "open.html"
    later, less = given(path, now=fleets.NOW + 60), given(path, leases=[fleets.lease(1, 0, fleets.nic(1, 0, 6))])
    said = results(
        tmp_path,
        [
            Task(REPORT, given(path), check=True),
            Task(REPORT, given(path)),
            Task(REPORT, later),
            Task(REPORT, less, check=True),
            Task(REPORT, less),
            Task(REPORT, {**given(open_to_all), "mode": "0644"}),
            Task(REPORT, {**given(tmp_path / "nowhere" / "page.html")}),
            Task(REPORT, {**given(path), "mode": "rw"}),
            Task(REPORT, {**given(path), "nodes": "none"}),
        ],
    )
    assert [one.get("changed") for one in said[:6]] == [True, True, False, True, True, True]
    first = said[1]
    assert (first["path"], first["problems"]) == (str(path), said[0]["problems"])
    assert first["verdict"] == "1 warning, on no node." and first["problems"][0]["severity"] == "warning"
    assert (path.stat().st_mode & 0o777, open_to_all.stat().st_mode & 0o777) == (0o600, 0o644)
    assert [one["failed"] for one in said[6:]] == [True, True, True]
    assert "nowhere/page.html: No such file or directory: set report_path" in said[6]["msg"]
    assert said[7]["msg"] == 'mode rw is no octal number: say "0600"'
    assert sorted(one.name for one in tmp_path.iterdir() if one.suffix == ".html") == ["open.html", "page.html"]
    text = open_to_all.read_text(encoding="utf-8")
    assert first["size"] == len(text.encode())
    assert "<script" not in text and "shop/&lt;script&gt;alert(1)&lt;/script&gt;{{ 7 * 7 }}" in text


def test_no_node_and_no_cloud_keeps_it_from_being_made(tmp_path: Path) -> None:
    """One node cannot be reached, one has no Python, one has nothing of ours; one NIC's instance is gone.

    The key may not describe vxnets.
    """
    inventory, page = tmp_path / "inventory.yml", tmp_path / "page.html"
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    nothing = {f"qingagent_{name}": str(tmp_path / name) for name in ("statedir", "rundir")}
    with cloud(WORLD) as emulator:
        access = variables(emulator)
        host, __, port = access["qingcloud_endpoint"].removeprefix("http://").removesuffix("/iaas").partition(":")
        stray = _stray(emulator, access)
        hosts = {
            "away": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9},
            "bare": local,
            "odd": {**local, "ansible_python_interpreter": "/nowhere/python"},
        }
        key = {
            "qingagent_access_key_id": access["qingcloud_access_key_id"],
            "qingagent_secret_access_key": SECRET,
            "qingagent_zone": access["qingcloud_zone"],
            "qingagent_protocol": "http",
            "qingagent_host": host,
            "qingagent_port": int(port),
            "qingagent_vxnet": ["vxnet-a"],
        }
        group = {"hosts": hosts, "vars": {**key, **nothing}}
        inventory.write_text(json.dumps({"qingcloud_nodes": group}), encoding="utf-8")
        words = ("ansible-playbook", "-i", str(inventory), "playbooks/report.yml", "-e", f"report_path={page}")
        emulator.faults.order({"action": "DescribeVxnets", "kind": "ret_code", "ret_code": 1400, "message": "no"})
        done = attempt(*words, "-vv")
    assert done.returncode == 0, done.stdout + done.stderr
    text = page.read_text(encoding="utf-8")
    for name in hosts:
        assert f"<h3>{name}</h3>" in text
    for sentence in (
        "Unreachable: nothing is known of the node",
        "Reached, but it could not be asked",
        "The agent does not answer",
        "qingagent is not there: run site.yml",
        "How many addresses are free in vxnets",
        "QingCloud refused DescribeVxnets",
        "the cloud has no i-gone",
        stray,
    ):
        assert sentence in text, sentence
    assert SECRET not in text + done.stdout + done.stderr
    assert "3 errors and 1 warning, on 3 of 3 nodes." in done.stdout


def _stray(emulator: Emulator, access: t.Mapping[str, str]) -> str:
    """A NIC of an instance that there never was."""
    key = {"qy_access_key_id": access["qingcloud_access_key_id"], "qy_secret_access_key": SECRET, "zone": ZONE}
    settings = Settings(access_file="/nonexistent")
    client = connect(settings, overrides={**key, **credentials.endpoint(access["qingcloud_endpoint"])})
    [nic] = client.create_nics("vxnet-a", 1, "qingcni_i-gone")
    return nic.nic_id
