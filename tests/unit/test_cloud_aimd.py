# SPDX-License-Identifier: GPL-3.0-or-later
"""How the limiter answers to "too frequently": silence, a slower action, and the way back."""

from __future__ import annotations

import json
import typing as t

import pytest

from hostnic import errors
from hostnic.cloud import limiter as module
from hostnic.cloud.limiter import RateLimiter
from tests.support.scripted_api import Crowd, Time


@pytest.fixture
def time() -> Time:
    return Time()


def limiter(time: Time, rate: float = 4.0, burst: int = 4, **more: t.Any) -> RateLimiter:
    return RateLimiter(rate, burst, time, time.sleep, **{"rng": lambda: 1.0, **more})


def rate(of: RateLimiter, action: str) -> float:
    return float(of.state()["actions"][action]["rate"])


def held_back(of: RateLimiter, action: str = "DescribeNics", **more: t.Any) -> float:
    with pytest.raises(errors.RateLimited) as caught:
        of.acquire(action, **more)
    assert not caught.value.ambiguous
    assert action in caught.value.message
    assert "calls go on in" in caught.value.message
    return float(caught.value.details["retry_in"])


def test_each_refusal_halves_the_action_and_no_other(time: Time) -> None:
    one = limiter(time)
    one.acquire("DescribeNics")
    for expected in (2.0, 1.0, 0.5):
        one.acquire("CreateNics") if expected == 2.0 else None
        one.refused("CreateNics")
        assert rate(one, "CreateNics") == expected
        time.now += 200
    assert rate(one, "DescribeNics") == 4.0
    assert one.state()["rate"] == 4.0


def test_not_below_the_floor_and_never_above_the_ceiling(time: Time) -> None:
    one = limiter(time)
    for __ in range(20):
        one.refused("CreateNics")
        time.now += 200
    assert rate(one, "CreateNics") == pytest.approx(module.FLOOR, abs=1e-4)
    for __ in range(25):
        time.now += 60
        one.succeeded("CreateNics")
    assert rate(one, "CreateNics") == 4.0


def test_a_ceiling_below_the_floor_is_kept(time: Time) -> None:
    one = limiter(time, rate=0.01, burst=1)
    one.refused("CreateNics")
    assert rate(one, "CreateNics") == 0.01


def test_successes_add_the_same_each_minute(time: Time) -> None:
    one = limiter(time)
    one.refused("CreateNics")
    time.now += 5
    rates = []
    for __ in range(5):
        one.succeeded("CreateNics")
        rates.append(rate(one, "CreateNics"))
        time.now += 30
    assert rates == pytest.approx([2.2, 2.2, 2.4, 2.4, 2.6])


def test_what_was_never_slowed_down_does_not_use_up_its_step(time: Time) -> None:
    one = limiter(time)
    one.succeeded("CreateNics")
    one.refused("CreateNics")
    time.now += 5
    one.succeeded("CreateNics")
    assert rate(one, "CreateNics") == pytest.approx(2.2)


def test_what_came_in_before_a_step_came_in_at_the_old_rate(time: Time) -> None:
    one = limiter(time)
    one.refused("CreateNics")
    time.now += 5.5
    one.succeeded("CreateNics")
    assert one.state()["actions"]["CreateNics"]["tokens"] == 1.0
    time.now += 0.1
    assert one.state()["actions"]["CreateNics"]["tokens"] == pytest.approx(1.22)


def test_the_slower_action_waits_longer_and_saves_up_less(time: Time) -> None:
    one = limiter(time)
    one.refused("CreateNics")
    time.now += 1000
    assert [one.acquire("CreateNics") for __ in range(4)] == pytest.approx([0, 0, 0.5, 0.5])
    assert one.acquire("DescribeNics") == 0


def test_one_success_from_the_floor_ends_the_refusals_to_wait(time: Time) -> None:
    """Else the second call of a round would be refused each time, and no round would come to its end."""
    one = limiter(time)
    for __ in range(20):
        one.refused("DescribeNics")
        time.now += 200
    one.acquire("DescribeNics")
    assert held_back(one) > 50
    one.succeeded("DescribeNics")
    assert 0 < one.acquire("DescribeNics") < 10


