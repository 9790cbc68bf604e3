# SPDX-License-Identifier: GPL-3.0-or-later
"""The table: journal first, edges only, and what a reboot or another instance's journal means."""

from __future__ import annotations

import pytest

from hostnic.model import Intent, Lease, LeaseKey, Nic
from hostnic.states import IllegalTransition, State
from hostnic.store.memory import MemoryStore
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


def opened(store: MemoryStore, clock: Clock, boot: str = "boot-1", instance: str = "i-1") -> Table:
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
