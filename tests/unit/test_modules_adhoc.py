# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that ask the cloud as people call them: by short and by full name, from a clone and installed."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from tests.emulator import Emulator
from tests.support.ansible import CLONE, program
from tests.support.integration import SECRET, Runner, cloud

MODULES = ("qingcloud_nic", "qingcloud_nic_info", "qingcloud_vxnet_info", "hostnic_sweep")
WORLD: t.Final = {
    "routers": [{"router_id": "rtr-1", "vpc_network": "172.16.0.0/16"}],
    "vxnets": [{"vxnet_id": "vxnet-a", "router_id": "rtr-1", "ip_network": "172.16.1.0/24"}],
    "instances": [{"instance_id": "i-1", "primary": {"vxnet_id": "vxnet-a"}}],
}


@pytest.fixture(scope="module")
def emulator() -> t.Iterator[Emulator]:
    with cloud(WORLD) as running:
        yield running


@pytest.fixture
def run(tmp_path: Path, emulator: Emulator) -> Runner:
    return Runner(tmp_path, emulator)


def test_the_short_name_from_a_clone_and_the_secret_in_no_output(run: Runner, emulator: Emulator) -> None:
    wanted = {"state": "attached", "instance": "i-1", "vxnet": "vxnet-a", "count": 2}
    foreseen = run.module("qingcloud_nic", "--check", "--diff", "-vvvv", **wanted)
    assert "+a new NIC - vxnet-a qingcni_i-1 attached to i-1" in run.said
    assert SECRET not in run.said and SECRET not in json.dumps(foreseen)
    done = run.module("qingcloud_nic", "--diff", "-vvvv", **wanted)
    assert SECRET not in run.said and SECRET not in json.dumps(done)
    assert str(CLONE / "plugins/modules/qingcloud_nic.py") in run.said
    for key in ("changed", "actions", "diff"):
        assert foreseen[key] == done[key], key
    assert not run.module("qingcloud_nic", **wanted)["changed"]
    assert len([nic for nic in emulator.cloud.nics.values() if nic.instance_id == "i-1"]) == 3


def test_what_the_api_refuses_comes_back_with_its_code(run: Runner, emulator: Emulator) -> None:
    emulator.faults.order(
        {"action": "CreateNics", "kind": "ret_code", "ret_code": 2500, "message": "QuotasExceeded, no"}
    )
    refused = run.module("qingcloud_nic", "-vvvv", instance="i-1", vxnet="vxnet-a", count=50)
    assert refused["failed"] and SECRET not in run.said
    assert [refused[key] for key in ("code", "action", "ret_code", "changed")] == [
        "QuotaExceeded", "CreateNics", 2500, False,
    ]  # fmt: skip
    assert refused["msg"] == (
        "QingCloud refused CreateNics: QuotasExceeded, no (ret_code 2500): ask QingCloud for a higher quota"
    )


def test_a_wrong_key_and_options_that_are_wrong(run: Runner) -> None:
    wrong = run.module("qingcloud_vxnet_info", secret_access_key="wrong-" + SECRET)
    assert (wrong["code"], wrong["ret_code"]) == ("AuthFailed", 1200) and SECRET not in run.said
    unknown = run.module("qingcloud.cni.hostnic_sweep", state="gone")
    assert "value of state must be one of: reported, absent" in unknown["msg"]
    given = run.module("qingcloud_nic_info", packages={"lock": "x"})
    assert given["msg"] == "qingcloud_nic_info sets packages itself"


def access_file(run: Runner, path: Path, **changes: t.Any) -> Path:
    access = run.access()
    host, __, port = access["endpoint"].removeprefix("http://").removesuffix("/iaas").partition(":")
    content = {
        "qy_access_key_id": access["access_key_id"], "qy_secret_access_key": access["secret_access_key"],
        "host": host, "port": int(port), "protocol": "http", "uri": "/iaas", "zone": access["zone"], **changes,
    }  # fmt: skip
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    path.chmod(0o600)
    return path


