# SPDX-License-Identifier: GPL-3.0-or-later
"""A module on a machine whose Python has nothing installed: packages are sent once, check mode leaves none behind."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from plugins.module_utils._ansible import artifacts, download, lock
from tests.support.ansible import CLONE
from tests.support.integration import Runner, cloud

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

WORLD = {
    "routers": [{"router_id": "rtr-1", "vpc_network": "172.16.0.0/16"}],
    "vxnets": [{"vxnet_id": "vxnet-a", "router_id": "rtr-1", "ip_network": "172.16.1.0/24"}],
    "instances": [{"instance_id": "i-1", "primary": {"vxnet_id": "vxnet-a"}}],
}
# /usr/lib with what is written there in a directory of the test's
OVERLAY = 'mount -t overlay overlay -o "lowerdir=/usr/lib,upperdir=$1,workdir=$2" /usr/lib && shift 2 && exec "$@"'


def test_packages_are_sent_once(tmp_path: Path) -> None:
    python = tmp_path / "bare"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(python)], check=True)
    house = CLONE / ".cache/artifacts"
    download.from_index(lock.parse((CLONE / "files/requirements.lock").read_text()), artifacts.Node.here(), house)
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    within = ("unshare", "--mount", "sh", "-c", OVERLAY, "sh", str(upper), str(work))
    told = (f"-eansible_python_interpreter={python}/bin/python", f"-eqingagent_wheelhouse={house}", "-vvv")
    wanted = {"state": "attached", "instance": "i-1", "vxnet": "vxnet-a", "count": 2}

    def trips() -> int:
        """How often the module was sent."""
        return run.said.count("Using module file")

    with cloud(WORLD) as emulator:
        run = Runner(tmp_path, emulator, within=within)
        assert run.module("qingcloud_nic", "--check", *told, **wanted)["changed"], run.said
        assert trips() == 2 and not (upper / "hostnic").exists()
        assert run.module("qingcloud_nic", *told, **wanted)["changed"], run.said
        assert trips() == 2 and [path.name[:5] for path in (upper / "hostnic").glob("[!.]*")] == ["deps-"]
        assert not run.module("qingcloud_nic", *told, **wanted)["changed"]
        assert trips() == 1, "they are found again"
        assert run.module("hostnic_sweep", *told)["strays"] == [] and trips() == 1, "by every module"
