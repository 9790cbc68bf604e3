# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading

import pytest

from hostnic import wire
from hostnic.cni.locks import HungUp, KeyedLocks, Turnstile
from hostnic.errors import Timeout
from tests.support.cni import eventually


def never() -> bool:
    return False


def soon(seconds: float = 10.0) -> float:
    return wire.boottime() + seconds


def test_one_at_a_time_per_key_and_no_waiting_for_others() -> None:
    locks = KeyedLocks(wire.boottime)
    with (
        locks.hold("a", soon(), never),
        locks.hold("b", soon(), never),
        pytest.raises(Timeout, match="worked on a"),
        locks.hold("a", soon(0.02), never),
    ):
        pass
    with locks.hold("a", soon(), never):
        pass


def test_a_key_is_free_again_after_an_error() -> None:
    locks = KeyedLocks(wire.boottime)
    with pytest.raises(ZeroDivisionError), locks.hold("a", soon(), never):
        raise ZeroDivisionError
    with locks.hold("a", soon(0.02), never):
        pass


@pytest.mark.parametrize("kind", ["key", "turnstile"])
def test_who_hangs_up_stops_waiting_at_once(kind: str) -> None:
    locks, turnstile = KeyedLocks(wire.boottime), Turnstile(1, wire.boottime)
    gone, caught = threading.Event(), threading.Event()

    def wait() -> None:
        with pytest.raises(HungUp):
            if kind == "key":
                with locks.hold("a", soon(60), gone.is_set):
                    pass
            else:
                with turnstile.hold(soon(60), gone.is_set):
                    pass
        caught.set()

    with locks.hold("a", soon(), never), turnstile.hold(soon(), never):
        thread = threading.Thread(target=wait)
        thread.start()
        gone.set()

        def woken() -> bool:
            locks.poke()
            turnstile.poke()
            return caught.is_set()

        eventually(woken)
        thread.join(10)
    with turnstile.hold(soon(0.02), never):
        pass  # its place in the queue is gone as well


def test_the_turnstile_keeps_order_and_width() -> None:
    turnstile = Turnstile(2, wire.boottime)
    entered: list[int] = []
    inside, most = [0], [0]
    lock, go = threading.Lock(), threading.Event()

    def pass_through(number: int) -> None:
        with turnstile.hold(soon(), never):
            with lock:
                entered.append(number)
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            go.wait(10)
            with lock:
                inside[0] -= 1

    threads = []
    for number in range(12):
        threads.append(threading.Thread(target=pass_through, args=(number,)))
        threads[-1].start()
        eventually(lambda n=number: len(entered) + len(turnstile._queue) == n + 1)  # type: ignore[misc]
    assert entered == [0, 1]
    go.set()
    for thread in threads:
        thread.join(10)
    assert sorted(entered) == list(range(12))
    assert most[0] == 2
    # two leave together, so neighbours may write their numbers down in either order
    assert all(abs(number - place) <= 1 for place, number in enumerate(entered))


def test_the_turnstile_gives_up_at_the_deadline() -> None:
    turnstile = Turnstile(1, wire.boottime)
    with turnstile.hold(soon(), never), pytest.raises(Timeout), turnstile.hold(soon(0.02), never):
        pass
    with turnstile.hold(soon(0.02), never):
        pass


def test_nobody_overtakes_at_the_turnstile() -> None:
    turnstile = Turnstile(1, wire.boottime)
    entered = threading.Event()

    def wait() -> None:
        with turnstile.hold(soon(), never):
            entered.set()

    thread = threading.Thread(target=wait)
    with turnstile._changed:  # the waiter cannot move while this thread has the lock
        with turnstile.hold(soon(), never):
            thread.start()
            eventually_queued(turnstile)
        with pytest.raises(Timeout), turnstile.hold(soon(-1.0), never):
            pass
    assert entered.wait(10)
    thread.join(10)


def eventually_queued(turnstile: Turnstile) -> None:
    """Lets others have the lock until somebody waits in the queue."""
    while not turnstile._queue:
        turnstile._changed.wait(0.002)
