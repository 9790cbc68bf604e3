# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: what is wanted, and why, from a snapshot alone."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from hostnic.config import Settings
from hostnic.model import GATEWAY, POOL, Intent, Nic, Waiter
from hostnic.plan import (
    SWEEP_AFTER,
    Attach,
    Create,
    Delete,
    Detach,
    Drain,
    LetGo,
    Mark,
    Recall,
    Recycle,
    Unmark,
    next_change,
    plan,
)
from hostnic.sizing import Snapshot, surplus
from hostnic.states import State

NOW = 1000.0
SETTINGS = Settings(vxnet=("vxnet-a", "vxnet-b"), pool_low=3, pool_high=5)


def nics(state: State, count: int, age: float = 0.0, start: int = 0, **fields: t.Any) -> list[Nic]:
    return [
        Nic(f"52:54:00:{list(State).index(state):02x}:00:{start + n:02x}", "vxnet-a", "", state, NOW - age, **fields)
        for n in range(count)
    ]


def asked(vxnet_id: str, count: int, purpose: str = POOL, **fields: t.Any) -> Intent:
    return Intent("i", "create", NOW, vxnet_id, count, purpose=purpose, **fields)


def of_kind(decided: t.Any, kind: type) -> list[t.Any]:
    return [action for action in decided.actions if isinstance(action, kind)]


def decide(*groups: list[Nic], **fields: t.Any) -> t.Any:
    fields.setdefault("vxnets", ("vxnet-a", "vxnet-b"))
    return plan(Snapshot(tuple(nic for group in groups for nic in group), **fields), SETTINGS, NOW)


def created(plan_: t.Any) -> dict[str, int]:
    return {action.vxnet_id: action.count for action in plan_.actions if isinstance(action, Create)}


def test_an_empty_pool_grows_to_its_warm_target_in_one_batch() -> None:
    assert decide().actions == (Create("vxnet-a", 3),)


def test_waiting_adds_come_on_top_of_the_warm_target() -> None:
    assert created(decide(waiting=(Waiter(),) * 2)) == {"vxnet-a": 5}


def test_what_is_on_its_way_is_not_asked_for_again() -> None:
    on_its_way = decide(nics(State.DETACHED, 1), nics(State.ATTACHING, 1), creating=(asked("vxnet-a", 1),))
    assert created(on_its_way) == {}
    assert on_its_way.reasons.inflight == 3


def test_a_vxnet_with_an_unanswered_create_gets_no_second() -> None:
    assert created(decide(creating=(asked("vxnet-a", 1),))) == {"vxnet-b": 2}
    assert created(decide(creating=(asked("vxnet-a", 1, GATEWAY),))) == {"vxnet-b": 3}


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
    assert full.reasons.bounds == (
        "the instance takes 64 NICs, 5 are not for pods",
        "pool-low 3",
        "the cap of 59 NICs",
    )


def test_resting_nics_count_against_the_cap() -> None:
    assert decide(nics(State.IN_USE, 30), nics(State.QUARANTINE, 30)).reasons.grow == 0


def test_attaching_goes_in_chunks() -> None:
    chunks = [a for a in decide(nics(State.DETACHED, 23), waiting=(Waiter(),) * 23).actions if isinstance(a, Attach)]
    assert [len(chunk.nic_ids) for chunk in chunks] == [10, 10, 3]


def test_where_attach_jobs_run_one_at_a_time_the_next_waits_for_the_one_before() -> None:
    free = nics(State.DETACHED, 25)
    alone = decide(free, serial=True, chunk=20, waiting=(Waiter(),) * 25)
    assert [len(action.nic_ids) for action in of_kind(alone, Attach)] == [20]
    assert not of_kind(decide(free, nics(State.ATTACHING, 1), serial=True), Attach)


def test_a_nic_that_was_refused_goes_alone() -> None:
    fresh, refused = nics(State.DETACHED, 2), nics(State.DETACHED, 2, age=3, start=2, attempts=1)
    sizes = [len(action.nic_ids) for action in of_kind(decide(fresh, refused), Attach)]
    assert sizes == [2, 1, 1]


def test_no_more_are_attached_than_the_instance_takes() -> None:
    full = decide(nics(State.IN_USE, 10), nics(State.DETACHED, 5), limit=13, foreign=1)
    assert [len(action.nic_ids) for action in of_kind(full, Attach)] == [2]


