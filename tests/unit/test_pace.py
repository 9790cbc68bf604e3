# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the cloud is left alone after it has failed."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from hostnic.errors import HostnicError, RateLimited, Unreachable
from hostnic.pace import Pace

LONGEST = 30.0


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def paced(dice: float, clock: t.Optional[Clock] = None, longest: float = LONGEST) -> Pace:
    return Pace(longest, clock or Clock(), lambda: dice)


def after(pace: Pace, failures: int, error: HostnicError) -> float:
    """The pause after the last of so many failures in a row."""
    return [pace.failed(error) for __ in range(failures)][-1]


@pytest.mark.parametrize(("failures", "pause"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 15.0), (50, 15.0)])
def test_the_pause_doubles_up_to_the_longest(failures: int, pause: float) -> None:
    assert after(paced(0.5), failures, Unreachable("x")) == pause


@pytest.mark.parametrize(("failures", "pause"), [(5, 16.0), (6, 32.0), (7, 60.0), (2000, 60.0)])
def test_after_too_many_calls_the_pause_grows_to_two_minutes(failures: int, pause: float) -> None:
    assert after(paced(0.5), failures, RateLimited("x")) == pause


@examples(deadline=None)  # a busy machine is no defect
@given(st.floats(0.0, 1.0, exclude_max=True), st.integers(1, 30), st.sampled_from([Unreachable("x"), RateLimited("x")]))
def test_the_pause_is_drawn_from_nothing_to_the_whole(dice: float, failures: int, error: HostnicError) -> None:
    most = min(120.0 if isinstance(error, RateLimited) else LONGEST, 2.0**failures)
    assert after(paced(dice), failures, error) == max(0.2, dice * most)


def test_no_pause_is_so_short_that_it_hammers() -> None:
    assert paced(0.0).failed(Unreachable("x")) == 0.2


def test_a_reconcile_interval_above_two_minutes_bounds_ordinary_failures_only() -> None:
    assert after(paced(0.5, longest=600.0), 20, Unreachable("x")) == 300.0
    assert after(paced(0.5, longest=600.0), 20, RateLimited("x")) == 60.0


@pytest.mark.parametrize(("told", "pause"), [(7.0, 7.0), (500.0, 500.0), (0.0, 0.2)])
def test_an_error_that_knows_better_is_believed(told: float, pause: float) -> None:
    assert after(paced(0.5), 9, Unreachable("x", retry_in=told)) == pause


def test_the_cloud_is_left_alone_until_the_pause_is_over() -> None:
    clock = Clock()
    pace = paced(0.5, clock)
    assert pace.due_in() == 0.0
    assert after(pace, 3, Unreachable("x")) == 4.0
    clock.now += 1.5
    assert pace.due_in() == 2.5
    clock.now += 10.0
    assert pace.due_in() == 0.0


def test_a_success_makes_the_next_failure_the_first() -> None:
    pace = paced(0.5)
    after(pace, 8, Unreachable("x"))
    pace.succeeded()
    assert pace.failed(Unreachable("x")) == 1.0
