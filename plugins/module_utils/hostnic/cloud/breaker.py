# SPDX-License-Identifier: GPL-3.0-or-later
"""Not asking an API that is away: after some failures in a row calls fail at once, and one at a time tries again."""

from __future__ import annotations

import contextlib
import enum
import itertools
import logging
import random
import threading
import time
import typing as t
from dataclasses import dataclass

from ..errors import Busy, Timeout, Unreachable
from ..states import IllegalTransition
from . import codes

log = logging.getLogger("hostnic.cloud")

# A read is tried four times: one that fails for good does not condemn the API alone.
THRESHOLD: t.Final = 5
# Seconds, before jitter, from the opening to the first try; doubled by each try that fails.
FIRST_PAUSE: t.Final = 1.0


class State(str, enum.Enum):
    """What becomes of the next call: it is sent, it fails at once, or it fails at once while one before it tries."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


@dataclass(frozen=True)
class Edge:
    """`trigger`: what makes it happen."""

    source: State
    target: State
    trigger: str


__ = State
EDGES: t.Final[tuple[Edge, ...]] = (
    Edge(__.CLOSED, __.OPEN, "as many failures in a row as the threshold"),
    Edge(__.OPEN, __.HALF_OPEN, "the pause is over: the call that comes next tries"),
    Edge(__.OPEN, __.CLOSED, "a call that was sent before got an answer"),
    Edge(__.HALF_OPEN, __.CLOSED, "a call got an answer"),
    Edge(__.HALF_OPEN, __.OPEN, "the call that tries failed: a longer pause"),
    Edge(__.HALF_OPEN, __.OPEN, "the call that tries was never sent: the next one tries"),
)
del __

_ALLOWED: t.Final = frozenset((edge.source, edge.target) for edge in EDGES)


def is_away(error: BaseException) -> bool:
    """Whether this says that the API is not there or not working. Refusals come from an API that works.

    "Not enough resources" is one of these, though `Busy` to an attach: the next call may well be carried out.
    """
    if isinstance(error, Busy):
        return error.details.get("ret_code") != codes.NO_RESOURCES
    return isinstance(error, (Unreachable, Timeout))


class Breaker:
    """Opens after `threshold` failures in a row; tries again after 0 to `longest` seconds. Safe for several threads."""

    def __init__(
        self,
        threshold: int = THRESHOLD,
        longest: float = 30.0,
        *,
        clock: t.Callable[[], float] = time.monotonic,
        rng: t.Callable[[], float] = random.random,
    ) -> None:
        self._threshold = threshold
        self._longest = longest
        self._clock = clock
        self._rng = rng
        self._lock = threading.Lock()
        self._state = State.CLOSED
        self._failures = 0  # in a row
        self._openings = 0  # in a row
        self._since = 0.0  # the first failure of the row
        self._last = ""
        self._remedy = ""
        self._next_try = 0.0
        self._tickets = itertools.count(1)
        self._trying = 0  # the ticket of the call that tries

    @contextlib.contextmanager
    def call(self, action: str) -> t.Iterator[None]:
        """Around one call: what it raises is the outcome.

        While open, raises `Unreachable` instead, not ambiguous; details: `retry_in` and `away_for`, in seconds.
        """
        ticket = self._admit(action)
        try:
            yield
        except BaseException as error:
            self._over(ticket, error)
            raise
        self._over(ticket, None)

    def state(self) -> dict[str, t.Any]:
        """JSON-ready. `failures` in a row since `away_for` seconds, `last` the latest one's sentence.

        `retry_in`: seconds until a call is let through, 0 while one is under way or may be.
        """
        with self._lock:
            now = self._clock()
            return {
                "state": self._state.value,
                "failures": self._failures,
                "away_for": round(now - self._since, 3) if self._failures else 0.0,
                "retry_in": self._retry_in(now),
                "last": self._last,
            }

    # -- inside --------------------------------------------------------------------------------------------------------

    def _admit(self, action: str) -> int:
        """The ticket of a call that tries, 0 for any other. Raises `Unreachable`."""
        with self._lock:
            now = self._clock()
            if self._state is State.CLOSED:
                return 0
            if self._state is State.OPEN and now >= self._next_try:
                self._go(State.HALF_OPEN)
                self._trying = next(self._tickets)
                return self._trying
            wait = self._retry_in(now)
            due = f"the next try is due in {wait:.1f} s" if self._state is State.OPEN else "a try is under way"
            away_for = now - self._since
            message = f"{action} was not sent: QingCloud has been away for {away_for:.0f} s, {due}; last: {self._last}"
            raise Unreachable(message, remedy=self._remedy, action=action, retry_in=wait, away_for=round(away_for, 3))

    def _over(self, ticket: int, error: t.Optional[BaseException]) -> None:
        with self._lock:
            trying = bool(ticket) and ticket == self._trying and self._state is State.HALF_OPEN
            if error is not None and is_away(error):
                self._failed(error, trying)
            elif error is None or _ret_code(error) is not None:
                self._answered()
            elif trying:
                self._go(State.OPEN)  # `_next_try` has passed

    def _failed(self, error: BaseException, trying: bool) -> None:
        now, said = self._clock(), getattr(error, "what", "")
        if not self._failures:
            self._since = now
        self._failures += 1
        self._last, self._remedy = said, getattr(error, "remedy", "")
        if trying or (self._state is State.CLOSED and self._failures >= self._threshold):
            # Full jitter, so that the nodes of a cluster do not all come back at the same moment.
            pause = self._rng() * min(self._longest, FIRST_PAUSE * 2.0 ** min(self._openings, 30))
            self._openings += 1
            self._next_try = now + pause
            self._go(State.OPEN)
            level = logging.INFO if trying else logging.WARNING
            log.log(
                level, "QingCloud has been away for %.0f s (%s); next try in %.1f s", now - self._since, said, pause
            )

    def _answered(self) -> None:
        if self._state is not State.CLOSED:
            self._go(State.CLOSED)
            log.warning("QingCloud answers again, after %.0f s", self._clock() - self._since)
        self._failures = self._openings = 0
        self._last = ""

    def _go(self, target: State) -> None:
        if (self._state, target) not in _ALLOWED:
            raise IllegalTransition(f"a breaker cannot go from {self._state.value} to {target.value}")
        log.debug("breaker: %s to %s", self._state.value, target.value)
        self._state = target

    def _retry_in(self, now: float) -> float:
        return round(max(0.0, self._next_try - now), 3) if self._state is State.OPEN else 0.0


def _ret_code(error: BaseException) -> t.Optional[int]:
    """What the API itself answered; None where it said nothing."""
    details = getattr(error, "details", {})
    return t.cast("t.Optional[int]", details.get("ret_code"))
