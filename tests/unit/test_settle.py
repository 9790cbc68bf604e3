# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud and kernel say of a NIC, and what follows."""

from __future__ import annotations

import typing as t

import pytest

from hostnic.model import GATEWAY, POOL, CloudNic, Nic
from hostnic.settle import JOB_PATIENCE, LINK_PATIENCE, LOST_PATIENCE, VISIBLE, Witness, settle
from hostnic.states import EDGES, State

FREE = CloudNic("m", "qingcni_i-1", "vxnet-a", "172.16.1.9", "available", "")
HERE = CloudNic("m", "qingcni_i-1", "vxnet-a", "172.16.1.9", "in-use", "i-1")
ELSEWHERE = CloudNic("m", "qingcni_i-1", "vxnet-a", "172.16.1.9", "in-use", "i-2")

LATE = max(JOB_PATIENCE, LINK_PATIENCE, LOST_PATIENCE)

# state, witness ► state or None
CASES: list[tuple[State, Witness, t.Optional[State]]] = [
    (State.ATTACHING, Witness(HERE, linked=True, pending=True), State.READY),
    (State.ATTACHING, Witness(HERE, age=LINK_PATIENCE - 1), None),  # the cloud alone is not enough
    (State.ATTACHING, Witness(HERE, age=LINK_PATIENCE), State.BROKEN),
    (State.ATTACHING, Witness(FREE, linked=True, pending=True), None),  # nor is the kernel
    (State.ATTACHING, Witness(FREE, pending=True), None),
    (State.ATTACHING, Witness(FREE), State.DETACHED),
    (State.ATTACHING, Witness(None, absent_for=VISIBLE - 1), None),
    (State.ATTACHING, Witness(None, absent_for=VISIBLE), State.GONE),
    (State.DETACHED, Witness(HERE, linked=True), State.READY),
    (State.DETACHED, Witness(HERE), State.ATTACHING),
    (State.DETACHED, Witness(ELSEWHERE), State.GONE),
    (State.DETACHED, Witness(FREE), None),
    (State.DETACHED, Witness(None, absent_for=VISIBLE - 1), None),
    (State.DETACHED, Witness(None, absent_for=VISIBLE), State.GONE),
    (State.DETACHING, Witness(HERE, linked=True, pending=True), None),
    (State.DETACHING, Witness(HERE, linked=True), State.DRAINING),
    (State.DETACHING, Witness(FREE, pending=True), State.DETACHED),
    (State.DETACHING, Witness(FREE, linked=True, pending=True), None),
    (State.DETACHING, Witness(ELSEWHERE), State.GONE),
    (State.DELETING, Witness(None, pending=True), State.GONE),
    (State.DELETING, Witness(FREE, pending=True), None),
    (State.DELETING, Witness(FREE), State.DETACHED),
    (State.DELETING, Witness(HERE), State.DETACHED),
    (State.DELETING, Witness(ELSEWHERE), State.DETACHED),
    (State.BROKEN, Witness(HERE, linked=True), State.QUARANTINE),
    (State.BROKEN, Witness(HERE, age=LATE), None),  # nobody has looked everywhere
    (State.BROKEN, Witness(HERE, nowhere=True, age=LOST_PATIENCE - 1), None),
    (State.BROKEN, Witness(HERE, nowhere=True, age=LOST_PATIENCE), State.DRAINING),
    (State.BROKEN, Witness(FREE), State.DETACHED),
    (State.BROKEN, Witness(ELSEWHERE), State.GONE),
    (State.BROKEN, Witness(None, absent_for=VISIBLE), State.GONE),
    (State.READY, Witness(None, absent_for=LATE, linked=True), None),  # one source never loses a NIC with a link
    (State.READY, Witness(FREE, linked=True), None),
    (State.READY, Witness(ELSEWHERE, linked=True), None),
    (State.HELD, Witness(FREE, linked=True), None),
    (State.IN_USE, Witness(None, absent_for=LATE), None),
    (State.RESERVED, Witness(FREE), None),
]


@pytest.mark.parametrize(("state", "witness", "target"), CASES)
def test_verdicts(state: State, witness: Witness, target: t.Optional[State]) -> None:
    verdict = settle(Nic("m", "vxnet-a", "", state, 0.0, POOL), witness, "i-1")
    assert (verdict.target if verdict else None) is target


def test_every_verdict_is_an_edge_of_the_table() -> None:
    edges = {(edge.source, edge.target) for edge in EDGES}
    assert {(state, target) for state, __, target in CASES if target} <= edges


@pytest.mark.parametrize("state", [State.ATTACHING, State.DETACHED, State.BROKEN])
def test_a_gateway_nic_becomes_a_gateway(state: State) -> None:
    verdict = settle(Nic("m", "vxnet-a", "", state, 0.0, GATEWAY), Witness(HERE, linked=True), "i-1")
    assert verdict and (verdict.target is State.GATEWAY)


def test_a_kept_address_is_kept_when_its_link_is_back() -> None:
    verdict = settle(Nic("m", "vxnet-a", "", State.BROKEN, 0.0, keep=60.0), Witness(HERE, linked=True), "i-1")
    assert verdict and (verdict.target is State.HELD)


def test_a_doomed_nic_that_was_attached_after_all_is_detached_again() -> None:
    verdict = settle(Nic("m", "vxnet-a", "", State.DETACHED, 0.0, doomed=True), Witness(HERE, linked=True), "i-1")
    assert verdict and (verdict.target, verdict.doomed) == (State.DRAINING, True)
