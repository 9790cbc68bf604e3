# SPDX-License-Identifier: GPL-3.0-or-later
"""A node whose primary NIC lies in a pod vxnet: no gateway NIC is made there, its own address is the pods' gateway."""

from __future__ import annotations

import json
import typing as t
from collections import Counter

import pytest

from tests.e2e.cluster import Cluster, fresh_node
from tests.e2e.services import fabric
from tests.e2e.services.cases import (
    ALONE_CASES,
    PRIMARY_CASES,
    SERVICES,
    Case,
    by_a_primary_for_a_service,
    numbers,
)
from tests.e2e.services.modes import MODES
from tests.e2e.services.stage import Batch, Flags, Outcome, Stage, staged
from tests.lab.lab import Node
from tests.support.api import Api

NOBODYS = "10.96.200.1"  # a service that kube-proxy does not know, yet
SHORT = 3.0  # s until a transfer that cannot succeed is given up


@pytest.fixture(scope="module")
def among_pods(cluster: Cluster) -> t.Iterator[Node]:
    """Rolled out as any node; what an operator does for it besides: one call."""
    with fresh_node("--primary-vxnet", cluster.lab.vxnets[0].vxnet_id) as own:
        own.play("site")
        (node,) = own.nodes
        check_sources(cluster, node, 0)
        yield node


def check_sources(cluster: Cluster, node: Node, aspoof: int) -> None:
    """The operator tells the cloud whether this node's primary may send for others."""
    (primary,) = [nic_id for nic_id, nic in cluster.cloud_nics(node).items() if nic["role"] == 1]
    Api(cluster.lab).call("ModifyNicAttributes", nic=primary, enable_aspoof=aspoof)


@pytest.fixture(scope="class")
def stage(cluster: Cluster, among_pods: Node, request: pytest.FixtureRequest) -> t.Iterator[Stage]:
    nodes = {"h1": cluster.nodes[0], "h2": cluster.nodes[1], "h3": among_pods}
    with staged(cluster, nodes, request.cls.cases) as stage:
        yield stage


@pytest.fixture(scope="class")
def batch(stage: Stage, request: pytest.FixtureRequest) -> Batch:
    mode, security = request.param
    with fabric.port_security(stage.cluster.lab, security), stage.proxied(mode, Flags()):
        return stage.play()


def settings(*levels: str) -> pytest.MarkDecorator:
    choices = [(mode, security) for security in levels for mode in MODES]
    return pytest.mark.parametrize("batch", choices, indirect=True, ids="-".join, scope="class")


def by_whom(played: t.Iterable[Case]) -> Counter[str]:
    return Counter(case.nat for case in played if case.nat and case.at == "h3")


class TestWithoutAnyGatewayNic:
    """Its pods are all in its primary's vxnet."""

    cases = ALONE_CASES

    def test_no_redirect_reaches_a_pod(self, stage: Stage) -> None:
        """What a pod sends to a service that is not there yet leaves by the link that it came in by.

        The first test, since the kernel counts how often it redirects an address, dropped or not, and soon is silent.
        """
        node = stage.nodes["h3"]
        before = dropped(node)
        assert stage.shout("c1", (NOBODYS, 53), lambda: dropped(node) > before) == []

    @settings("mac+ip")
    def test_a_service_is_reached(self, batch: Batch, stage: Stage) -> None:
        assert batch.outcomes == {case.number: Outcome.of(case) for case in ALONE_CASES}
        assert not batch.redirects
        assert batch.masquerades["h3"] == by_whom(ALONE_CASES)
        assert not stage.gateways(stage.nodes["h3"])

    def test_a_pods_routes_name_the_primary(self, stage: Stage) -> None:
        """The host itself is a neighbour, so that it needs no route."""
        pod, vxnet = stage.pods["c1"], stage.cluster.lab.vxnets[0]
        shown = json.loads(pod.node.run(["ip", "-netns", pod.netns, "-json", "route"]).stdout)
        assert {(route["dst"], route.get("gateway", "")) for route in shown} == {
            ("default", vxnet.gateway),
            (SERVICES, stage.addresses["h3"]),
            (vxnet.cidr, ""),
        }


def dropped(node: Node) -> int:
    """Redirects that the agent's table has kept from pods."""
    listed = json.loads(node.run(["nft", "-j", "list", "chain", "ip", "qingcni", "output"]).stdout)
    rules = [item["rule"]["expr"] for item in listed["nftables"] if "rule" in item]
    return sum(part["counter"]["packets"] for rule in rules for part in rule if "counter" in part)


class TestWithAGatewayNicInAnotherVxnet:
    cases = PRIMARY_CASES

    @settings("off", "mac", "mac+ip")
    @pytest.mark.parametrize("case", PRIMARY_CASES, ids=lambda case: f"{case.number} {case.name}")
    def test_a_service_is_reached(self, batch: Batch, case: Case) -> None:
        assert batch.outcomes[case.number] == Outcome.of(case)

    @settings("off", "mac", "mac+ip")
    def test_nobody_is_redirected(self, batch: Batch, stage: Stage) -> None:
        assert not batch.redirects
        assert batch.masquerades["h3"] == by_whom(PRIMARY_CASES)
        vxnets = {nic["vxnet_id"] for nic in stage.gateways(stage.nodes["h3"]).values()}
        assert vxnets == {stage.cluster.lab.vxnets[1].vxnet_id}

    def test_while_the_cloud_checks_the_primarys_sources_its_pods_have_no_services(
        self, cluster: Cluster, stage: Stage
    ) -> None:
        """Replies carry the service's address as their source; all else carries one of its own."""
        node = stage.nodes["h3"]
        check_sources(cluster, node, 1)
        try:
            with fabric.port_security(cluster.lab, "mac+ip"), stage.proxied("iptables", Flags()):
                batch = stage.play(patience=SHORT)
        finally:
            check_sources(cluster, node, 0)
        assert batch.failed == numbers(PRIMARY_CASES, by_a_primary_for_a_service) != set()