@pytest.mark.parametrize(
    ("attempts", "age", "tried"), [(1, 1.9, False), (1, 2.0, True), (3, 7.9, False), (3, 8.0, True)]
)
def test_a_failed_attach_is_tried_again_after_a_growing_pause(attempts: int, age: float, tried: bool) -> None:
    actions = decide(nics(State.DETACHED, 1, age=age, attempts=attempts)).actions
    assert any(isinstance(action, Attach) for action in actions) is tried


def test_what_nobody_needed_for_long_leaves_in_steps() -> None:
    idle = nics(State.READY, 7, age=601)
    (drain,) = of_kind(decide(idle, quiet_surplus=2), Drain)
    assert len(drain.nic_ids) == 2
    draining = nics(State.DRAINING, 2, doomed=True)
    assert [type(a) for a in decide(nics(State.READY, 7), draining, quiet_surplus=2).actions] == [Detach]
    doomed = nics(State.DETACHED, 1, doomed=True)
    assert Delete(tuple(nic.nic_id for nic in doomed)) in decide(nics(State.READY, 5), doomed).actions


def test_prewarmed_nics_are_no_surplus_until_their_time_is_over() -> None:
    warmed = Snapshot(tuple(nics(State.READY, 7, age=601, prewarmed=True)))
    assert surplus(warmed, SETTINGS, NOW) == -5
    assert surplus(warmed, SETTINGS, NOW + SETTINGS.prewarm_ttl) == 2


def test_one_that_is_wanted_again_before_it_was_detached_is_recalled() -> None:
    leaving = nics(State.DRAINING, 2, doomed=True)
    decided = decide(leaving, nics(State.READY, 3), waiting=(Waiter(),) * 4)
    assert of_kind(decided, Recall) == [Recall((leaving[0].nic_id,))]
    sent = nics(State.DRAINING, 2, doomed=True, attempts=1)  # the detach that failed may still come to pass
    assert not of_kind(decide(sent, nics(State.READY, 3), waiting=(Waiter(),) * 4), Recall)


def test_a_free_nic_beyond_the_cap_is_marked_and_swept_later() -> None:
    def full(**fields: t.Any) -> t.Any:
        return decide(nics(State.IN_USE, 10), nics(State.DETACHED, 1, **fields), limit=11, foreign=1)

    (stray,) = nics(State.DETACHED, 1)
    assert (of_kind(full(), Mark), of_kind(full(), Delete)) == ([Mark((stray.nic_id,))], [])
    assert not full(marked=NOW - SWEEP_AFTER + 1).actions
    assert of_kind(full(marked=NOW - SWEEP_AFTER), Delete) == [Delete((stray.nic_id,))]
    assert of_kind(decide(nics(State.DETACHED, 1, marked=NOW - 1)), Unmark) == [Unmark((stray.nic_id,))]


def test_a_gateway_too_many_goes_unless_pods_may_route_by_it() -> None:
    since = NOW - SWEEP_AFTER
    two = [Nic(f"52:54:00:ff:00:0{n}", "vxnet-b", "", State.GATEWAY, since, GATEWAY) for n in (1, 2)]
    wanted = {"gateways": frozenset({"vxnet-b"})}
    assert Drain((two[1].nic_id,)) in decide(nics(State.READY, 3), two, **wanted).actions
    pod = [Nic("52:54:00:00:00:99", "vxnet-b", "", State.IN_USE, NOW)]
    assert not of_kind(decide(nics(State.READY, 3), two, pod, **wanted), Drain)
    assert not of_kind(decide(nics(State.READY, 3), two, pod), Drain)
    assert of_kind(decide(nics(State.READY, 3), two), Drain)
    young = [replace(nic, since=since + 1) for nic in two]
    assert not of_kind(decide(nics(State.READY, 3), young), Drain)  # pods may still be found in its vxnet


def test_held_nics_are_no_supply_and_are_let_go_in_time() -> None:
    held = nics(State.HELD, 1, age=59, keep=60.0, workload="db")
    assert (decide(held).reasons.grow, of_kind(decide(held), LetGo)) == (3, [])
    over = nics(State.HELD, 1, age=60, keep=60.0, workload="db")
    assert of_kind(decide(over), LetGo) == [LetGo((over[0].nic_id,))]


