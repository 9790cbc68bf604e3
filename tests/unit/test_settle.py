# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud and kernel say of a NIC, and what follows."""

from __future__ import annotations

import typing as t

import pytest

from hostnic.model import GATEWAY, POOL, CloudNic, Nic
from hostnic.settle import settle
from hostnic.states import EDGES, State

FREE = CloudNic("m", "qingcni_i-1", "vxnet-a", "172.16.1.9", "available", "")
HERE = CloudNic("m", "qingcni_i-1", "vxnet-a", "172.16.1.9", "in-use", "i-1")
ELSEWHERE = CloudNic("m", "qingcni_i-1", "vxnet-a", "172.16.1.9", "in-use", "i-2")

# state, cloud, looks without it, link seen, something pending ► state or None
CASES: list[tuple[State, t.Optional[CloudNic], int, bool, bool, t.Optional[State]]] = [
    (State.ATTACHING, HERE, 0, True, True, State.READY),
    (State.ATTACHING, HERE, 0, False, False, None),  # the cloud alone is not enough
    (State.ATTACHING, FREE, 0, True, True, None),  # nor is the kernel
    (State.ATTACHING, FREE, 0, False, True, None),
    (State.ATTACHING, FREE, 0, False, False, State.DETACHED),
    (State.ATTACHING, None, 1, False, False, None),
    (State.ATTACHING, None, 2, False, False, State.GONE),
    (State.DETACHED, HERE, 0, True, False, State.READY),
    (State.DETACHED, ELSEWHERE, 0, False, False, State.GONE),
    (State.DETACHED, FREE, 0, False, False, None),
    (State.DETACHED, None, 1, False, False, None),
    (State.DETACHED, None, 2, False, False, State.GONE),
    (State.DETACHING, HERE, 0, True, True, None),
    (State.DETACHING, HERE, 0, True, False, State.DRAINING),
    (State.DETACHING, FREE, 0, False, True, State.DETACHED),
    (State.DELETING, None, 1, False, True, State.GONE),
    (State.DELETING, FREE, 0, False, True, None),
    (State.DELETING, FREE, 0, False, False, State.DETACHED),
    (State.BROKEN, HERE, 0, True, False, State.QUARANTINE),
    (State.BROKEN, HERE, 0, False, False, None),
    (State.BROKEN, FREE, 0, False, False, State.DETACHED),
    (State.BROKEN, ELSEWHERE, 0, False, False, State.GONE),
    (State.BROKEN, None, 2, False, False, State.GONE),
    (State.READY, None, 9, True, False, None),  # one source is never enough to lose a NIC that has a link
    (State.READY, FREE, 0, True, False, None),
    (State.IN_USE, None, 9, False, False, None),
    (State.RESERVED, FREE, 0, False, False, None),
]


@pytest.mark.parametrize(("state", "cloud", "absent", "linked", "pending", "target"), CASES)
def test_verdicts(
    state: State,
    cloud: t.Optional[CloudNic],
    absent: int,
    linked: bool,
    pending: bool,
    target: t.Optional[State],
) -> None:
    verdict = settle(Nic("m", "vxnet-a", "", state, 0.0, POOL), cloud, absent, linked, pending, "i-1")
    assert (verdict.target if verdict else None) is target


def test_every_verdict_is_an_edge_of_the_table() -> None:
    edges = {(edge.source, edge.target) for edge in EDGES}
    assert {(case[0], case[5]) for case in CASES if case[5]} <= edges


@pytest.mark.parametrize("state", [State.ATTACHING, State.DETACHED, State.BROKEN])
def test_a_gateway_nic_becomes_a_gateway(state: State) -> None:
    verdict = settle(Nic("m", "vxnet-a", "", state, 0.0, GATEWAY), HERE, 0, True, False, "i-1")
    assert verdict and (verdict.target is State.GATEWAY)


def test_a_doomed_nic_is_not_taken_back() -> None:
    assert settle(Nic("m", "vxnet-a", "", State.DETACHED, 0.0, doomed=True), HERE, 0, True, False, "i-1") is None
