# SPDX-License-Identifier: GPL-3.0-or-later
"""What the core tells of its own work: how long the phases of a call took, and what it came upon.

Nobody has to listen: then a phase costs one look into a context variable, and the rest is not worked out at all.
"""

from __future__ import annotations

import contextlib
import contextvars
import typing as t

# What is found where it should not be, or not found where it should be.
LOST_LEASE: t.Final = "lease"  # the pod ended, or its ADD was interrupted, and no DEL came
LOST_LINK: t.Final = "link"  # a NIC that no pod has lost its link
LOST_NIC: t.Final = "nic"  # the cloud shows a NIC under our name that the journal does not know
LEAKS: t.Final = (LOST_LEASE, LOST_LINK, LOST_NIC)

# The phases of calls, in their order. What an ADD that fails undoes counts as `undo`.
QUEUE: t.Final = "queue"
RESERVE: t.Final = "reserve"
GATEWAY: t.Final = "gateway"
TURN: t.Final = "turn"
MOVE: t.Final = "move"
CONFIGURE: t.Final = "configure"
FETCH: t.Final = "fetch"
COMMIT: t.Final = "commit"
UNDO: t.Final = "undo"
PHASES: t.Final[t.Mapping[str, tuple[str, ...]]] = {
    "ADD": (QUEUE, RESERVE, GATEWAY, TURN, MOVE, CONFIGURE, COMMIT, UNDO),
    "DEL": (QUEUE, FETCH, COMMIT),
}

Clock = t.Callable[[], float]


class Telemetry(t.Protocol):
    """Called by any thread in the middle of its work: returns at once and never raises."""

    wants_calls: bool  # else phases are not timed, and `called` is not called

    def called(self, verb: str, outcome: str, seconds: float, phases: t.Mapping[str, float]) -> None:
        """A CNI call is over: "ok", or the kind of its error. `phases`: the seconds that each took."""

    def leaked(self, kind: str) -> None:
        """One of `LEAKS` was found, and is being mended."""


class Silence:
    """Nobody listens."""

    wants_calls = False

    def called(self, verb: str, outcome: str, seconds: float, phases: t.Mapping[str, float]) -> None:
        """Nothing."""

    def leaked(self, kind: str) -> None:
        """Nothing."""


SILENCE: t.Final = Silence()


class Stopwatch:
    """The phases of one call, one after the other; the first one began at `since`. For one thread."""

    def __init__(self, clock: Clock, since: float, first: str) -> None:
        self._clock = clock
        self._since = since
        self._phase = first
        self.seconds: dict[str, float] = {}

    def enter(self, phase: str) -> None:
        """The phase before it is over. Ones that are entered again add up."""
        now = self._clock()
        self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now

    def so_far(self) -> dict[str, float]:
        """The seconds of each phase, the present one's until now."""
        last = self.seconds.get(self._phase, 0.0) + self._clock() - self._since
        return {**self.seconds, self._phase: last}


_watch: contextvars.ContextVar[t.Optional[Stopwatch]] = contextvars.ContextVar("stopwatch", default=None)


def phase(name: str) -> None:
    """The call that this thread carries out begins its next phase. Nothing where it is not timed."""
    watch = _watch.get()
    if watch is not None:
        watch.enter(name)


def so_far() -> dict[str, float]:
    """The phases of the call that this thread carries out. Empty where it is not timed."""
    watch = _watch.get()
    return watch.so_far() if watch is not None else {}


@contextlib.contextmanager
def timed(clock: Clock, since: float, first: str = QUEUE) -> t.Iterator[t.Mapping[str, float]]:
    """What this thread does in it is timed; the phases are complete at its end."""
    watch = Stopwatch(clock, since, first)
    token = _watch.set(watch)
    try:
        yield watch.seconds
    finally:
        watch.enter("")
        _watch.reset(token)