def test_silence_grows_with_each_refusal_up_to_a_limit(time: Time) -> None:
    one = limiter(time)
    pauses = []
    for action in ("CreateNics", "DescribeNics", "CreateNics", "AttachNics", "AttachNics", "AttachNics", "AttachNics"):
        pauses.append(one.refused(action))
        assert one.state()["pause"] == pauses[-1]
        time.now += pauses[-1]
    assert pauses == [5, 10, 20, 40, 80, 120, 120]
    time.now += 1
    one.succeeded("DescribeNics")
    assert one.refused("CreateNics") == 5


@pytest.mark.parametrize(("dice", "pause"), [(0.0, 2.5), (0.5, 3.75), (1.0, 5.0)])
def test_silence_is_jittered_but_never_none(time: Time, dice: float, pause: float) -> None:
    assert limiter(time, rng=lambda: dice).refused("CreateNics") == pause


def test_nothing_is_sent_during_the_silence(time: Time) -> None:
    one = limiter(time)
    one.refused("CreateNics")
    assert one.acquire("DescribeNics") == pytest.approx(5.25)  # and the first call after it has to be earned
    assert one.state()["tokens"] == 0.0


def test_what_was_saved_up_is_void(time: Time) -> None:
    one = limiter(time)
    one.refused()
    time.now += 5
    assert [one.acquire() for __ in range(2)] == pytest.approx([0.25, 0.25])


def test_calls_that_were_under_way_are_part_of_one_offence(time: Time) -> None:
    one = limiter(time)
    one.refused("CreateNics")
    time.now += 4
    assert one.refused("CreateNics") == 5  # from now on, for it prolongs the penalty
    one.refused("AttachNics")
    one.succeeded("CreateNics")
    assert (rate(one, "CreateNics"), rate(one, "AttachNics")) == (2.0, 4.0)
    time.now += 4.9
    assert one.state()["pause"] == pytest.approx(0.1)
    time.now += 0.1
    assert one.refused("AttachNics") == 10


def test_a_silence_that_begins_while_others_sleep_holds_for_them() -> None:
    time = Crowd()
    one = RateLimiter(1, 1, time, time.sleep, rng=lambda: 1.0)
    left: list[float] = []

    def come() -> None:
        one.acquire("DescribeNics")
        left.append(time.now)

    time.run([(0.0, come), (0.1, come), (0.5, lambda: one.refused("CreateNics"))])
    assert left == [0.0, pytest.approx(6.5)]


# -- nobody waits for long ---------------------------------------------------------------------------------------------


def test_a_long_wait_is_refused_at_once(time: Time) -> None:
    one = limiter(time)
    for __ in range(3):
        one.refused("CreateNics")
        time.now += 30
    one.refused("CreateNics")
    assert held_back(one) == pytest.approx(40.25)
    assert time.slept == []
    assert one.state()["held_back"] == 1
    time.now += 31
    assert one.acquire("DescribeNics") == pytest.approx(9.25)


def test_the_caller_may_have_less_time_than_that(time: Time) -> None:
    one = limiter(time, rate=1, burst=1)
    assert one.acquire("DescribeNics", within=0.0) == 0
    assert held_back(one, within=0.9) == 1.0
    assert held_back(one, within=-3.0) == 1.0
    assert one.acquire("DescribeNics", within=1.0) == 1.0


def test_a_crowd_is_refused_from_the_first_that_would_wait_too_long() -> None:
    time = Crowd()
    one = RateLimiter(1, 1, time, time.sleep, longest=3)
    outcomes: list[str] = []

    def come() -> None:
        try:
            one.acquire("DescribeNics")
            outcomes.append(f"{time.now:.0f}")
        except errors.RateLimited as error:
            outcomes.append(f"refused at {time.now:.0f}, {error.details['retry_in']:.0f}")

    time.run([(0.0, come)] * 6)
    assert outcomes == ["0", "refused at 0, 4", "refused at 0, 4", "1", "2", "3"]


def test_those_who_are_refused_are_not_waited_for(time: Time) -> None:
    one = limiter(time, rate=1, burst=1)
    one.acquire()
    for __ in range(20):
        held_back(one, within=0.5)
    assert one.acquire("DescribeNics") == 1.0


