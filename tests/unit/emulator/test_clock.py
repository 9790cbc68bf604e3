# SPDX-License-Identifier: GPL-3.0-or-later
"""The clocks: who waits on them, and for how long."""

from __future__ import annotations

import threading
import time

import pytest

from tests.emulator import ManualClock, SystemClock
from tests.emulator.clock import rfc3339


def sleeper(clock: ManualClock, seconds: float, stop: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=clock.sleep, args=(seconds, stop))
    thread.start()
    deadline = time.monotonic() + 5
    while not clock.sleeping:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return thread


def test_a_manual_clock_stands_still_until_advanced() -> None:
    clock = ManualClock(1000.0)
    thread = sleeper(clock, 10, threading.Event())
    clock.advance(9.5)
    thread.join(0.3)
    assert thread.is_alive()
    clock.advance(0.5)
    thread.join(5)
    assert not thread.is_alive()
    assert clock.now() == 1010.0


def test_stopping_ends_a_sleep() -> None:
    stop = threading.Event()
    thread = sleeper(ManualClock(), 3600, stop)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_no_clock_runs_backwards() -> None:
    with pytest.raises(ValueError, match="backwards"):
        ManualClock().advance(-1)


def test_the_machine_s_clock() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 1
    assert abs(ManualClock().now() - time.time()) < 1
    began = time.monotonic()
    clock.sleep(0.05, threading.Event())
    assert time.monotonic() - began >= 0.05


def test_rfc3339() -> None:
    assert rfc3339(1714550409.9) == "2024-05-01T08:00:09Z"
