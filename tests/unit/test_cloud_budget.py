# SPDX-License-Identifier: GPL-3.0-or-later
"""What limiter, breaker and retries promise together: how many calls leave, and how long one takes."""

from __future__ import annotations

import contextlib
import random
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostnic import errors
from hostnic.cloud.breaker import Breaker
from hostnic.cloud.connection import Connection
from hostnic.cloud.credentials import Access, Key
from hostnic.cloud.keys import FixedKeys
from hostnic.cloud.limiter import FLOOR, RateLimiter
from hostnic.cloud.qingcloud import QingCloud
from hostnic.cloud.retry import Patience
from hostnic.cloud.sdk import Exchange
from hostnic.configuration.settings import SCARCE
from tests.support.scripted_api import KEY, Crowd, Time

ACTIONS: t.Final = ("", "CreateNics", "AttachNics", "DescribeNics")
RATES = st.floats(0.05, 20)
WINDOWS: t.Final = (0.0, 1.0, 7.0, 60.0)
EXACT: t.Final = 1e-6  # of rounding, in calls


def check_windows(left: t.Sequence[float], rate: float, burst: int) -> None:
    """In no window that begins with a call do more leave than its length allows."""
    for first, moment in enumerate(left):
        for seconds in WINDOWS:
            count = sum(moment <= other <= moment + seconds for other in left[first:])
            assert count <= rate * seconds + burst + EXACT


@settings(deadline=None)
@given(
    rate=RATES,
    burst=st.integers(1, 8),
    calls=st.lists(
        st.tuples(
            st.sampled_from(ACTIONS),
            st.sampled_from([0.0, 0.01, 0.3, 5.0, 70.0]),
            st.sampled_from(["ok", "often", "no"]),
        ),
        max_size=80,
    ),
    dice=st.floats(0, 0.999),
)
def test_never_more_than_the_rate_whatever_is_called(
    rate: float, burst: int, calls: list[tuple[str, float, str]], dice: float
) -> None:
    time = Time()
    limiter = RateLimiter(rate, burst, time, time.sleep, rng=lambda: dice)
    left: list[float] = []
    for action, pause, outcome in calls:
        time.now += pause
        with contextlib.suppress(errors.RateLimited):
            limiter.acquire(action)
            left.append(time.now)
            if outcome == "ok":
                limiter.succeeded(action)
            elif outcome == "often":
                limiter.refused(action)
    check_windows(left, rate, burst)
    slowest = min(rate, FLOOR) if rate < SCARCE else rate  # what was learned is waited for as what was set
    assert all(pause <= max(10.0, 2 / slowest) + EXACT for pause in time.slept)


@settings(deadline=None)
@given(
    rate=st.floats(0.5, 10),
    burst=st.integers(1, 4),
    callers=st.lists(
        st.tuples(
            st.floats(0, 20), st.lists(st.tuples(st.sampled_from(ACTIONS), st.booleans()), min_size=1, max_size=8)
        ),
        min_size=1,
        max_size=6,
    ),
    late=st.lists(st.sampled_from([0.0, 0.0, 0.5, 40.0]), min_size=1, max_size=9),
)
def test_nor_with_many_callers_that_wake_late(
    rate: float, burst: int, callers: list[tuple[float, list[tuple[str, bool]]]], late: list[float]
) -> None:
    roll = random.Random(len(callers))
    time = Crowd(late=lambda: roll.choice(late))
    limiter = RateLimiter(rate, burst, time, time.sleep, rng=lambda: 0.5)
    left: list[float] = []

    def work(calls: list[tuple[str, bool]]) -> t.Callable[[], None]:
        def run() -> None:
            for action, often in calls:
                with contextlib.suppress(errors.RateLimited):
                    limiter.acquire(action)
                    left.append(time.now)
                    limiter.refused(action) if often else limiter.succeeded(action)

        return run

    time.run([(start, work(calls)) for start, calls in callers])
    check_windows(left, rate, burst)
    assert limiter.state()["calls"] == len(left)


@settings(deadline=None)
@given(
    rate=RATES,
    penalty=st.floats(1, 200),
    seed=st.integers(0, 99),
)
def test_a_penalty_that_each_call_prolongs_is_waited_out(rate: float, penalty: float, seed: int) -> None:
    """One caller that comes again when it is told to: the penalty ends, and calls go on."""
    time, dice = Time(), random.Random(seed)
    limiter = RateLimiter(rate, 1, time, time.sleep, rng=dice.random)
    barred = time.now + penalty
    for __ in range(40):
        try:
            limiter.acquire("DescribeNics")
        except errors.RateLimited as error:
            time.now += error.details["retry_in"]
            continue
        if time.now >= barred:
            limiter.succeeded("DescribeNics")
            return
        barred = time.now + min(penalty, 100)
        limiter.refused("DescribeNics")
    raise AssertionError("never out of the penalty")


