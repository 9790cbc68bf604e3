# SPDX-License-Identifier: GPL-3.0-or-later
"""Services, every way that docs/services.md lists: who is seen, which way packets go, that nobody redirects anybody.

kube-proxy's rules are laid by hand; the VPC router drops what belongs to no connection that it knows.
"""

from __future__ import annotations

import typing as t
from collections import Counter

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.services import fabric
from tests.e2e.services.cases import CASES, POD_NODES, Case
from tests.e2e.services.kubeproxy import Endpoint, Service
from tests.e2e.services.modes import MODES
from tests.e2e.services.stage import Batch, Flags, Outcome, Stage, staged

FLAGS = {"": Flags(), "masquerade-all": Flags(masquerade_all=True), "cluster-cidr": Flags(cluster_cidr=True)}
SETTINGS = [
    (mode, flag, security) for security in ("off", "mac", "mac+ip") for mode in MODES for flag in FLAGS
]  # fmt: skip


@pytest.fixture(scope="module")
def stage(cluster: Cluster) -> t.Iterator[Stage]:
    with staged(cluster, {"h1": cluster.nodes[0], "h2": cluster.nodes[1]}, CASES) as stage:
        yield stage


@pytest.fixture(scope="module")
def batch(stage: Stage, request: pytest.FixtureRequest) -> Batch:
    """Every case, at the same time, under one setting, which is over by then."""
    mode, flag, security = request.param
    with fabric.port_security(stage.cluster.lab, security), stage.proxied(mode, FLAGS[flag]):
        return stage.play()


def _id(setting: tuple[str, str, str]) -> str:
    return "-".join(filter(None, setting))


every_setting = pytest.mark.parametrize("batch", SETTINGS, indirect=True, ids=_id, scope="module")


@every_setting
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.name}")
def test_a_service_is_reached(batch: Batch, case: Case) -> None:
    assert batch.outcomes[case.number] == Outcome.of(case)


@every_setting
def test_nobody_is_redirected_and_each_is_masqueraded_by_whom_the_page_names(
    batch: Batch, stage: Stage, request: pytest.FixtureRequest
) -> None:
    assert not batch.redirects
    _, flag, _ = request.node.callspec.params["batch"]
    named = [case.masquerader(FLAGS[flag].masquerade_all) for case in CASES if case.at == "h1"]
    assert batch.masquerades["h1"] == Counter(filter(None, named))


def test_only_gateway_nics_may_send_for_others(stage: Stage) -> None:
    """So says the cloud, and nobody but the agent has told it."""
    for node in stage.nodes.values():
        loose = {nic_id for nic_id, nic in stage.cluster.cloud_nics(node).items() if not nic["enable_aspoof"]}
        assert loose == set(stage.gateways(node)) != set()


@pytest.mark.parametrize("mode", MODES)
def test_a_service_with_endpoints_everywhere(stage: Stage, mode: str) -> None:
    """Whichever of them answers sees the client as it would as the only one."""
    alone = {"a2": "1", "a3": "2", "b1": "3", "b3": "4"}  # endpoint ► its case
    number = stage.ports["1"]
    endpoints = tuple(Endpoint(stage.addresses[name], number.target, POD_NODES[name]) for name in alone)
    service = Service("everywhere", "10.96.1.1", number.target, endpoints)
    with stage.proxied(mode, Flags(), [service]):
        met = stage.ask("a1", (service.cluster_ip, number.target), list(alone), number.target, times=64)
    sources = {case.number: stage.addresses[case.source] for case in CASES}
    assert met == {(name, sources[case]) for name, case in alone.items()}
