# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast this process may call: a token bucket that all its threads share, and below it one for each action.

An action's own rate is halved when the API says "too frequently", and grows back in steps while it succeeds (AIMD); the
shared bucket keeps the rate that was set. Where that is scarce, a share of what many nodes have together, it is the
shared one that is halved, and whoever was refused comes back at a random moment of the longer time between two calls:
all of them were refused within the same seconds. The API prolongs the penalty with every further call, of whatever
action, so after such an answer nothing is sent at all for a while.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import typing as t
from dataclasses import dataclass

from ..configuration.settings import SCARCE
from ..errors import RateLimited

log = logging.getLogger("hostnic.cloud")

# Calls a second below which no action's rate falls: longer apart than the penalties known, and still a sign within a
# minute that the API is lenient again. A success there brings it back to a call in seconds.
FLOOR: t.Final = 1 / 60
# Share of the full rate that a success gives back, and the seconds until another may: a budget far below the rate that
# was set is then exceeded once in minutes, not after every other call.
STEP: t.Final = 1 / 20
STEP_PAUSE: t.Final = 60.0
# Seconds of silence after the first "too frequently"; doubled by each that follows, up to the longest.
FIRST_PAUSE: t.Final = 5.0
LONGEST_PAUSE: t.Final = 120.0

# Tokens that rounding may lose, so that nobody sleeps for a nanosecond; they are owed, not given.
_ROUNDING = 1e-9
_SHORTEST_SLEEP = 0.001


@dataclass
class _Bucket:
    """`tokens` were there at `filled`, in the future while calls pause; `waiting` callers will each take one."""

    ceiling: float
    brim: float
    filled: float
    rate: float = 0.0
    burst: float = 0.0
    tokens: float = 0.0
    waiting: int = 0
    calls: int = 0
    refused: int = 0
    waited: float = 0.0
    stepped: float = float("-inf")  # when the rate last grew

    def __post_init__(self) -> None:
        self.set_rate(self.ceiling)
        self.tokens = self.burst

    def set_rate(self, rate: float) -> None:
        """Within floor and ceiling. The burst shrinks with it: a slow action must not save up for a fast one."""
        self.rate = min(self.ceiling, max(rate, min(FLOOR, self.ceiling)))
        self.burst = max(1.0, self.brim * self.rate / self.ceiling)
        self.tokens = min(self.tokens, self.burst)

    def resize(self, rate: float, burst: float, now: float) -> None:
        """Another rate was set; what the API has taught us about ours stays, as its share."""
        self.fill(now)
        share = self.rate / self.ceiling
        self.ceiling, self.brim = rate, burst
        self.set_rate(rate * share)

    def grow(self, now: float) -> None:
        if now - self.stepped >= STEP_PAUSE and self.rate < self.ceiling:
            self.fill(now)
            self.set_rate(self.rate + self.ceiling * STEP)
            self.stepped = now

    def fill(self, now: float) -> None:
        if now > self.filled:
            self.tokens = min(self.burst, self.tokens + (now - self.filled) * self.rate)
            self.filled = now

    def wait(self, now: float, needed: int) -> float:
        """Seconds until so many tokens have come in: one for each caller in front, and the caller's own."""
        self.fill(now)
        lacking = needed - self.tokens
        return self.filled - now + (lacking / self.rate if lacking > _ROUNDING else 0.0)

    def void(self, until: float) -> None:
        """What was saved up is gone, and nothing comes in before `until`."""
        self.tokens = min(self.tokens, 0.0)
        self.filled = max(self.filled, until)

    def state(self, now: float) -> dict[str, t.Any]:
        self.fill(now)
        counts = {"calls": self.calls, "refused": self.refused, "waited": round(self.waited, 3)}
        return {"rate": round(self.rate, 4), "tokens": round(max(0.0, self.tokens), 3), **counts}


