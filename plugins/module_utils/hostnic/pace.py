# SPDX-License-Identifier: GPL-3.0-or-later
"""When the cloud is asked again after a failure: full-jitter back-off."""

from __future__ import annotations

import typing as t

from .errors import HostnicError, RateLimited
from .ports import Clock

BACKOFF_LIMIT: t.Final = 120.0  # s, the longest pause after "too frequently": each call during a penalty prolongs it
SHORTEST: t.Final = 0.2  # s


class Pace:
    """`longest`: seconds within which the end of an outage is noticed. One thread uses it."""

    def __init__(self, longest: float, clock: Clock, dice: t.Callable[[], float]) -> None:
        self._longest = longest
        self._clock = clock
        self._dice = dice
        self._failures = 0
        self._not_before = float("-inf")

    def due_in(self) -> float:
        """Seconds for which the cloud is to be left alone, whoever asks."""
        return max(0.0, self._not_before - self._clock())

    def failed(self, error: HostnicError) -> float:
        """The pause after one more failure in a row; an error that knows better says so as `retry_in`."""
        self._failures += 1
        limit = BACKOFF_LIMIT if isinstance(error, RateLimited) else self._longest
        drawn = self._dice() * min(limit, 2.0 ** min(self._failures, 10))
        pause = max(SHORTEST, float(error.details.get("retry_in", drawn)))
        self._not_before = self._clock() + pause
        return pause

    def succeeded(self) -> None:
        self._failures = 0
