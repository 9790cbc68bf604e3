# SPDX-License-Identifier: GPL-3.0-or-later
"""Trying a read again: a few times, with full jitter, and not after a deadline. Writes are not repeated."""

from __future__ import annotations

import logging
import random
import time
import typing as t
from dataclasses import dataclass

from ..errors import HostnicError, RateLimited

log = logging.getLogger("hostnic.cloud")

_T = t.TypeVar("_T")


@dataclass(frozen=True)
class Patience:
    """`retries` after the first try, none of them sent later than `deadline` seconds after it began, or `turn` seconds,
    which a call may wait for its turn, where that is longer.

    Pauses are uniform between 0 and min(`cap`, `base` * 2**n) seconds ("full jitter"), so that nodes that failed
    together do not come back together.
    """

    retries: int = 3
    deadline: float = 20.0
    base: float = 0.5
    cap: float = 5.0
    clock: t.Callable[[], float] = time.monotonic
    sleep: t.Callable[[float], object] = time.sleep
    rng: t.Callable[[], float] = random.random  # 0 <= x < 1
    turn: t.Callable[[], float] = lambda: 0.0

    @property
    def within(self) -> float:
        """Seconds for what is sent once."""
        return max(self.deadline, self.turn())

    def read(self, what: str, call: t.Callable[[float], _T]) -> _T:
        """`call(left)`, repeated while it raises something transient; then the last error. `what` is for the log.

        `left`: seconds within which what it sends has to be on its way, so that a wait for its turn counts as well.
        """
        until = self.clock() + self.within
        for attempt in range(self.retries + 1):
            try:
                return call(until - self.clock())
            except HostnicError as error:
                pause = self.rng() * min(self.cap, self.base * 2.0 ** min(attempt, 30))
                if _hopeless(error) or attempt == self.retries or self.clock() + pause >= until:
                    raise
                log.info("%s: %s; trying again in %.1f s", what, error.message, pause)
                self.sleep(pause)
        raise HostnicError(f"{what} was never tried: retries is {self.retries}")


def _hopeless(error: HostnicError) -> bool:
    """Every call during a rate limit's penalty prolongs it, and whoever says when to come again means not before."""
    return not error.transient or isinstance(error, RateLimited) or "retry_in" in error.details
