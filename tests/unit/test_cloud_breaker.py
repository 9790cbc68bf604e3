# SPDX-License-Identifier: GPL-3.0-or-later
"""When calls to an API that is away are not made, and how its return is noticed."""

from __future__ import annotations

import itertools
import json
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostnic import errors
from hostnic.cloud import replies
from hostnic.cloud.breaker import EDGES, Breaker, State, is_away
from hostnic.states import IllegalTransition
from tests.support.scripted_api import Crowd, Time

AWAY: t.Final = errors.Unreachable("no route to the API")
ALIVE: t.Final = replies.failure("CreateNics", 1400, "no")


@pytest.fixture
def time() -> Time:
    return Time()


def breaker(time: Time, threshold: int = 3, longest: float = 30.0, dice: float = 1.0) -> Breaker:
    return Breaker(threshold, longest, clock=time, rng=lambda: dice)


def call(one: Breaker, outcome: t.Optional[BaseException] = None, action: str = "DescribeNics") -> bool:
    """Whether the call was let through."""
    sent = False
    try:
        with one.call(action):
            sent = True
            if outcome is not None:
                raise outcome
    except BaseException as error:
        if sent and error is not outcome:
            raise
        if not sent and not isinstance(error, errors.Unreachable):
            raise
    return sent


def refusal(one: Breaker, action: str = "DescribeNics") -> errors.Unreachable:
    with pytest.raises(errors.Unreachable) as caught, one.call(action):
        raise AssertionError("let through")
    return caught.value


def opened(time: Time, **more: t.Any) -> Breaker:
    one = breaker(time, **more)
    for __ in range(3):
        assert call(one, AWAY)
    assert one.state()["state"] == "OPEN"
    return one


# -- the table ---------------------------------------------------------------------------------------------------------


def test_the_table_names_every_state_and_no_edge_twice() -> None:
    assert {edge.source for edge in EDGES} == {edge.target for edge in EDGES} == set(State)
    assert len({(edge.source, edge.target, edge.trigger) for edge in EDGES}) == len(EDGES)


def test_an_edge_that_is_not_in_the_table_raises(time: Time) -> None:
    with pytest.raises(IllegalTransition, match="from CLOSED to HALF_OPEN"):
        breaker(time)._go(State.HALF_OPEN)