@pytest.mark.parametrize(("level", "kinds"), [("", {Create, Detach}), ("L1", {Create}), ("L0", set())])
def test_degradation_stops_writes_or_releases(level: str, kinds: set[type]) -> None:
    leaving = nics(State.DRAINING, 1, doomed=True)
    decided = decide(nics(State.READY, 1), leaving, level=level)
    assert {type(action) for action in decided.actions} == kinds
    assert any(f"degradation {level}" in bound for bound in decided.reasons.bounds) is bool(level)


@pytest.mark.parametrize(("rate", "warm"), [(0.0, 3), (0.5, 3), (1.0, 4), (9.0, 5)])
def test_the_warm_target_covers_the_lead_time_between_low_and_high(rate: float, warm: int) -> None:
    assert decide(rate=rate, lead_time=3.6).reasons.warm == warm


def test_low_equal_to_high_is_no_adaptation() -> None:
    fixed = Settings(vxnet=("vxnet-a",), pool_low=4, pool_high=4)
    assert plan(Snapshot((), vxnets=("vxnet-a",), rate=9.0, lead_time=9.0), fixed, NOW).reasons.warm == 4


def test_doomed_nics_are_never_attached() -> None:
    assert not any(isinstance(a, Attach) for a in decide(nics(State.DETACHED, 2, doomed=True)).actions)


def test_an_add_that_accepts_one_vxnet_only_grows_that_one() -> None:
    assert created(decide(nics(State.READY, 3), waiting=(Waiter(("vxnet-b",)),))) == {"vxnet-b": 1}


def test_the_warm_pool_lies_where_pods_want_it() -> None:
    tastes = ((("vxnet-b",), 2), ((), 1))
    assert created(decide(tastes=tastes)) == {"vxnet-a": 1, "vxnet-b": 2}
    assert created(decide(nics(State.READY, 3), tastes=((("vxnet-b",), 9),))) == {"vxnet-b": 3}


def test_at_the_cap_an_idle_nic_makes_room_for_a_pod_that_wants_another_vxnet() -> None:
    idle = nics(State.READY, 3)
    full = decide(nics(State.IN_USE, 57), idle, waiting=(Waiter(("vxnet-b",)),))
    assert [len(action.nic_ids) for action in of_kind(full, Drain)] == [1]
    leaving = decide(nics(State.IN_USE, 57), idle[1:], nics(State.DRAINING, 1), waiting=(Waiter(("vxnet-b",)),))
    assert not of_kind(leaving, Drain)


def test_warm_places_are_not_kept_for_vxnets_that_take_no_nics() -> None:
    tastes = ((("vxnet-x",), 9), ((), 1))
    assert created(decide(tastes=tastes, blocked=frozenset({"vxnet-x"}))) == {"vxnet-a": 3}


def test_nics_of_vxnets_that_are_not_the_agents_are_warm_for_nobody_else() -> None:
    others = [replace(nic, vxnet_id="vxnet-x") for nic in nics(State.READY, 3)]
    assert created(decide(others)) == {"vxnet-a": 3}
    assert created(decide(others, waiting=(Waiter(("vxnet-x",)),))) == {"vxnet-a": 3}


def test_a_fixed_address_is_asked_for_by_itself() -> None:
    waiting = (Waiter(address="10.0.1.9"), Waiter(("vxnet-b",), "10.0.1.7"))
    homes = dict.fromkeys(waiting, "vxnet-b")
    decided = decide(nics(State.READY, 3), waiting=waiting, homes=homes)
    assert set(of_kind(decided, Create)) == {
        Create("vxnet-b", 1, private_ips=("10.0.1.9",)),
        Create("vxnet-b", 1, private_ips=("10.0.1.7",)),
    }
    on_its_way = asked("vxnet-b", 2, private_ips=("10.0.1.7", "10.0.1.9"))
    assert not of_kind(decide(nics(State.READY, 3), waiting=waiting, homes=homes, creating=(on_its_way,)), Create)


def test_a_gateway_is_made_once() -> None:
    assert Create("vxnet-b", 1, GATEWAY) in decide(gateways=frozenset({"vxnet-b"})).actions
    standing = [Nic("52:54:00:ff:00:01", "vxnet-b", "", State.GATEWAY, NOW, GATEWAY)]
    assert not any(a.purpose == GATEWAY for a in decide(standing, gateways=frozenset({"vxnet-b"})).actions)


def test_draining_takes_all_that_is_ready() -> None:
    ready = nics(State.READY, 4)
    assert decide(ready, draining=True).actions == (Drain(tuple(nic.nic_id for nic in ready)),)