def works(run: Runner, **options: t.Any) -> bool:
    """Whether the account's vxnet is told, and the secret is not."""
    told = run.module("qingcloud_vxnet_info", "-vvvv", access=False, **options)
    assert SECRET not in run.said and SECRET not in json.dumps(told)
    return [vxnet["vxnet_id"] for vxnet in told.get("vxnets", [])] == ["vxnet-a"]


def test_access_from_options_environment_and_file_in_this_order(run: Runner, tmp_path: Path) -> None:
    access = run.access()
    path = access_file(run, tmp_path / "client.yaml")
    assert works(run, access_file=str(path))
    path.chmod(0o644)
    open_to_all = run.module("qingcloud_vxnet_info", access=False, access_file=str(path))
    assert "is open to others (mode 0644): run chmod 0600" in open_to_all["msg"]

    access_file(run, path, zone="nowhere", qy_secret_access_key="wrong")
    run.environment = {
        "QINGCLOUD_ACCESS_FILE": str(path),
        "QINGCLOUD_ACCESS_KEY": access["access_key_id"],
        "QINGCLOUD_SECRET_KEY": access["secret_access_key"],
        "QINGCLOUD_ZONE": access["zone"],
        "QINGCLOUD_ENDPOINT": access["endpoint"],
    }
    assert works(run)
    run.environment.update(QINGCLOUD_ZONE="nowhere", QINGCLOUD_ENDPOINT="http://127.0.0.1:9/iaas")
    assert works(run, zone=access["zone"], endpoint=access["endpoint"])
    assert not works(run, endpoint=access["endpoint"])


def test_access_by_the_role_of_the_instance(run: Runner, emulator: Emulator, tmp_path: Path) -> None:
    proxy = emulator.metadata_url.rpartition(":")[2].partition("/")[0]
    path = access_file(
        run, tmp_path / "client.yaml", qy_access_key_id=None, qy_secret_access_key=None,
        credential_proxy_host="127.0.0.1", credential_proxy_port=int(proxy),
    )  # fmt: skip
    emulator.cloud.set_role("i-1", "cni")
    assert works(run, access_file=str(path))
    emulator.cloud.set_role("i-1", "")


def test_installed_from_the_artifact_without_a_network(tmp_path: Path, emulator: Emulator) -> None:
    galaxy = program("ansible-galaxy")

    def command(*words: str) -> None:
        # not from the clone, whose ansible.cfg says that the collection is there
        done = subprocess.run([galaxy, "collection", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    command("build", str(CLONE), "--output-path", str(tmp_path / "artifact"))
    (artifact,) = (tmp_path / "artifact").iterdir()
    command("install", "--offline", "--no-deps", "-p", str(tmp_path / "collections"), str(artifact))

    installed = Runner(tmp_path, emulator, collections=tmp_path / "collections")
    told = installed.module("qingcloud.cni.qingcloud_nic", "-vvvv", instance="i-1", vxnet="vxnet-a", nic_name="mine")
    assert told["changed"], told
    assert SECRET not in installed.said
    assert str(tmp_path / "collections/ansible_collections/qingcloud/cni/plugins/modules") in installed.said
    assert str(CLONE) not in installed.said.replace(sys.prefix, "")


def test_all_modules_are_in_the_action_group_that_documents_them() -> None:
    group = yaml.safe_load((CLONE / "meta/runtime.yml").read_text())["action_groups"]["qingcloud"]
    taking = [path.stem for path in (CLONE / "plugins/modules").glob("*.py") if "_access\n" in path.read_text()]
    assert sorted(group) == sorted(taking) and set(MODULES) <= set(group)
    for name in taking:
        assert (CLONE / f"plugins/action/{name}.py").exists()
        assert "qingcloud.cni._attributes.action_group" in (CLONE / f"plugins/modules/{name}.py").read_text()
