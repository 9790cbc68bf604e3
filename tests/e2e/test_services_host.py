# SPDX-License-Identifier: GPL-3.0-or-later
"""What services need of the cloud and of the host, and what becomes of them without."""

from __future__ import annotations

import contextlib
import typing as t

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.services import fabric
from tests.e2e.services.cases import CASES, by_router_from_a_pod, forwarded_unmarked, numbers, replies_for_another
from tests.e2e.services.modes import MODES
from tests.e2e.services.stage import Flags, Outcome, Stage, staged
from tests.lab.lab import Node
from tests.support.api import Api

SHORT = 3.0  # s until a transfer that cannot succeed is given up
GATEWAYS = "qg+"  # every gateway NIC, as iptables writes it


@pytest.fixture(scope="module")
def stage(cluster: Cluster) -> t.Iterator[Stage]:
    with staged(cluster, {"h1": cluster.nodes[0], "h2": cluster.nodes[1]}, CASES) as stage:
        yield stage


@pytest.mark.parametrize("mode", MODES)
def test_services_fail_while_the_cloud_checks_the_sources_of_gateway_nics(stage: Stage, mode: str) -> None:
    """So `mac+ip` is really what it says, and the agent's call to the cloud is really needed."""
    api, node = Api(stage.cluster.lab), stage.nodes["h1"]
    with contextlib.ExitStack() as undo:
        for nic_id in stage.gateways(node):
            undo.callback(api.call, "ModifyNicAttributes", nic=nic_id, enable_aspoof=0)
            api.call("ModifyNicAttributes", nic=nic_id, enable_aspoof=1)
        undo.enter_context(fabric.port_security(stage.cluster.lab, "mac+ip"))
        undo.enter_context(stage.proxied(mode, Flags()))
        assert stage.play(patience=SHORT).failed == numbers(CASES, replies_for_another) != set()


@contextlib.contextmanager
def strict(node: Node) -> t.Iterator[None]:
    """The primary takes nothing from a source that another link is nearer to."""
    key = "net.ipv4.conf.eth0.rp_filter"
    before = node.run(["sysctl", "-n", key]).stdout.strip()
    node.run(["sysctl", "-q", "-w", f"{key}=1"])
    try:
        yield
    finally:
        node.run(["sysctl", "-q", "-w", f"{key}={before}"])


def test_a_primary_with_strict_rp_filter_takes_nothing_from_pods_by_the_router(stage: Stage) -> None:
    with strict(stage.nodes["h1"]), strict(stage.nodes["h2"]), stage.proxied("iptables", Flags()):
        assert stage.play(patience=SHORT).failed == numbers(CASES, by_router_from_a_pod) != set()


@contextlib.contextmanager
def forwarding_drops(node: Node) -> t.Iterator[None]:
    """As Docker leaves it."""
    node.run(["iptables", "-P", "FORWARD", "DROP"])
    try:
        yield
    finally:
        node.run(["iptables", "-P", "FORWARD", "ACCEPT"])


@contextlib.contextmanager
def gateways_accepted(node: Node) -> t.Iterator[None]:
    rules = [["FORWARD", way, GATEWAYS, "-j", "ACCEPT"] for way in ("-i", "-o")]
    for rule in rules:
        node.run(["iptables", "-I", *rule])
    try:
        yield
    finally:
        for rule in rules:
            node.run(["iptables", "-D", *rule])


def test_a_forward_policy_of_drop_leaves_what_kube_proxy_has_marked(stage: Stage) -> None:
    with stage.proxied("iptables", Flags()), forwarding_drops(stage.nodes["h1"]):
        assert stage.play(patience=SHORT).failed == numbers(CASES, forwarded_unmarked) != set()


@pytest.mark.parametrize("mode", MODES)
def test_two_rules_for_gateway_nics_are_enough_against_a_forward_policy_of_drop(stage: Stage, mode: str) -> None:
    node = stage.nodes["h1"]
    with stage.proxied(mode, Flags()), forwarding_drops(node), gateways_accepted(node):
        assert stage.play().outcomes == {case.number: Outcome.of(case) for case in CASES}