def test_it_says_why() -> None:
    told = decide(nics(State.IN_USE, 2), waiting=(Waiter(),)).explain()
    assert (told["used"], told["waiting"], told["warm"], told["want"], told["grow"]) == (2, 1, 3, 6, 4)
    (action,) = told["actions"]
    assert (action["action"], action["vxnet_id"], action["count"]) == ("create", "vxnet-a", 4)


def test_it_knows_when_time_alone_changes_the_plan() -> None:
    snapshot = Snapshot(tuple(nics(State.QUARANTINE, 1, age=50)))
    assert next_change(snapshot, SETTINGS, NOW) == pytest.approx(10)
    assert next_change(Snapshot(()), SETTINGS, NOW) is None


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_at_the_cap_pods_come_before_the_warm_pool() -> None:
    decided = decide(nics(State.IN_USE, 57), waiting=(Waiter(("vxnet-b",)),) * 2)
    assert created(decided) == {"vxnet-a": 1, "vxnet-b": 2}
    assert (decided.reasons.want, decided.reasons.grow) == (60, 3)


def test_more_ours_than_the_cap_is_no_growth_and_no_error() -> None:
    over = decide(nics(State.IN_USE, 70), waiting=(Waiter(),), foreign=80)
    assert (over.reasons.cap, over.reasons.grow, over.actions) == (0, 0, ())


def test_what_is_asked_for_takes_room_already() -> None:
    decided = decide(nics(State.IN_USE, 57), creating=(asked("vxnet-a", 2),), waiting=(Waiter(),) * 9)
    assert created(decided) == {"vxnet-b": 1}


def test_doomed_nics_make_no_strays_of_others() -> None:
    doomed = nics(State.DETACHED, 3, start=1, doomed=True)
    full = decide(nics(State.IN_USE, 9), nics(State.DETACHED, 1), doomed, limit=11, foreign=1)
    assert not of_kind(full, Mark)


def test_a_pool_that_is_drained_does_not_grow() -> None:
    assert decide(draining=True).actions == ()


def test_every_gateway_nic_on_the_instance_takes_room() -> None:
    """A second one of a vxnet stays while pods may route by it: a NIC made for its place could not be attached."""
    second = [Nic(f"52:54:00:ff:00:0{n}", "vxnet-b", "", State.GATEWAY, NOW, GATEWAY) for n in (1, 2)]
    free = [Nic("52:54:00:ff:00:03", "vxnet-b", "", State.DETACHED, NOW, GATEWAY)]
    assert decide(second, gateways=frozenset({"vxnet-b"}), limit=20).reasons.cap == 20 - 1 - 2
    assert decide(second[:1], free, gateways=frozenset({"vxnet-b"}), limit=20).reasons.cap == 20 - 1 - 1


def test_a_gateway_that_is_to_be_made_takes_room_already() -> None:
    assert decide(gateways=frozenset({"vxnet-a", "vxnet-b"})).reasons.cap == 60
    assert decide(foreign=3, gateways=frozenset({"vxnet-a", "vxnet-b"})).reasons.cap == 64 - 3 - 2


def test_nothing_is_asked_for_where_everything_is_blocked() -> None:
    decided = decide(waiting=(Waiter(),), blocked=frozenset({"any vxnet"}), gateways=frozenset({"vxnet-b"}))
    assert decided.actions == ()
    assert "vxnets that take no NICs now" in decided.reasons.bounds


def test_a_blocked_vxnet_is_passed_over() -> None:
    assert created(decide(blocked=frozenset({"vxnet-a"}))) == {"vxnet-b": 3}
    assert created(decide(waiting=(Waiter(("vxnet-a",)),), blocked=frozenset({"vxnet-a"}))) == {"vxnet-b": 3}


def test_broken_and_leaving_nics_are_no_supply_but_take_room() -> None:
    broken, leaving = nics(State.BROKEN, 30), nics(State.DETACHING, 29, doomed=True)
    assert created(decide(broken, leaving)) == {"vxnet-a": 1}


def test_a_doomed_free_nic_is_no_supply() -> None:
    assert created(decide(nics(State.DETACHED, 3, doomed=True))) == {"vxnet-a": 3}


