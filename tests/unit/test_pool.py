# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a NIC: in order, for the right vxnet, until the deadline, the cancellation or the NIC."""

from __future__ import annotations

import threading
import time
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from hostnic.config import Settings
from hostnic.errors import AuthFailed, PoolEmpty
from hostnic.model import LeaseKey, Nic
from hostnic.pool import EVERYWHERE, Pool
from hostnic.states import State
from hostnic.store.memory import MemoryStore
from hostnic.table import Table
from tests.lab.wait import until
from tests.support.memory_kernel import MemoryKernel


class Serving:
    """A pool whose NICs the test brings; callers wait in threads of their own."""

    def __init__(self, quarantine_min: float = 0.05) -> None:
        self.table = Table(MemoryStore(), time.monotonic)
        self.table.open("boot-1", "i-1")
        settings = Settings(quarantine_min=quarantine_min)
        self.pool = Pool(settings, self.table, MemoryKernel("node1"), time.monotonic, self._woken)
        self.wakes = 0
        self._threads = ThreadPoolExecutor(20)
        self._count = 0

    def _woken(self) -> None:
        self.wakes += 1

    def bring(self, vxnet_id: str = "vxnet-a") -> Nic:
        self._count += 1
        fresh = Nic(f"52:54:00:00:00:{self._count:02x}", vxnet_id, f"10.0.0.{self._count}", State.DETACHED, 0.0)
        return self.table.move(self.table.move(fresh, State.DETACHED), State.READY)

    def ask(
        self,
        container: str,
        seconds: float = 10,
        cancelled: t.Callable[[], bool] = lambda: False,
        vxnets: tuple[str, ...] = (),
    ) -> Future[tuple[Nic, bool]]:
        """Returns once the caller stands in the queue, or has its answer."""
        before = len(self.pool.waiting())
        deadline = time.monotonic() + seconds
        key = LeaseKey("net", container, "eth0")
        answer = self._threads.submit(self.pool.acquire, key, {}, deadline, cancelled, vxnets)
        until(lambda: answer.done() or len(self.pool.waiting()) > before, 5, "a caller in the queue")
        return answer


@pytest.fixture
def serving() -> Serving:
    return Serving()


def test_first_come_first_served(serving: Serving) -> None:
    answers = [serving.ask(name) for name in "abc"]
    brought = [serving.bring().nic_id for _ in answers]
    assert [answer.result(5)[0].nic_id for answer in answers] == brought


def test_one_that_wants_another_vxnet_does_not_hold_up_the_queue(serving: Serving) -> None:
    picky, easy = serving.ask("picky", vxnets=("vxnet-b",)), serving.ask("easy")
    first = serving.bring("vxnet-a")
    assert easy.result(5)[0].nic_id == first.nic_id
    assert not picky.done()
    second = serving.bring("vxnet-b")
    assert picky.result(5)[0].nic_id == second.nic_id


def test_no_nic_is_handed_out_twice(serving: Serving) -> None:
    answers = [serving.ask(str(number)) for number in range(16)]
    for _ in answers:
        serving.bring()
    handed = [answer.result(5)[0].nic_id for answer in answers]
    assert len(set(handed)) == 16


def test_a_caller_that_hung_up_leaves_the_queue_at_once(serving: Serving) -> None:
    gone = threading.Event()
    answer = serving.ask("a", seconds=60, cancelled=gone.is_set)
    gone.set()
    serving.pool.poke()
    with pytest.raises(PoolEmpty, match="cancelled"):
        answer.result(5)
    assert serving.pool.waiting() == ()


def test_a_definite_obstacle_is_named_at_the_deadline(serving: Serving) -> None:
    serving.pool.report({EVERYWHERE: AuthFailed("the key is wrong")})
    with pytest.raises(AuthFailed, match="the key is wrong"):
        serving.ask("a", seconds=0.05).result(5)


@pytest.mark.parametrize("quarantine_min", [0.0, 0.2])
def test_a_resting_nic_is_taken_once_it_has_rested_and_is_clean(quarantine_min: float) -> None:
    serving = Serving(quarantine_min)
    nic = serving.bring()
    serving.ask("a").result(5)
    answer = serving.ask("b")
    before = serving.wakes
    serving.pool.release(LeaseKey("net", "a", "eth0"), returned=True)
    released = time.monotonic()
    until(lambda: serving.wakes >= before + 2, 5, "the waiting caller's look at what was released")
    assert [dirty.nic_id for dirty in serving.pool.uncleaned()] == [nic.nic_id]
    assert not answer.done()
    serving.pool.cleaned(serving.pool.uncleaned()[0])
    assert answer.result(5)[0].nic_id == nic.nic_id
    assert time.monotonic() - released >= quarantine_min


def test_ending_a_lease_twice_is_ending_it_once(serving: Serving) -> None:
    key = LeaseKey("net", "a", "eth0")
    nic = serving.bring()
    serving.ask("a").result(5)
    for _ in range(2):
        serving.pool.release(key, returned=True)
    assert serving.table.nics()[0].state is State.QUARANTINE
    assert serving.pool.lease(key) is None
    assert serving.pool.nic(nic.nic_id)


@pytest.mark.parametrize(("touched", "state"), [(False, State.READY), (True, State.QUARANTINE)])
def test_a_failed_add_gives_its_nic_back(serving: Serving, touched: bool, state: State) -> None:
    serving.bring()
    serving.ask("a").result(5)
    serving.pool.abort(LeaseKey("net", "a", "eth0"), touched_pod=touched)
    assert serving.table.nics()[0].state is state
