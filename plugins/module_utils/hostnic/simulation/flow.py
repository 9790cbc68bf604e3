# SPDX-License-Identifier: GPL-3.0-or-later
"""Time that passes only where somebody sleeps, and what happens meanwhile, at its very moment."""

from __future__ import annotations

import heapq
import itertools
import typing as t

BEGINNING: t.Final = 1000.0  # s: a machine that has been up for a while


class Flow:
    """One thread. `settled` is called after each event, and whenever time is about to pass."""

    def __init__(self) -> None:
        self._now = BEGINNING
        self._events: list[tuple[float, int, t.Callable[[], object]]] = []
        self._numbers = itertools.count()
        self.settled: t.Callable[[], object] = lambda: None

    def clock(self) -> float:
        return self._now

    def at(self, moment: float, happens: t.Callable[[], object]) -> None:
        """What happens must not sleep."""
        heapq.heappush(self._events, (moment, next(self._numbers), happens))

    def sleep(self, seconds: float, woken: t.Callable[[], bool] = lambda: False) -> None:
        """Until then, or until `woken`."""
        until = self._now + max(0.0, seconds)
        self.settled()
        while not woken() and self._events and self._events[0][0] <= until:
            moment, __, happens = heapq.heappop(self._events)
            self._now = max(self._now, moment)
            happens()
            self.settled()
        if not woken():
            self._now = max(self._now, until)