# -- the whole way -----------------------------------------------------------------------------------------------------

TIMEOUT: t.Final = 10.0
OUTCOMES: t.Final = (
    {"ret_code": 0, "total_count": 0, "nic_set": [], "nics": [{"nic_id": "52:54:00:00:00:01"}]},
    {"ret_code": 5100, "message": "ServerBusy"},
    {"ret_code": 2500, "message": "access too frequently"},
    {"ret_code": 1300, "message": "RequestHasExpired"},
    {"ret_code": 1200, "message": "AuthFailure"},
    {"ret_code": 1400, "message": "PermissionDenied"},
    ConnectionRefusedError(),
    TimeoutError(),
)


class Away:
    """In place of the SDK's exchanges: each takes some time, at most the timeout, and ends somehow."""

    def __init__(self, time: Time, script: t.Iterator[tuple[int, float]]) -> None:
        self.time = time
        self.script = script
        self.sent = True
        self.date = ""
        self.left: list[float] = []

    def __call__(self, route: t.Any, key: Key, zone: str, clock: t.Any) -> Exchange:
        return t.cast(Exchange, self)

    def run(self, action: str, params: dict[str, t.Any], *, uri: str, post: bool) -> dict[str, t.Any]:
        self.left.append(self.time.now)
        outcome, share = next(self.script)
        self.time.now += share * TIMEOUT
        found = OUTCOMES[outcome % len(OUTCOMES)]
        if isinstance(found, Exception):
            raise found
        return dict(t.cast("dict[str, t.Any]", found))


class Renewed(FixedKeys):
    def renew(self, refused: Key) -> bool:
        return True


@settings(deadline=None)
@given(
    rate=RATES,
    burst=st.integers(1, 5),
    retries=st.integers(0, 12),
    patience=st.floats(0.5, 40),
    seed=st.integers(0, 999),
    likely=st.lists(st.integers(0, len(OUTCOMES) - 1), min_size=1, max_size=3),
    pauses=st.lists(st.sampled_from([0.0, 0.5, 20.0]), min_size=1, max_size=15),
)
def test_neither_the_rate_nor_the_time_is_exceeded(
    rate: float, burst: int, retries: int, patience: float, seed: int, likely: list[int], pauses: list[float]
) -> None:
    time, dice = Time(), random.Random(seed)
    script = iter(lambda: (dice.choice(likely), dice.choice([0.0, 0.01, 1.0])), None)
    api = Away(time, t.cast(t.Any, script))
    link = Connection(
        Access(timeout=TIMEOUT, key=KEY),
        Renewed(KEY),
        RateLimiter(rate, burst, time, time.sleep, rng=dice.random),
        zone="pek3a",
        breaker=Breaker(clock=time, rng=dice.random),
        clock=time,
        exchange=api,
    )
    cloud = QingCloud(link, Patience(retries, patience, clock=time, sleep=time.sleep, rng=dice.random))
    for number, pause in enumerate(pauses):
        started, sent = time.now, len(api.left)
        with contextlib.suppress(errors.HostnicError):
            if number % 2:
                cloud.create_nics("vxnet-a", 1, "ours")
            else:
                cloud.describe_nics(name="ours")
        assert time.now - started <= patience + TIMEOUT + EXACT
        assert len(api.left) - sent <= (3 if number % 2 else 3 * (retries + 1))
        time.now += pause
    check_windows(api.left, rate, burst)


@pytest.mark.parametrize(("seed", "retries"), [(1, 0), (2, 3), (3, 12)])
def test_an_api_that_is_away_is_asked_now_and_then(seed: int, retries: int) -> None:
    """Ten minutes of a reader that never rests: no more tries than the growing pauses have room for."""
    time, dice = Time(), random.Random(seed)
    api = Away(time, t.cast(t.Any, iter(lambda: (6, 0.0), None)))
    link = Connection(
        Access(timeout=TIMEOUT, key=KEY),
        FixedKeys(KEY),
        RateLimiter(5, 5, time, time.sleep),
        zone="pek3a",
        breaker=Breaker(longest=30.0, clock=time, rng=dice.random),
        clock=time,
        exchange=api,
    )
    cloud = QingCloud(link, Patience(retries, clock=time, sleep=time.sleep, rng=dice.random))
    ended = time.now + 600
    while time.now < ended:
        with contextlib.suppress(errors.Unreachable):
            cloud.describe_nics(name="ours")
        time.now += 1.0
    assert 5 + 600 / 32 < len(api.left) < 5 + 6 + 600 / 15 * 2