def test_those_who_are_interrupted_are_not_waited_for(time: Time) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    one = RateLimiter(1, 1, time, interrupted)
    one.acquire("DescribeNics")
    for __ in range(20):
        with pytest.raises(KeyboardInterrupt):
            one.acquire("DescribeNics")
    assert held_back(one, within=0.5) == 1.0


def test_a_slow_pace_that_was_set_is_waited_for(time: Time) -> None:
    one = limiter(time, rate=0.05, burst=1)
    assert [one.acquire("DescribeNics") for __ in range(3)] == pytest.approx([0, 20, 20])


def test_a_clock_that_stands_still_does_not_hold_anyone_for_ever() -> None:
    """A sleep that does not sleep: the wait counts all the same."""
    one = RateLimiter(1, 1, lambda: 0.0, lambda seconds: None)
    one.acquire()
    with pytest.raises(errors.RateLimited):
        one.acquire()


def test_one_slow_action_does_not_hold_up_the_others() -> None:
    time = Crowd()
    one = RateLimiter(2, 1, time, time.sleep, rng=lambda: 1.0)
    for __ in range(3):
        one.refused("CreateNics")
        time.now += 200
    left: list[str] = []

    def come(action: str) -> t.Callable[[], None]:
        return lambda: (one.acquire(action), left.append(action))[1]

    time.run([(800.0, come("CreateNics")), (800.1, come("CreateNics")), *[(801.0, come("DescribeNics"))] * 3])
    assert left == ["CreateNics", "DescribeNics", "DescribeNics", "DescribeNics", "CreateNics"]


# -- what it tells -----------------------------------------------------------------------------------------------------


def test_state(time: Time) -> None:
    one = limiter(time, rate=2, burst=1)
    one.acquire("DescribeNics")
    one.acquire("DescribeNics")
    one.refused("CreateNics")
    state = one.state()
    assert json.loads(json.dumps(state)) == state
    assert state == {
        "rate": 2.0, "burst": 1.0, "tokens": 0.0, "calls": 2, "refused": 1, "waited": 0.5, "pause": 5.0, "held_back": 0,
        "actions": {
            "CreateNics": {"rate": 1.0, "tokens": 0.0, "calls": 0, "refused": 1, "waited": 0.0},
            "DescribeNics": {"rate": 2.0, "tokens": 0.0, "calls": 2, "refused": 0, "waited": 0.5},
        },
    }  # fmt: skip


# -- where many share an account ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dice", [0.0, 0.25, 0.9])
def test_those_who_begin_together_do_not_call_together(time: Time, dice: float) -> None:
    one = limiter(time, rate=0.05, burst=4, rng=lambda: dice)
    assert [one.acquire("DescribeNics") for __ in range(2)] == pytest.approx([20 * (1 - dice), 20])


def test_rest_saves_up_what_a_pod_waits_for(time: Time) -> None:
    one = limiter(time, rate=0.05, burst=4, rng=lambda: 0.0)
    time.now += 1000
    assert [one.acquire("CreateNics") for __ in range(5)] == pytest.approx([0, 0, 0, 0, 20])


def test_a_refusal_slows_everything_down_where_calls_are_scarce(time: Time) -> None:
    one = limiter(time, rate=0.1, burst=4)
    one.refused("CreateNics")
    assert one.state()["rate"] == 0.05
    assert rate(one, "CreateNics") == 0.1
    time.now += 40
    one.succeeded("DescribeNics")
    assert one.state()["rate"] == pytest.approx(0.055)


@pytest.mark.parametrize(("dice", "pause", "wait"), [(0.0, 10, 30), (0.5, 15, 25), (0.9, 19, 21)])
def test_those_who_were_refused_together_come_back_apart(time: Time, dice: float, pause: float, wait: float) -> None:
    one = limiter(time, rate=0.1, burst=4, rng=lambda: dice)
    assert one.refused("CreateNics") == pytest.approx(pause)
    assert one.acquire("DescribeNics") == pytest.approx(wait)


def test_a_pace_that_was_learned_is_waited_for(time: Time) -> None:
    one = limiter(time, rate=0.1, burst=1)
    assert one.longest == 20
    one.refused("CreateNics")
    assert one.longest == 40
