# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast calls go out, and how often a read is tried: on a clock of our own."""

from __future__ import annotations

import threading
import time as wall
import typing as t

import pytest

from hostnic import errors
from hostnic.cloud.limiter import RateLimiter
from hostnic.cloud.retry import Patience
from tests.support.scripted_api import Crowd, Time


@pytest.fixture
def time() -> Time:
    return Time()


def test_a_burst_then_the_rate(time: Time) -> None:
    limiter = RateLimiter(5, 3, time, time.sleep)
    assert [limiter.acquire() for __ in range(3)] == [0, 0, 0]
    assert [limiter.acquire() for __ in range(3)] == pytest.approx([0.2, 0.2, 0.2])


def test_rest_fills_the_bucket_to_its_brim_only(time: Time) -> None:
    limiter = RateLimiter(5, 3, time, time.sleep)
    time.now += 1000
    assert [limiter.acquire() for __ in range(4)] == pytest.approx([0, 0, 0, 0.2])


def test_those_who_wait_stand_in_line() -> None:
    time = Crowd()
    limiter = RateLimiter(2, 1, time, time.sleep)
    left: list[tuple[float, str]] = []

    def come(who: str) -> t.Callable[[], None]:
        return lambda: (limiter.acquire(), left.append((time.now, who)))[1]

    time.run([(0.0, come("a")), (0.1, come("b")), (0.2, come("c")), (0.3, come("d")), (0.4, come("e"))])
    assert left == [(pytest.approx(n * 0.5), who) for n, who in enumerate("abcde")]
    assert limiter.state()["waited"] == 4.0


def test_late_sleepers_do_not_add_up_to_a_burst() -> None:
    """The machine was suspended while ten stood in line."""
    suspended = 30.0
    time = Crowd(late=lambda: suspended)
    limiter = RateLimiter(2, 1, time, time.sleep)
    left: list[float] = []

    def come() -> None:
        nonlocal suspended
        try:
            limiter.acquire()
        except errors.RateLimited:  # it has slept for longer than anyone should wait
            return
        suspended = 0.0
        left.append(time.now)

    time.run([(0.0, come)] * 5)
    assert [later - earlier >= 0.4999 for earlier, later in zip(left, left[1:])] == [True] * (len(left) - 1)
    assert len(left) >= 2


def test_threads_share_the_rate() -> None:
    limiter = RateLimiter(100, 2)
    left: list[int] = []

    def work() -> None:
        for __ in range(5):
            limiter.acquire("DescribeNics")
            left.append(1)

    threads = [threading.Thread(target=work) for __ in range(6)]
    started = wall.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(left) == 30
    assert len(left) <= (wall.monotonic() - started) * 100 + 2
    assert limiter.state()["calls"] == 30


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_limiter_that_could_never_let_anyone_through(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="rate"):
        RateLimiter(rate, burst)


class Failing:
    def __init__(self, *failures: t.Optional[errors.HostnicError]) -> None:
        self.failures = list(failures)
        self.left: list[float] = []
        self.calls = 0

    def __call__(self, left: float) -> str:
        self.calls += 1
        self.left.append(left)
        failure = self.failures.pop(0) if len(self.failures) > 1 else self.failures[0]
        if failure is not None:
            raise failure
        return "done"


def patience(time: Time, **changes: t.Any) -> Patience:
    return Patience(**{"clock": time, "sleep": time.sleep, "rng": lambda: 1.0, "retries": 3, **changes})


def test_a_read_is_tried_again(time: Time) -> None:
    call = Failing(errors.Busy("busy"), errors.Unreachable("away"), None)
    assert patience(time).read("DescribeNics", call) == "done"
    assert call.calls == 3
    assert time.slept == [0.5, 1.0]
    assert call.left == [20.0, 19.5, 18.5]


def test_jitter_is_full(time: Time) -> None:
    dice = iter([0.0, 0.5, 0.25])
    call = Failing(errors.Busy("busy"))
    with pytest.raises(errors.Busy):
        patience(time, rng=lambda: next(dice, 0.0)).read("DescribeNics", call)
    assert time.slept == [0.0, 0.5, 0.5]
    assert call.calls == 4


def test_not_after_the_deadline(time: Time) -> None:
    call = Failing(errors.Timeout("slow"))
    with pytest.raises(errors.Timeout):
        patience(time, deadline=1.2, retries=50).read("DescribeNics", call)
    assert sum(time.slept) < 1.2


@pytest.mark.parametrize(
    "error",
    [
        errors.Denied("no"),
        errors.AuthFailed("no"),
        errors.RateLimited("penalty"),
        errors.Unreachable("away", retry_in=0.0),
    ],
)
def test_what_trying_again_would_not_help(time: Time, error: errors.HostnicError) -> None:
    call = Failing(error)
    with pytest.raises(type(error)):
        patience(time).read("DescribeNics", call)
    assert call.calls == 1