# -- what counts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (errors.Unreachable("no"), True),
        (errors.Unreachable("no", ambiguous=True, status=502), True),
        (errors.Timeout("no"), True),
        (replies.failure("AttachNics", 5000, ""), True),
        (replies.failure("AttachNics", 5100, ""), True),
        (replies.failure("AttachNics", 5300, ""), True),
        (replies.failure("AttachNics", 5200, ""), False),
        (replies.failure("CreateNics", 5200, ""), False),
        (replies.failure("CreateNics", 1400, ""), False),
        (replies.failure("CreateNics", 1200, ""), False),
        (replies.failure("CreateNics", 2100, ""), False),
        (replies.failure("CreateNics", 2500, "quota"), False),
        (replies.failure("CreateNics", 2500, "access too frequently"), False),
        (errors.HostnicError("a defect of ours"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_says_that_it_is_away(time: Time, error: BaseException, away: bool) -> None:
    assert is_away(error) is away
    one = breaker(time, threshold=1)
    call(one, error)
    assert one.state()["state"] == ("OPEN" if away else "CLOSED")


@pytest.mark.parametrize("answer", [None, ALIVE, replies.failure("CreateNics", 2500, "access too frequently")])
def test_an_answer_in_between_begins_the_row_anew(time: Time, answer: t.Optional[errors.HostnicError]) -> None:
    one = breaker(time)
    for outcome in (AWAY, AWAY, answer, AWAY, AWAY):
        assert call(one, outcome)
    assert (one.state()["state"], one.state()["failures"]) == ("CLOSED", 2)


def test_what_was_never_sent_is_no_answer(time: Time) -> None:
    one = breaker(time)
    for outcome in (AWAY, AWAY, errors.RateLimited("held back"), AWAY):
        assert call(one, outcome)
    assert one.state()["state"] == "OPEN"


# -- open --------------------------------------------------------------------------------------------------------------


def test_open_fails_at_once_and_says_why(time: Time) -> None:
    one = breaker(time)
    call(one, AWAY)
    time.now += 40
    call(one, AWAY)
    call(one, errors.Timeout("the API did not answer within 10 s", ambiguous=True))
    time.now += 0.25
    error = refusal(one, "CreateNics")
    assert error.message == (
        "CreateNics was not sent: QingCloud has been away for 40 s, the next try is due in 0.8 s;"
        " last: the API did not answer within 10 s"
    )
    assert (error.ambiguous, error.transient) == (False, True)
    assert error.details == {"action": "CreateNics", "retry_in": 0.75, "away_for": 40.25}


@pytest.mark.parametrize("dice", [0.0, 0.5, 1.0])
def test_pauses_grow_with_full_jitter_and_have_a_longest(time: Time, dice: float) -> None:
    one = opened(time, dice=dice)
    pauses = []
    for __ in range(8):
        pauses.append(one.state()["retry_in"])
        time.now += pauses[-1]
        assert call(one, AWAY)
    assert pauses == [dice * pause for pause in (1, 2, 4, 8, 16, 30, 30, 30)]


def test_pauses_begin_short_again_after_an_answer(time: Time) -> None:
    one = opened(time)
    for __ in range(5):
        time.now += 30
        call(one, AWAY)
    time.now += 30
    assert call(one)
    for __ in range(3):
        call(one, AWAY)
    assert one.state()["retry_in"] == 1.0


# -- half open ---------------------------------------------------------------------------------------------------------


def test_one_call_tries_and_the_others_fail(time: Time) -> None:
    one = opened(time)
    time.now += 1
    with one.call("DescribeNics"):
        assert one.state()["state"] == "HALF_OPEN"
        error = refusal(one)
        assert "a try is under way" in error.message
        assert error.details["retry_in"] == 0.0
    assert one.state()["state"] == "CLOSED"
    assert call(one)


def test_a_refusal_closes_as_well(time: Time) -> None:
    one = opened(time)
    time.now += 1
    assert call(one, ALIVE)
    assert one.state() == {"state": "CLOSED", "failures": 0, "away_for": 0.0, "retry_in": 0.0, "last": ""}


@pytest.mark.parametrize(
    "outcome", [errors.RateLimited("held back"), errors.HostnicError("defect"), KeyboardInterrupt(), ValueError()]
)
def test_a_try_that_was_never_sent_leaves_it_to_the_next_call(time: Time, outcome: BaseException) -> None:
    one = opened(time)
    time.now += 1
    assert call(one, outcome)
    assert one.state()["state"] == "OPEN"
    assert one.state()["failures"] == 3
    assert call(one)
    assert one.state()["state"] == "CLOSED"


def test_calls_from_before_it_opened(time: Time) -> None:
    """Three are under way: two fail, one of them late; the third gets its answer while the breaker is open."""
    one = breaker(time, threshold=1)
    late, third = one.call("AttachNics"), one.call("DescribeNics")
    late.__enter__()
    third.__enter__()
    call(one, AWAY)
    due = one.state()["retry_in"]
    late.__exit__(errors.Timeout, errors.Timeout("late"), None)
    assert (one.state()["retry_in"], one.state()["last"]) == (due, "late")
    third.__exit__(None, None, None)
    assert one.state()["state"] == "CLOSED"


def test_a_late_failure_is_not_that_of_the_call_that_tries(time: Time) -> None:
    one = breaker(time, threshold=1)
    late = one.call("AttachNics")
    late.__enter__()
    call(one, AWAY)
    time.now += 1
    with one.call("DescribeNics"):
        late.__exit__(errors.Timeout, errors.Timeout("late"), None)
        assert one.state()["state"] == "HALF_OPEN"
        assert not call(one)
    assert one.state()["state"] == "CLOSED"


def test_only_the_latest_try_is_the_one_that_tries(time: Time) -> None:
    one = breaker(time, threshold=1)
    straggler = one.call("DescribeZones")
    straggler.__enter__()
    call(one, AWAY)
    time.now += 1
    first = one.call("DescribeNics")
    first.__enter__()
    straggler.__exit__(None, None, None)  # closed while the first try is under way
    call(one, AWAY)
    time.now += 1
    with one.call("DescribeNics"):
        first.__exit__(errors.Timeout, errors.Timeout("late"), None)
        assert one.state()["state"] == "HALF_OPEN"


def test_of_many_threads_one_tries() -> None:
    time = Crowd()
    one = Breaker(1, clock=time, rng=lambda: 1.0)
    call(one, AWAY)
    sent: list[float] = []

    def come() -> None:
        try:
            with one.call("DescribeNics"):
                sent.append(time.now)
                time.sleep(10)
                raise AWAY
        except errors.Unreachable:
            pass

    time.run([(1.0 + n / 10, come) for n in range(50)])
    assert sent == [1.0]


# -- recovery ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    back=st.floats(0, 500),
    every=st.floats(0.5, 10),
    longest=st.floats(1, 60),
    dice=st.lists(st.floats(0, 0.999), min_size=1, max_size=20),
)
def test_the_return_is_noticed_within_the_longest_pause(
    back: float, every: float, longest: float, dice: list[float]
) -> None:
    """Called again and again, it is closed by the first call that is more than `longest` after the return."""
    time, rolls = Time(0.0), itertools.cycle(dice)
    one = Breaker(3, longest, clock=time, rng=lambda: next(rolls))
    while time.now <= back + longest + every:
        call(one, AWAY if time.now < back else None)
        time.now += every
    assert one.state()["state"] == "CLOSED"


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([None, AWAY, ALIVE, errors.RateLimited("held back")]), st.floats(0, 20)),
        max_size=60,
    ),
    st.integers(1, 5),
)
def test_it_opens_at_the_threshold_and_not_before(
    calls: list[tuple[t.Optional[errors.HostnicError], float]], threshold: int
) -> None:
    time, row = Time(), 0
    one = Breaker(threshold, clock=time, rng=lambda: 0.5)
    for outcome, pause in calls:
        if call(one, outcome):
            row = row + 1 if outcome is AWAY else row if isinstance(outcome, errors.RateLimited) else 0
        state = one.state()
        assert json.loads(json.dumps(state)) == state
        assert state["failures"] == row
        assert (state["state"] == "CLOSED") is (row < threshold)
        time.now += pause