def test_nics_in_a_vxnet_that_a_pod_does_not_accept_are_no_supply_for_it() -> None:
    coming = nics(State.ATTACHING, 3)
    assert created(decide(coming, waiting=(Waiter(("vxnet-b",)),))) == {"vxnet-b": 1}


def test_the_most_particular_pod_chooses_first() -> None:
    one = nics(State.ATTACHING, 1)
    one_b = [Nic("52:54:00:00:00:bb", "vxnet-b", "", State.ATTACHING, NOW)]
    decided = decide(one, one_b, nics(State.READY, 3), waiting=(Waiter(), Waiter(("vxnet-b",))))
    assert created(decided) == {}


def test_one_that_must_have_its_address_chooses_before_those_that_take_any() -> None:
    address = [Nic("52:54:00:00:00:bb", "vxnet-a", "10.0.1.9", State.ATTACHING, NOW)]
    waiting = (Waiter(), Waiter(("vxnet-a",)), Waiter(address="10.0.1.9"))
    decided = decide(address, nics(State.READY, 3), waiting=waiting, homes={waiting[2]: "vxnet-a"})
    assert created(decided) == {"vxnet-a": 2}


# -- attaching --------------------------------------------------------------------------------------------------------


def test_gateways_are_attached_first_and_the_oldest_next() -> None:
    old, fresh = nics(State.DETACHED, 1, age=9), nics(State.DETACHED, 1, age=1, start=1)
    gateway = [Nic("52:54:00:ff:00:01", "vxnet-b", "", State.DETACHED, NOW, GATEWAY)]
    decided = decide(fresh, old, gateway, gateways=frozenset({"vxnet-b"}), limit=3)
    assert of_kind(decided, Attach) == [Attach((gateway[0].nic_id, old[0].nic_id))]


def test_strays_are_not_attached() -> None:
    full = decide(nics(State.IN_USE, 10), nics(State.DETACHED, 2), limit=12, foreign=1)
    (attach,), (mark,) = of_kind(full, Attach), of_kind(full, Mark)
    assert len(attach.nic_ids) == len(mark.nic_ids) == 1
    assert attach.nic_ids != mark.nic_ids


def test_the_newest_free_nics_are_the_strays() -> None:
    old, fresh = nics(State.DETACHED, 1, age=9), nics(State.DETACHED, 1, age=1, start=1)
    full = decide(nics(State.IN_USE, 10), fresh, old, limit=12, foreign=1)
    assert of_kind(full, Mark) == [Mark((fresh[0].nic_id,))]


@pytest.mark.parametrize(("age", "tried"), [(119.9, False), (120.0, True)])
def test_the_pause_after_a_refusal_grows_to_two_minutes(age: float, tried: bool) -> None:
    refused = decide(nics(State.DETACHED, 1, age=age, attempts=12), nics(State.DRAINING, 1, age, attempts=12))
    assert (bool(of_kind(refused, Attach)), bool(of_kind(refused, Detach))) == (tried, tried)


# -- shrinking --------------------------------------------------------------------------------------------------------


def test_what_leaves_at_once_is_one_batch() -> None:
    (drain,) = of_kind(decide(nics(State.READY, 40), quiet_surplus=35), Drain)
    assert len(drain.nic_ids) == SETTINGS.attach_chunk


def test_spare_nics_in_a_vxnet_that_is_not_configured_any_more_leave_first() -> None:
    other = [Nic("52:54:00:00:01:01", "vxnet-old", "", State.READY, NOW - 1)]
    spare = nics(State.READY, 5, age=900)
    (drain,) = of_kind(decide(spare, other, quiet_surplus=2), Drain)
    assert drain == Drain((other[0].nic_id, spare[3].nic_id))


def test_prewarmed_nics_do_not_leave_before_their_time() -> None:
    warmed = nics(State.READY, 4, age=601, prewarmed=True)
    (drain,) = of_kind(decide(warmed, nics(State.READY, 6, age=601, start=4), quiet_surplus=1), Drain)
    assert not set(drain.nic_ids) & {nic.nic_id for nic in warmed}


def test_prewarmed_nics_leave_once_their_time_is_over() -> None:
    over = nics(State.READY, 7, age=SETTINGS.prewarm_ttl, prewarmed=True)
    (drain,) = of_kind(decide(over, quiet_surplus=2), Drain)
    assert len(drain.nic_ids) == 2


