# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast this process may call: a token bucket that all its threads share."""

from __future__ import annotations

import threading
import time
import typing as t


class RateLimiter:
    """`rate` calls a second in the long run, `burst` of them at once. Raises ValueError where it could never call."""

    def __init__(
        self,
        rate: float,
        burst: int,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], object] = time.sleep,
    ) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("a rate is more than 0, a burst 1 or more")
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._tokens = float(burst)
        self._filled = clock()

    def acquire(self) -> float:
        """Wait for this caller's turn; returns the seconds waited. Turns are given in the order of asking."""
        with self._lock:
            self._fill()
            self._tokens -= 1.0
            wait = max(0.0, -self._tokens / self._rate)
        if wait:
            self._sleep(wait)
        return wait

    def refused(self) -> None:
        """The API said "too frequently": whatever was saved up is void. An adaptive rate would shrink here."""
        with self._lock:
            self._fill()
            self._tokens = min(self._tokens, 0.0)

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
