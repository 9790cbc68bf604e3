# SPDX-License-Identifier: GPL-3.0-or-later
"""Hours in seconds: time that passes only while everybody sleeps, for a thousand agents' own threads.

One thread runs at a time, until it sleeps or waits by this clock; then the next event's moment is now. What a thread
works for takes no time by it.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import typing as t

from tests.emulator import ManualClock
from tests.model.fibers import Fiber, Killed

START: t.Final = 1_000_000.0
SHORTEST: t.Final = 0.0001  # s that a sleep takes, so that rounding does not make it none at all


class _Hands(ManualClock):
    def reach(self, moment: float) -> None:
        """Exactly: what is due at a moment must be due when it has come."""
        with self._changed:
            self._now = max(self._now, moment)


class Hours:
    """`now` in seconds. `at`, `wake` and `sleep` may be called from any of its threads."""

    def __init__(self) -> None:
        self.clock = _Hands(START)
        self._events: list[tuple[float, int, t.Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._fibers: list[Fiber] = []

    def now(self) -> float:
        return self.clock.now()

    def at(self, moment: float, happens: t.Callable[[], object]) -> None:
        """What happens must not sleep."""
        heapq.heappush(self._events, (moment, next(self._numbers), happens))

    def begin(self, name: str, work: t.Callable[[], None]) -> Fiber:
        """A thread; it runs from now on."""
        fiber = Fiber(name, work)
        self._fibers.append(fiber)
        self.at(self.now(), fiber.resume)
        return fiber

    def sleep(self, seconds: float) -> None:
        """The calling thread stops for so long."""
        turn = self.turn()
        self.at(self.now() + max(SHORTEST, seconds), turn.take)
        turn.wait()

    def turn(self) -> Turn:
        """Of the calling thread."""
        fiber = Fiber.current()
        assert fiber is not None, "only a thread of these hours may sleep"
        return Turn(fiber)

    def run(self, until: float, done: t.Callable[[], bool] = lambda: False) -> bool:
        """Let time pass until then, or until `done`, which is asked after each event; whether it was."""
        while self._events and self._events[0][0] <= until:
            moment, __, happens = heapq.heappop(self._events)
            self.clock.reach(moment)
            happens()
            if done():
                return True
        self.clock.reach(until)
        return False

    def kill(self, fiber: Fiber) -> None:
        """Nothing of what it would do any more is done."""
        with contextlib.suppress(Killed):
            fiber.resume(error=Killed())
        self._fibers.remove(fiber)

    def close(self) -> None:
        for fiber in list(self._fibers):
            self.kill(fiber)


class Turn:
    """One stop of a thread, ended by whoever takes the turn first."""

    def __init__(self, fiber: Fiber) -> None:
        self._fiber = fiber
        self._over = False

    def wait(self) -> None:
        self._fiber.wait(None)

    def take(self) -> None:
        if not self._over and not self._fiber.finished:
            self._over = True
            self._fiber.resume()


class Flag(threading.Event):
    """An event whose waits take these hours' time."""

    def __init__(self, hours: Hours) -> None:
        super().__init__()
        self._hours = hours
        self._turns: list[Turn] = []

    def set(self) -> None:
        super().set()
        turns, self._turns = self._turns, []
        for turn in turns:
            self._hours.at(self._hours.now(), turn.take)

    def wait(self, timeout: t.Optional[float] = None) -> bool:
        if not self.is_set():
            turn = self._hours.turn()
            self._turns.append(turn)
            if timeout is not None:
                self._hours.at(self._hours.now() + max(SHORTEST, timeout), turn.take)
            turn.wait()
            if turn in self._turns:
                self._turns.remove(turn)
        return self.is_set()
