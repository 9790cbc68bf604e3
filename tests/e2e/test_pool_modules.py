# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's pool by modules and playbook: warmed, drained beside a pod, taken back; with the agent and without it."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.lab.lab import Node

UNITS = ["qingagent.socket", "qingagent.service"]


class Modules:
    """`hostnic_pool` on one node, as an operator runs it ad hoc."""

    def __init__(self, cluster: Cluster, node: Node, directory: Path) -> None:
        self.cluster = Cluster(cluster.lab, (node,))
        self.node = node
        self._said = directory / node.name

    def __call__(self, *words: str, module: str = "hostnic_pool", **arguments: t.Any) -> dict[str, t.Any]:
        call = [
            "-m",
            f"qingcloud.cni.{module}",
            "-a",
            json.dumps(arguments) if arguments else "",
            "--tree",
            str(self._said.parent),
        ]
        done = self.cluster.ansible("ansible", self.node.name, *call, *words)
        assert self._said.exists(), done.stdout + done.stderr
        said: dict[str, t.Any] = json.loads(self._said.read_text())
        assert done.returncode == 0 and not said.get("failed"), said
        return said

    def named(self) -> set[str]:
        """The NICs in the cloud that bear a name of this node's."""
        nics = self.cluster.lab.control("GET", "nics")
        return {nic["nic_id"] for nic in nics if nic["nic_name"].endswith(f"_{self.node.instance_id}")}


@pytest.fixture
def modules(cluster: Cluster, tmp_path: Path) -> t.Iterator[Modules]:
    node = cluster.nodes[0]
    yield Modules(cluster, node, tmp_path)
    node.run(["systemctl", "start", *UNITS])
    node.run(["qingagent", "resume"])
    cluster.wait_ready(node)


def test_a_pool_is_warmed_drained_and_taken_back(cluster: Cluster, modules: Modules) -> None:
    node = modules.node
    with cluster.short_rest(node):
        cluster.wait_rest(node)
        foreseen = modules("--check", state="warmed", size=6)
        warmed = modules(state="warmed", size=6)
        assert (warmed["via"], warmed["plan"], warmed["changed"]) == ("agent", foreseen["plan"], True)
        assert len(cluster.in_state(node, "READY")) >= 6
        assert not modules(state="warmed", size=6)["changed"]

        pod = cluster.pod(node, "stays")
        (link,) = pod.ip("link", "show", "dev", "eth0")
        shown = modules.cluster.play("drain")
        address = cluster.pool(node)[link["address"]]["private_ip"]
        assert f"{link['address']} {address}: used by e2e/stays" in shown
        pods, gateways = cluster.in_state(node, "IN_USE"), cluster.in_state(node, "GATEWAY")
        assert link["address"] in pods
        assert modules.named() == pods | gateways
        with pytest.raises(Exception, match="this node is drained"):
            cluster.pod(node, "refused")
        assert pod.pings(cluster.lab.vxnets[0].gateway)


def test_without_an_agent_the_module_does_its_work(cluster: Cluster, modules: Modules) -> None:
    """Under the agent's lock, on the agent's journal: the next agent goes on where the module has stopped."""
    node = modules.node
    with cluster.own_boot_id(node) as boot_id, cluster.short_rest(node, boot_id):
        cluster.wait_rest(node)
        pod = cluster.pod(node, "stays")
        before = modules.named()
        node.run(["systemctl", "stop", *UNITS])
        told = modules(module="hostnic_pool_info")
        assert (told["via"], {nic["nic_id"] for nic in told["nics"]}) == ("journal", before)
        foreseen = modules("--check", state="drained")
        assert modules.named() == before
        drained = modules(state="drained")
        assert (drained["via"], drained["changed"], drained["left"]) == ("journal", True, foreseen["left"])
        assert "used by e2e/stays" in [nic["why"] for nic in drained["left"]]
        assert {nic["state"] for nic in drained["left"]} <= {"IN_USE", "GATEWAY"}
        assert modules.named() == {nic["nic_id"] for nic in drained["left"]}
        assert not modules(state="drained")["changed"]
        assert pod.pings(cluster.lab.vxnets[0].gateway)

        assert modules(state="resumed")["changed"]
        assert modules(state="warmed", size=5)["changed"]
        made = modules.named()
        node.run(["systemctl", "start", *UNITS])
        assert len(cluster.wait_ready(node, 5)) == 5
        assert modules.named() == made
        cluster.wait_sound(node)
