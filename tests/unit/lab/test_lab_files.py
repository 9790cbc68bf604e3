# SPDX-License-Identifier: GPL-3.0-or-later
"""What other programs read: lab.json, the inventory, the closing table."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path

import pytest
import yaml

from tests.lab import inventory, soak
from tests.lab.errors import LabError
from tests.lab.lab import Api, Lab, Node, Vxnet
from tests.lab.progress import Progress
from tests.lab.table import table
from tests.lab.wait import until

NODE = Node("node1", "i-lab00001", "172.16.0.11", "qclab-node1", 7, "/s", "/r", "/r/bin", "/r/conf")
LAB = Lab(
    Api("http://192.0.2.1:7080", "KEY", "SECRET", "lab1", "http://127.0.0.1:1"),
    "/inventory.yml",
    (Vxnet("vxnet-labpods1", "172.16.1.0/24", "172.16.1.1"),),
    (NODE,),
)


def test_lab_json_has_exactly_these_keys(tmp_path: Path) -> None:
    path = tmp_path / "lab.json"
    LAB.save(path)
    content = json.loads(path.read_text())
    assert set(content) == {"api", "inventory", "ssh", "vxnets", "nodes"}
    assert set(content["api"]) == {"url", "access_key_id", "secret_access_key", "zone", "control_url"}
    assert set(content["ssh"]) == {"user", "private_key"}
    assert set(content["vxnets"][0]) == {"vxnet_id", "cidr", "gateway"}
    keys = "name instance_id address netns pid containerd root cni_bin cni_conf"
    assert set(content["nodes"][0]) == set(keys.split())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Lab.load(path) == LAB


def test_no_lab_is_said(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="make lab"):
        Lab.load(tmp_path / "lab.json")


def test_the_inventory_checks_host_keys() -> None:
    group = yaml.safe_load(inventory.dump(LAB))["qingcloud_nodes"]
    assert group["hosts"]["node1"]["ansible_host"] == "172.16.0.11"
    variables = group["vars"]
    assert "StrictHostKeyChecking=yes" in variables["ansible_ssh_common_args"]
    assert (variables["qingagent_host"], variables["qingagent_port"]) == ("192.0.2.1", 7080)
    assert variables["qingagent_vxnet"] == ["vxnet-labpods1"]


def test_table() -> None:
    assert table(("node", "to"), [("n1", "router 1"), ("node10", "x")]) == (
        "node    to\n------  --------\nn1      router 1\nnode10  x"
    )


def test_a_step_is_one_line() -> None:
    out = io.StringIO()
    progress = Progress(out)
    with progress.step("one") as report:
        report("not on a pipe")
    with pytest.raises(LabError), progress.step("two"):
        raise LabError("no")
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["one", "two"]
    assert lines[0].endswith(" s") and lines[1].endswith("failed")


def test_waiting_has_an_end() -> None:
    answers = iter([None, 0, 5])
    assert until(lambda: next(answers), 5, "an answer") == 5
    with pytest.raises(LabError, match=r"a miracle: not within 0\.01 s"):
        until(lambda: None, 0.01, "a miracle")


def test_leftovers_are_what_is_new() -> None:
    before = {"links": {"lo", "eth0"}, "mounts": {"/"}}
    after = {"links": {"lo", "qclab-up"}, "mounts": {"/"}}
    assert soak.leftovers(before, after) == ["links: qclab-up"]
