# SPDX-License-Identifier: GPL-3.0-or-later
"""The table: journal first, edges only, and what a reboot or another instance's journal means."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from hostnic.model import Fact, Intent, KnownVxnet, Lease, LeaseKey, Nic, Record
from hostnic.ports import Store
from hostnic.states import IllegalTransition, State
from hostnic.store.memory import MemoryStore
from hostnic.store.sqlite import SqliteStore
from hostnic.table import Move, Table

KEY = LeaseKey("net", "c1", "eth0")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def opened(store: Store, clock: Clock, boot: str = "boot-1", instance: str = "i-1") -> Table:
    table = Table(store, clock)
    table.open(boot, instance)
    return table


def nic(state: State = State.READY, since: float = 0.0) -> Nic:
    return Nic("52:54:00:00:00:01", "vxnet-a", "172.16.1.5", state, since)


def test_a_step_is_journaled_with_its_lease_and_its_time(store: MemoryStore, clock: Clock) -> None:
    table = opened(store, clock)
    table.move(nic(), State.QUARANTINE)
    clock.now = 107.0
    lease = Lease("net", "c1", "eth0", nic().nic_id, clock.now)
    table.apply([Move(table.nics()[0], State.RESERVED)], put=[lease])
    journal = store.load()
    assert [(record.state, record.since) for record in journal.nics] == [(State.RESERVED, 107.0)]
    assert journal.leases == (lease,)
    assert table.lease(KEY) == lease and table.lease_of(nic().nic_id) == lease


def test_gone_leaves_the_journal(store: MemoryStore, clock: Clock) -> None:
    table = opened(store, clock)
    table.move(nic(State.DETACHED), State.DETACHED)
    table.move(table.nics()[0], State.GONE)
    assert (table.nics(), store.load().nics) == ([], ())


def test_a_step_from_where_the_nic_no_longer_is_changes_nothing(store: MemoryStore, clock: Clock) -> None:
    table = opened(store, clock)
    table.move(nic(), State.QUARANTINE)
    stale = table.nics()[0]
    table.move(stale, State.RESERVED)
    with pytest.raises(IllegalTransition):
        table.apply([Move(stale, State.DRAINING)], put=[Intent("x", "detach", 0.0)])
    assert (table.nics()[0].state, table.intents(), store.load().intents) == (State.RESERVED, [], ())


def test_a_refused_step_of_one_nic_refuses_all_that_came_with_it(store: MemoryStore, clock: Clock) -> None:
    table = opened(store, clock)
    table.move(nic(), State.QUARANTINE)
    other = Nic("52:54:00:00:00:02", "vxnet-a", "", State.RESERVED, 0.0)
    with pytest.raises(IllegalTransition):
        table.apply([Move(table.nics()[0], State.RESERVED), Move(other, State.RESERVED)])
    assert table.nics()[0].state is State.QUARANTINE


def test_after_a_restart_everything_is_as_it_was(store: MemoryStore, clock: Clock) -> None:
    opened(store, clock).move(nic(), State.QUARANTINE)
    clock.now = 500.0
    assert [record.since for record in opened(store, clock).nics()] == [100.0]


def test_after_a_reboot_the_clocks_start_anew(store: MemoryStore, clock: Clock) -> None:
    opened(store, clock).move(nic(), State.QUARANTINE)
    clock.now = 3.0
    table = opened(store, clock, boot="boot-2")
    assert [record.since for record in table.nics()] == [3.0]
    assert store.load().binding == ("boot-2", "i-1")


def test_another_instances_journal_is_not_ours(store: MemoryStore, clock: Clock) -> None:
    opened(store, clock).move(nic(), State.QUARANTINE)
    assert opened(store, clock, instance="i-2").nics() == []
    assert store.load().nics == ()


def test_another_instances_journal_is_set_aside_and_not_dropped(tmp_path: Path, clock: Clock) -> None:
    first = SqliteStore(tmp_path / "mine")
    opened(first, clock).move(nic(), State.QUARANTINE)
    first.close()
    cloned = SqliteStore(tmp_path / "mine")
    assert opened(cloned, clock, instance="i-2").nics() == []
    aside = cloned.kept_as
    cloned.close()
    assert aside
    (tmp_path / "theirs").mkdir()
    aside.rename(tmp_path / "theirs" / "state.db")
    theirs = SqliteStore(tmp_path / "theirs")
    assert [record.state for record in theirs.load().nics] == [State.QUARANTINE]
    theirs.close()


# -- after a reboot ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [state for state in State if state is not State.GONE])
def test_after_a_reboot_what_a_pod_had_has_to_be_found_first(store: MemoryStore, clock: Clock, state: State) -> None:
    store.bind("boot-1", "i-1")
    store.write(put=[nic(state), Lease("net", "c1", "eth0", nic().nic_id, 50.0)])
    table = opened(store, clock, boot="boot-2")
    expected = State.BROKEN if state in (State.RESERVED, State.IN_USE) else state
    assert ([one.state for one in table.nics()], table.leases()) == ([expected], [])
    assert ([one.state for one in store.load().nics], store.load().leases) == ([expected], ())


def test_after_a_reboot_marks_and_the_times_of_intents_are_of_this_boot(store: MemoryStore, clock: Clock) -> None:
    table = opened(store, clock)
    table.move(nic(State.DETACHED), State.DETACHED, marked=90.0)
    table.apply(put=[Intent("x", "create", 95.0, "vxnet-a", 2)])
    clock.now = 3.0
    table = opened(store, clock, boot="boot-2")
    assert [one.marked for one in table.nics()] == [0.0]
    assert [(one.since, one.count) for one in table.intents()] == [(3.0, 2)]


def test_after_a_restart_marks_and_leases_stay(store: MemoryStore, clock: Clock) -> None:
    lease = Lease("net", "c1", "eth0", nic().nic_id, 50.0)
    opened(store, clock).apply([Move(nic(State.DETACHED), State.DETACHED, {"marked": 90.0})], put=[lease])
    table = opened(store, clock)
    assert ([one.marked for one in table.nics()], table.leases()) == ([90.0], [lease])


def test_a_fixed_address_and_what_was_learnt_of_the_cloud_outlast_a_reboot(store: MemoryStore, clock: Clock) -> None:
    table = opened(store, clock)
    vxnet = KnownVxnet("vxnet-a", "172.16.1.0/24", "172.16.1.1", "rtr-1", "172.16.1.9")
    table.move(nic(), State.QUARANTINE, workload="db", keep=60.0)
    table.apply(put=[vxnet, Fact("attach jobs", "one at a time")])
    table = opened(store, clock, boot="boot-2")
    assert [(one.workload, one.keep) for one in table.nics()] == [("db", 60.0)]
    assert (table.vxnets(), table.fact("attach jobs")) == ({"vxnet-a": vxnet}, "one at a time")


# -- amending ---------------------------------------------------------------------------------------------------------


def test_amending_changes_what_is_told_and_nothing_else(store: MemoryStore, clock: Clock) -> None:
    table = opened(store, clock)
    table.move(nic(), State.QUARANTINE, note="old")
    clock.now = 107.0
    table.amend(table.nics()[0], marked=107.0)
    assert [(one.state, one.since, one.marked, one.note) for one in store.load().nics] == [
        (State.QUARANTINE, 100.0, 107.0, "old")
    ]


def test_amending_keeps_what_another_has_amended(store: MemoryStore, clock: Clock) -> None:
    table = opened(store, clock)
    stale = table.move(nic(), State.QUARANTINE)
    table.amend(stale, marked=107.0)
    table.amend(stale, note="new")
    assert [(one.marked, one.note) for one in table.nics()] == [(107.0, "new")]


@pytest.mark.parametrize("target", [State.RESERVED, State.BROKEN])
def test_amending_leaves_a_nic_alone_that_moved_on(store: MemoryStore, clock: Clock, target: State) -> None:
    table = opened(store, clock)
    stale = table.move(nic(), State.QUARANTINE)
    moved = table.move(stale, target)
    table.amend(stale, marked=107.0)
    table.retry(stale, "again")
    assert (table.nics(), list(store.load().nics)) == ([moved], [moved])


def test_amending_does_not_bring_a_nic_back_that_is_gone(store: MemoryStore, clock: Clock) -> None:
    table = opened(store, clock)
    stale = table.move(nic(State.DETACHED), State.DETACHED)
    table.move(stale, State.GONE)
    table.amend(stale, marked=107.0)
    assert (table.nics(), store.load().nics) == ([], ())


def test_a_retry_counts_and_waits_from_now(store: MemoryStore, clock: Clock) -> None:
    table = opened(store, clock)
    table.move(nic(State.DETACHED), State.DETACHED)
    clock.now = 107.0
    table.retry(table.nics()[0], "refused")
    assert [(one.state, one.attempts, one.since, one.note) for one in table.nics()] == [
        (State.DETACHED, 1, 107.0, "refused")
    ]


# -- the order of things ----------------------------------------------------------------------------------------------


class Refusing(MemoryStore):
    full = False

    def write(self, put: t.Iterable[Record] = (), drop: t.Iterable[Record] = (), durable: bool = False) -> None:
        if self.full:
            raise OSError("disk full")
        super().write(put, drop, durable)


def test_what_the_journal_refuses_has_not_happened(clock: Clock) -> None:
    store = Refusing()
    table = opened(store, clock)
    table.move(nic(), State.QUARANTINE)
    store.full = True
    with pytest.raises(OSError, match="disk full"):
        table.apply([Move(table.nics()[0], State.RESERVED)], put=[Lease("net", "c1", "eth0", nic().nic_id, 1.0)])
    assert (table.nics()[0].state, table.leases()) == (State.QUARANTINE, [])


def test_the_oldest_in_its_state_comes_first(store: MemoryStore, clock: Clock) -> None:
    table = opened(store, clock)
    for number, now in enumerate((300.0, 100.0, 200.0)):
        clock.now = now
        table.move(Nic(f"52:54:00:00:00:0{number}", "vxnet-a", "", State.QUARANTINE, 0.0), State.QUARANTINE)
    assert [one.since for one in table.nics(State.QUARANTINE)] == [100.0, 200.0, 300.0]
    assert table.nics(State.READY) == []
