# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast calls go out, and how often a read is tried: on a clock of our own."""

from __future__ import annotations

import threading
import typing as t

import pytest

from hostnic import errors
from hostnic.cloud.limiter import RateLimiter
from hostnic.cloud.retry import Patience


class Time:
    """Sleeping is what makes it pass."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


def test_a_burst_then_the_rate(time: Time) -> None:
    limiter = RateLimiter(5, 3, time, time.sleep)
    assert [limiter.acquire() for _ in range(3)] == [0, 0, 0]
    assert [limiter.acquire() for _ in range(3)] == pytest.approx([0.2, 0.2, 0.2])


def test_rest_fills_the_bucket_to_its_brim_only(time: Time) -> None:
    limiter = RateLimiter(5, 3, time, time.sleep)
    time.now += 1000
    assert [limiter.acquire() for _ in range(4)] == pytest.approx([0, 0, 0, 0.2])


def test_those_who_wait_stand_in_line(time: Time) -> None:
    waits: list[float] = []
    limiter = RateLimiter(2, 1, lambda: 0.0, waits.append)
    threads = [threading.Thread(target=limiter.acquire) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(waits) == [0.5, 1.0, 1.5, 2.0]


def test_refusal_empties_the_bucket(time: Time) -> None:
    limiter = RateLimiter(2, 10, time, time.sleep)
    limiter.refused()
    assert limiter.acquire() == 0.5


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_limiter_that_could_never_let_anyone_through(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="rate"):
        RateLimiter(rate, burst)


class Failing:
    def __init__(self, *failures: t.Optional[errors.HostnicError]) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
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


@pytest.mark.parametrize("error", [errors.Denied("no"), errors.AuthFailed("no"), errors.RateLimited("penalty")])
def test_what_trying_again_would_not_help(time: Time, error: errors.HostnicError) -> None:
    call = Failing(error)
    with pytest.raises(type(error)):
        patience(time).read("DescribeNics", call)
    assert call.calls == 1
