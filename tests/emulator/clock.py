# SPDX-License-Identifier: GPL-3.0-or-later
"""Time as the emulated cloud sees it: the machine's clock, or one that a test advances.

Everything runs on it (jobs, rate limits, lags, delays, token expiry) but the signature's 60 s window, which
compares with wall time because clients stamp their requests with wall time.
"""

from __future__ import annotations

import threading
import time
import typing as t
from datetime import datetime, timezone


def rfc3339(moment: float) -> str:
    """Unix seconds to ``2024-05-01T08:00:00Z``."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Clock(t.Protocol):
    """``manual`` says whether time moves only when somebody advances it."""

    manual: bool

    def now(self) -> float:
        """Unix seconds."""

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        """Return after ``seconds`` of this clock, or as soon as ``stop`` is set."""


class SystemClock:
    """Wall time."""

    manual = False

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        stop.wait(max(0.0, seconds))


class ManualClock:
    """Stands still until it is advanced. Starts at wall time, so that token expiry means something to clients."""

    manual = True

    def __init__(self, start: float | None = None) -> None:
        self._now = time.time() if start is None else start
        self._changed = threading.Condition()
        self._sleeping = 0

    @property
    def sleeping(self) -> int:
        """How many callers wait for the clock to be advanced."""
        with self._changed:
            return self._sleeping

    def now(self) -> float:
        with self._changed:
            return self._now

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("a clock does not run backwards")
        with self._changed:
            self._now += seconds
            self._changed.notify_all()

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        with self._changed:
            until = self._now + seconds
            self._sleeping += 1
            while self._now < until and not stop.is_set():
                self._changed.wait(0.1)  # stop has no way to wake this condition
            self._sleeping -= 1
