# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: what is wanted, and why, from a snapshot alone."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostnic.config import Settings
from hostnic.model import GATEWAY, Nic
from hostnic.plan import Attach, Create, Delete, Detach, Drain, Recycle, Snapshot, next_change, plan
from hostnic.states import State

NOW = 1000.0
SETTINGS = Settings(vxnet=("vxnet-a", "vxnet-b"), pool_low=3, pool_high=5)


def nics(state: State, count: int, age: float = 0.0, start: int = 0, **fields: t.Any) -> list[Nic]:
    return [
        Nic(f"52:54:00:{list(State).index(state):02x}:00:{start + n:02x}", "vxnet-a", "", state, NOW - age, **fields)
        for n in range(count)
    ]


def decide(*groups: list[Nic], **fields: t.Any) -> t.Any:
    fields.setdefault("vxnets", ("vxnet-a", "vxnet-b"))
    return plan(Snapshot(tuple(nic for group in groups for nic in group), **fields), SETTINGS, NOW)


def created(plan_: t.Any) -> dict[str, int]:
    return {action.vxnet_id: action.count for action in plan_.actions if isinstance(action, Create)}


def test_an_empty_pool_grows_to_its_warm_target_in_one_batch() -> None:
    assert decide().actions == (Create("vxnet-a", 3),)


def test_waiting_adds_come_on_top_of_the_warm_target() -> None:
    assert created(decide(waiting=((), ()))) == {"vxnet-a": 5}


def test_what_is_on_its_way_is_not_asked_for_again() -> None:
    on_its_way = decide(
        nics(State.DETACHED, 1), nics(State.ATTACHING, 1), creating=1, creating_in=frozenset({"vxnet-a"})
    )
    assert created(on_its_way) == {}
    assert on_its_way.reasons.inflight == 3


def test_a_vxnet_with_an_unanswered_create_gets_no_second() -> None:
    assert created(decide(creating=1, creating_in=frozenset({"vxnet-a"}))) == {"vxnet-b": 2}


def test_nics_that_rest_long_enough_count_as_supply_soon_and_fresh_ones_do_not() -> None:
    assert decide(nics(State.QUARANTINE, 3, age=5.0)).reasons.grow == 0
    assert decide(nics(State.QUARANTINE, 3, age=4.9)).reasons.grow == 3


def test_rested_nics_become_ready_again() -> None:
    rested, fresh = nics(State.QUARANTINE, 1, age=60.0), nics(State.QUARANTINE, 1, age=59.0, start=1)
    assert Recycle((rested[0].nic_id,)) in decide(rested, fresh).actions


def test_the_instance_limit_leaves_room_for_foreign_nics_and_gateways() -> None:
    full = decide(nics(State.IN_USE, 58), foreign=4, gateways=frozenset({"vxnet-b"}), limit=64)
    assert full.reasons.cap == 59
    assert created(full) == {"vxnet-a": 1, "vxnet-b": 1}
    assert full.reasons.bounds == ("the instance's limit of 64 NICs", "the cap of 59 NICs")


def test_resting_nics_count_against_the_cap() -> None:
    assert decide(nics(State.IN_USE, 30), nics(State.QUARANTINE, 30)).reasons.grow == 0


def test_attaching_goes_in_chunks() -> None:
    chunks = [a for a in decide(nics(State.DETACHED, 23), waiting=((),) * 23).actions if isinstance(a, Attach)]
    assert [len(chunk.nic_ids) for chunk in chunks] == [10, 10, 3]


def test_nothing_is_attached_while_jobs_must_run_one_at_a_time() -> None:
    assert not any(isinstance(a, Attach) for a in decide(nics(State.DETACHED, 2), attach_allowed=False).actions)


@pytest.mark.parametrize(
    ("attempts", "age", "tried"), [(1, 1.9, False), (1, 2.0, True), (3, 7.9, False), (3, 8.0, True)]
)
def test_a_failed_attach_is_tried_again_after_a_growing_pause(attempts: int, age: float, tried: bool) -> None:
    actions = decide(nics(State.DETACHED, 1, age=age, attempts=attempts)).actions
    assert any(isinstance(action, Attach) for action in actions) is tried


def test_idle_nics_above_pool_high_leave_in_steps() -> None:
    idle = nics(State.READY, 7, age=601)
    assert Drain((idle[0].nic_id, idle[1].nic_id)) in decide(idle).actions
    draining = nics(State.DRAINING, 2, doomed=True)
    assert [type(a) for a in decide(nics(State.READY, 5, age=601), draining).actions] == [Detach]
    assert (
        Delete(tuple(n.nic_id for n in nics(State.DETACHED, 1, doomed=True)))
        in decide(nics(State.READY, 5), nics(State.DETACHED, 1, doomed=True)).actions
    )


def test_busy_or_prewarmed_nics_stay() -> None:
    assert not decide(nics(State.READY, 7, age=599)).actions
    assert not decide(nics(State.READY, 7, age=601, prewarmed=True)).actions


def test_doomed_nics_are_never_attached() -> None:
    assert not any(isinstance(a, Attach) for a in decide(nics(State.DETACHED, 2, doomed=True)).actions)


def test_an_add_that_accepts_one_vxnet_only_grows_that_one() -> None:
    ready_elsewhere = nics(State.READY, 3)
    assert created(decide(ready_elsewhere, waiting=(("vxnet-b",),))) == {"vxnet-b": 1}


def test_a_gateway_is_made_once() -> None:
    assert Create("vxnet-b", 1, GATEWAY) in decide(gateways=frozenset({"vxnet-b"})).actions
    standing = [Nic("52:54:00:ff:00:01", "vxnet-b", "", State.GATEWAY, NOW, GATEWAY)]
    assert not any(a.purpose == GATEWAY for a in decide(standing, gateways=frozenset({"vxnet-b"})).actions)


def test_draining_takes_all_that_is_ready() -> None:
    ready = nics(State.READY, 4)
    assert decide(ready, draining=True).actions == (Drain(tuple(nic.nic_id for nic in ready)),)


def test_it_says_why() -> None:
    told = decide(nics(State.IN_USE, 2), waiting=((),)).explain()
    assert (told["used"], told["waiting"], told["warm"], told["want"], told["grow"]) == (2, 1, 3, 6, 4)
    assert told["actions"] == [{"action": "create", "vxnet_id": "vxnet-a", "count": 4, "purpose": "pool"}]


def test_it_knows_when_time_alone_changes_the_plan() -> None:
    snapshot = Snapshot(tuple(nics(State.QUARANTINE, 1, age=50)))
    assert next_change(snapshot, SETTINGS, NOW) == pytest.approx(10)
    assert next_change(Snapshot(()), SETTINGS, NOW) is None


@given(
    st.dictionaries(st.sampled_from(list(State)), st.integers(0, 20)),
    st.integers(0, 80),
    st.integers(0, 40),
    st.floats(0, 700),
)
def test_growth_stays_below_the_cap_and_never_meets_shrinking(
    counts: dict[State, int], waiting: int, foreign: int, age: float
) -> None:
    groups = [nics(state, count, age) for state, count in counts.items() if state is not State.GONE]
    decided = decide(*groups, waiting=((),) * waiting, foreign=foreign)
    ours = sum(map(len, groups))
    grown = sum(created(decided).values())
    assert grown == 0 or ours + grown <= min(60, 64 - foreign)
    assert not (grown and any(isinstance(action, Drain) for action in decided.actions))
