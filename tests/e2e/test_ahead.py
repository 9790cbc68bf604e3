# SPDX-License-Identifier: GPL-3.0-or-later
"""A pod has its NIC before an interpreter has started, and whoever ends meanwhile loses none."""

from __future__ import annotations

import json
import re
import typing as t

import pytest

from tests.e2e.attachment import DONE, NETWORK, PLUGIN, Sandbox
from tests.e2e.cluster import Cluster
from tests.lab.lab import Node
from tests.lab.wait import until

Make = t.Callable[[Node, str], Sandbox]
PLACE = "/run/late"
# An interpreter that does not start before there is a file.
LATE = """#!/bin/sh
while ! [ -e {place}/gate ]; do sleep 0.05; done
exec {python} "$@"
"""


class Late:
    """qingcni as it is installed, whose interpreter waits for `go`."""

    def __init__(self, node: Node) -> None:
        self.node = node
        node.run(["mkdir", "-p", PLACE])
        launcher = node.run(["cat", PLUGIN]).stdout
        (python,) = re.findall(r"exec (\S+) -IS ", launcher)
        self._write("python", LATE.format(place=PLACE, python=python))
        self._write("qingcni", launcher.replace(f"exec {python}", f"exec {PLACE}/python"))

    def _write(self, name: str, text: str) -> None:
        path = self.node.path(f"{PLACE}/{name}")
        path.write_text(text)
        path.chmod(0o755)

    def start(self, box: Sandbox) -> str:
        """An ADD, whose pid this is."""
        conf = {"cniVersion": "1.0.0", "name": NETWORK, "type": "qingcni"}
        self.node.path(f"{PLACE}/conf").write_text(json.dumps(conf))
        call = (
            f"CNI_COMMAND=ADD CNI_CONTAINERID={box.name} CNI_NETNS={box.netns} CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin "
            f"{PLACE}/qingcni <{PLACE}/conf >{PLACE}/stdout 2>&1 & echo $!"
        )
        return self.node.run(["sh", "-c", call]).stdout.strip()

    def go(self) -> None:
        self._write("gate", "")

    def runs(self, pid: str) -> bool:
        return self.node.path(f"/proc/{pid}").exists()

    def said(self) -> str:
        return self.node.path(f"{PLACE}/stdout").read_text()


@pytest.fixture
def late(cluster: Cluster) -> t.Iterator[Late]:
    node = cluster.nodes[0]
    cluster.wait_ready(node)
    yield Late(node)
    node.run(["rm", "-r", PLACE])


def test_a_pod_has_its_nic_before_the_interpreter_runs(cluster: Cluster, late: Late, sandbox: Make) -> None:
    box = sandbox(late.node, "early")
    pid = late.start(box)
    until(lambda: late.node.path("/run/qingagent/ahead").exists() and box.leases(), 20, "a lease")
    until(lambda: "eth0" in box.names() and box.routes(), 20, "the NIC in the pod")
    assert late.said() == ""
    late.go()
    until(lambda: not late.runs(pid), 20, "qingcni's end")
    result = json.loads(late.said())
    assert result["interfaces"][0]["mac"] == box.mac()
    assert result["ips"][0]["address"].split("/")[0] == box.address()
    assert len(box.leases()) == 1
    assert box.call_del() == DONE
    assert box.leases() == []


def test_who_is_killed_before_its_interpreter_runs_leaves_what_a_del_takes_back(
    cluster: Cluster, late: Late, sandbox: Make
) -> None:
    box = sandbox(late.node, "killed")
    pid = late.start(box)
    until(lambda: "eth0" in box.names() and box.routes(), 20, "the NIC in the pod")
    mac = box.mac()
    late.node.run(["kill", "-KILL", pid])
    until(lambda: not late.runs(pid), 20, "its end")
    (lease,) = box.leases()
    assert lease["nic_id"] == mac
    assert box.call_del() == DONE
    assert box.leases() == []
    assert mac in cluster.parked(late.node)


def test_while_the_agent_is_away_nothing_goes_ahead(cluster: Cluster, late: Late, sandbox: Make) -> None:
    node, box = late.node, sandbox(late.node, "alone")
    node.run(["systemctl", "stop", "qingagent.service"])  # its socket stays, and starts it again
    assert not node.path("/run/qingagent/ahead").exists()
    late.go()
    pid = late.start(box)
    until(lambda: not late.runs(pid), 60, "qingcni's end")
    assert json.loads(late.said())["interfaces"][0]["mac"] == box.mac()
    assert box.call_del() == DONE