@pytest.mark.parametrize("state", [State.DETACHED, State.GATEWAY])
def test_a_gateway_that_nobody_wants_goes(state: State) -> None:
    useless = [Nic("52:54:00:ff:00:01", "vxnet-b", "", state, NOW - SWEEP_AFTER, GATEWAY)]
    (action,) = decide(nics(State.READY, 3), useless).actions
    assert action == (Mark if state is State.DETACHED else Drain)((useless[0].nic_id,))


def test_a_young_gateway_that_nobody_wants_stays() -> None:
    young = [Nic("52:54:00:ff:00:01", "vxnet-b", "", State.GATEWAY, NOW - SWEEP_AFTER + 1, GATEWAY)]
    assert decide(nics(State.READY, 3), young).actions == ()


def test_a_nic_that_was_to_be_detached_before_is_not_recalled() -> None:
    tried = nics(State.DRAINING, 1, age=1, doomed=True, attempts=1)
    decided = decide(tried, nics(State.READY, 3), waiting=(Waiter(),) * 4)
    assert (of_kind(decided, Recall), created(decided)) == ([], {"vxnet-a": 4})


def test_a_gateway_that_stands_is_kept_rather_than_one_that_does_not() -> None:
    standing = Nic("52:54:00:ff:00:01", "vxnet-b", "", State.GATEWAY, NOW, GATEWAY)
    older = Nic("52:54:00:ff:00:02", "vxnet-b", "", State.DETACHED, NOW - 900, GATEWAY)
    decided = decide(nics(State.READY, 3), [older, standing], gateways=frozenset({"vxnet-b"}))
    assert decided.actions == (Mark((older.nic_id,)),)


# -- degraded ---------------------------------------------------------------------------------------------------------


def busy(level: str) -> t.Any:
    """Every kind of action has its reason."""
    return decide(
        nics(State.QUARANTINE, 1, age=61),
        nics(State.HELD, 1, age=61, keep=60.0, workload="db"),
        nics(State.DRAINING, 2, age=1, doomed=True),
        nics(State.DETACHED, 1),
        nics(State.DETACHED, 1, start=1, doomed=True),
        nics(State.ATTACHING, 1, marked=NOW - 1),
        [Nic("52:54:00:ff:00:01", "vxnet-b", "", State.GATEWAY, NOW - SWEEP_AFTER, GATEWAY)],
        [Nic("52:54:00:ff:00:02", "vxnet-b", "", State.DETACHED, NOW, GATEWAY)],
        waiting=(Waiter(),) * 9,
        level=level,
    )


@pytest.mark.parametrize(
    ("level", "kinds"),
    [
        ("", {Recycle, LetGo, Recall, Create, Attach, Drain, Mark, Unmark, Detach, Delete}),
        ("L1", {Recycle, LetGo, Recall, Create, Attach}),
        ("L0", {Recycle, LetGo, Recall}),
    ],
)
def test_each_level_leaves_what_it_allows(level: str, kinds: set[type]) -> None:
    assert {type(action) for action in busy(level).actions} == kinds


# -- when time alone changes it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "seconds"),
    [
        (nics(State.QUARANTINE, 1, age=50), 10),
        (nics(State.HELD, 1, age=50, keep=70.0), 20),
        (nics(State.DETACHED, 1, age=1, attempts=3), 7),
        (nics(State.DRAINING, 1, age=1, attempts=2), 3),
        (nics(State.DETACHED, 1, age=900, marked=NOW - 580), 20),
        (nics(State.READY, 1, age=50), None),
        (nics(State.QUARANTINE, 1, age=60), None),
    ],
)
def test_each_thing_that_time_changes_is_known(group: list[Nic], seconds: t.Optional[float]) -> None:
    told = next_change(Snapshot(tuple(group)), SETTINGS, NOW)
    assert told == (None if seconds is None else pytest.approx(seconds))


def test_the_first_change_is_told() -> None:
    both = Snapshot((*nics(State.QUARANTINE, 1, age=50), *nics(State.HELD, 1, age=50, keep=55.0)))
    assert next_change(both, SETTINGS, NOW) == pytest.approx(5)


@examples(deadline=None)  # a busy machine is no defect
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
    decided = decide(*groups, waiting=(Waiter(),) * waiting, foreign=foreign)
    ours = sum(map(len, groups))
    grown = sum(created(decided).values())
    assert grown == 0 or ours + grown <= min(60, 64 - foreign)
    assert not (grown and any(isinstance(action, Drain) for action in decided.actions))