class RateLimiter:
    """`rate` calls a second in the long run, `burst` at once: never more than rate * s + burst in any s seconds.

    Whoever has less than a call a second shares its account with many, who may all begin at this moment: the first call
    then comes at a random one of the time between two. Nobody waits longer than `longest` seconds, or twice the time
    between two calls where that is more. Raises ValueError where it could never call.
    """

    def __init__(
        self,
        rate: float,
        burst: int,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], object] = time.sleep,
        *,
        rng: t.Callable[[], float] = random.random,
        longest: float = 10.0,
    ) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("a rate is more than 0, a burst 1 or more")
        self.clock: t.Final = clock
        self._sleep = sleep
        self._rng = rng
        self._patience = longest
        self._lock = threading.Lock()
        self._all = _Bucket(rate, float(burst), clock())
        if self._scarce:
            self._all.tokens = min(self._all.burst, rng())
        self._actions: dict[str, _Bucket] = {}
        self._resume = clock()  # nothing is sent before
        self._pause = 0.0
        self._refusals = 0  # in a row
        self._held_back = 0

    @property
    def longest(self) -> float:
        """Seconds that a call may wait for its turn.

        A pace that was set or learned is waited for, however slow: refusing would end every round of calls before its
        second call.
        """
        return max(self._patience, 2 / self._all.rate)

    def acquire(self, action: str = "", within: t.Optional[float] = None) -> float:
        """Wait for this caller's turn; returns the seconds waited. Turns are given in the order of asking.

        Raises `RateLimited`, at once and with nothing sent, where the wait would be longer than allowed or would not
        end `within` so many seconds; `retry_in` in its details says in how many seconds calls go on.
        """
        longest = self.longest if within is None else min(self.longest, max(0.0, within))
        with self._lock:
            buckets = self._buckets(action)
            now = self.clock()
            wait = max(bucket.wait(now, bucket.waiting + 1) for bucket in buckets)
            if not wait:
                return self._take(buckets, 0.0)
            self._check(action, wait, 0.0, longest)
            for bucket in buckets:
                bucket.waiting += 1
        try:
            return self._stand_in_line(action, buckets, wait, longest)
        finally:
            with self._lock:
                for bucket in buckets:
                    bucket.waiting -= 1

    def set_rate(self, rate: float, burst: int) -> None:
        """As if it had been made with these; who waits already leaves by the new pace."""
        with self._lock:
            for bucket in (self._all, *self._actions.values()):
                bucket.resize(rate, float(burst), self.clock())

    def refused(self, action: str = "") -> float:
        """The API said "too frequently" to this action. Returns the seconds for which nothing is sent now."""
        with self._lock:
            now = self.clock()
            buckets = self._buckets(action)
            # A call that was under way when the pause began is part of the same offence.
            if now >= self._resume:
                self._refusals += 1
                for bucket in self._slowed(buckets):
                    bucket.set_rate(bucket.rate / 2)
                full = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._refusals - 1, 30))
                if self._scarce:
                    full = min(LONGEST_PAUSE, max(full, 1 / self._all.rate))
                # Not down to nothing, as full jitter would: an early call prolongs the penalty of everyone.
                self._pause = full * (0.5 + 0.5 * self._rng())
            self._resume = now + self._pause
            for bucket in buckets:
                bucket.refused += 1
                bucket.void(self._resume)
            if self._scarce:  # all have been refused at about this moment: they must not come back at another
                self._all.tokens = self._rng()
            return self._pause

    def succeeded(self, action: str = "") -> None:
        """The API carried this action out, or found nothing to carry it out on."""
        with self._lock:
            now = self.clock()
            if now < self._resume:
                return  # it was let in before the penalty began
            self._refusals = 0
            for bucket in self._slowed(self._buckets(action)):
                bucket.grow(now)

    def state(self) -> dict[str, t.Any]:
        """JSON-ready. Rates are calls a second, times seconds; counts and `waited` grow as long as the process lives.

        `pause`: for how long nothing is sent now; `held_back`: calls that would have had to wait too long.
        """
        with self._lock:
            now = self.clock()
            return {
                **self._all.state(now),
                "burst": self._all.burst,
                "pause": round(max(0.0, self._resume - now), 3),
                "held_back": self._held_back,
                "actions": {action: bucket.state(now) for action, bucket in sorted(self._actions.items())},
            }

    # -- inside, under the lock ----------------------------------------------------------------------------------------

    def _buckets(self, action: str) -> list[_Bucket]:
        """The shared one, and the action's where one is named."""
        if not action:
            return [self._all]
        if action not in self._actions:
            self._actions[action] = _Bucket(self._all.ceiling, self._all.brim, self.clock())
        return [self._all, self._actions[action]]

    def _slowed(self, buckets: list[_Bucket]) -> list[_Bucket]:
        """Which of them learn from the API's answers: the action's; the shared one where calls are scarce."""
        return [self._all] if self._scarce else buckets[1:]

    @property
    def _scarce(self) -> bool:
        return self._all.ceiling < SCARCE

    def _take(self, buckets: list[_Bucket], waited: float) -> float:
        """Tokens are taken when a call leaves, not when it gets in line: late sleepers never add up to a burst."""
        for bucket in buckets:
            bucket.tokens -= 1.0
            bucket.calls += 1
            bucket.waited += waited
        return waited

    def _check(self, action: str, wait: float, waited: float, longest: float) -> None:
        if waited + wait <= longest:
            return
        self._held_back += 1
        pause = self._resume - self.clock()
        why = "QingCloud said that the account calls too often" if pause > 0 else "it is called as often as it may be"
        what = f"{action or 'a call'} was not sent: {why}; calls go on in {wait:.1f} s"
        remedy = (
            "lower api-rate, or raise the account's limit" if pause > 0 else "raise api-rate if the account allows it"
        )
        raise RateLimited(what, remedy=remedy, action=action, retry_in=round(wait, 3))

    # -- inside, without it --------------------------------------------------------------------------------------------

    def _stand_in_line(self, action: str, buckets: list[_Bucket], wait: float, longest: float) -> float:
        started, slept = self.clock(), 0.0
        if wait > 1:
            log.info("%s waits %.1f s for its turn", action or "a call", wait)
        while True:
            self._sleep(max(wait, _SHORTEST_SLEEP))
            slept += max(wait, _SHORTEST_SLEEP)
            with self._lock:
                now = self.clock()
                waited = max(slept, now - started)
                # Others may have been late and left just now, or a pause may have begun.
                wait = max(bucket.wait(now, 1) for bucket in buckets)
                if not wait:
                    return self._take(buckets, waited)
                self._check(action, wait, waited, longest)
