# SPDX-License-Identifier: GPL-3.0-or-later
"""`defaultRoute: gateway`, as the original had it: services work, what the host sees half of does not."""

from __future__ import annotations

import typing as t

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.services import fabric
from tests.e2e.services.cases import BY_HOST_CASES, HALF_BY_HOST_CASES
from tests.e2e.services.stage import Flags, Outcome, Stage, staged

SHORT = 3.0  # s until a transfer that cannot succeed is given up


@pytest.fixture(scope="module")
def stage(cluster: Cluster) -> t.Iterator[Stage]:
    nodes = {"h1": cluster.nodes[0], "h2": cluster.nodes[1]}
    with staged(cluster, nodes, [*BY_HOST_CASES, *HALF_BY_HOST_CASES]) as stage:
        yield stage


def test_a_pod_whose_default_route_is_the_host_has_services_and_its_own_vxnet(stage: Stage) -> None:
    with fabric.port_security(stage.cluster.lab, "mac+ip"), stage.proxied("iptables", Flags()):
        batch = stage.play(patience=SHORT)
    assert batch.failed == {case.number for case in HALF_BY_HOST_CASES}
    assert {case.number: batch.outcomes[case.number] for case in BY_HOST_CASES} == {
        case.number: Outcome.of(case) for case in BY_HOST_CASES
    }
    assert not batch.redirects
