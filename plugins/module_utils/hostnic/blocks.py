# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cloud has refused and is not asked for again for a while, with the reason for whoever waits."""

from __future__ import annotations

import logging
import typing as t

from .errors import HostnicError, QuotaExceeded
from .ports import Clock
from .sizing import EVERY_VXNET
from .troubles import EVERYWHERE

log = logging.getLogger("hostnic.blocks")

BLOCK: t.Final = 600.0  # s that a full vxnet or an exhausted quota is left alone
BLOCK_DAY: t.Final = 3600.0  # s for what comes back with the next day
HOPELESS: t.Final = 4  # attaches that fail in a row, of whatever NICs
LIMIT_LONGEST: t.Final = 86400.0  # s for which the limit of an instance is believed at most


class _Block(t.NamedTuple):
    until: float
    error: HostnicError


class Blocks:
    """Read from any thread; written by the reconciler's."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._blocked: t.Mapping[str, _Block] = {}
        self._usual_limit = limit
        self._limit = _Block(float("-inf"), HostnicError("")), limit
        self._limit_pause = BLOCK
        self._failures = 0  # attaches in a row

    def block(self, vxnet_id: str, error: HostnicError) -> None:
        """No new NICs there (or in `EVERY_VXNET`) for a while."""
        seconds = BLOCK_DAY if error.details.get("scope") == "day" else BLOCK
        log.warning("no new NICs in %s for %d s: %s", vxnet_id, seconds, error.message)
        self._blocked = {**self._standing(), vxnet_id: _Block(self._clock() + seconds, error)}

    def attach_failed(self) -> None:
        self._failures += 1

    def attach_worked(self) -> None:
        self._failures = 0

    def given_up(self, error: HostnicError) -> None:
        """A NIC that could not be attached is to go; where none can, more of them would only go the same way."""
        if self._failures >= HOPELESS:
            self.block(EVERY_VXNET, error)

    def lower_limit(self, limit: int, error: QuotaExceeded) -> None:
        """The instance takes no more NICs than these; found again and again, it is believed for longer and longer."""
        standing, same = self._limit[0].until > self._clock(), limit == self._limit[1]
        if standing and same:  # another NIC of the same batch has met it
            return
        self._limit_pause = min(2 * self._limit_pause, LIMIT_LONGEST) if same else BLOCK
        log.warning("%d NICs are all that this instance takes: %s", limit, error.message)
        self._limit = _Block(self._clock() + self._limit_pause, error), limit

    @property
    def limit(self) -> int:
        """NICs that the cloud attaches to this instance, the primary included."""
        block, limit = self._limit
        return limit if block.until > self._clock() else self._usual_limit

    def blocked(self) -> frozenset[str]:
        return frozenset(self._standing())

    def limit_error(self) -> t.Optional[HostnicError]:
        """How the cloud has said that this instance takes no more NICs."""
        block, __ = self._limit
        return block.error if block.until > self._clock() else None

    def troubles(self) -> dict[str, HostnicError]:
        """For `Pool.report`."""
        found = {EVERYWHERE if key == EVERY_VXNET else key: block.error for key, block in self._standing().items()}
        limit_error = self.limit_error()
        if limit_error:
            found.setdefault(EVERYWHERE, limit_error)
        return found

    def ends_in(self) -> t.Optional[float]:
        """Seconds until the first of them is over."""
        now = self._clock()
        ends = [block.until - now for block in (*self._standing().values(), self._limit[0]) if block.until > now]
        return min(ends) if ends else None

    def explain(self) -> list[dict[str, t.Any]]:
        """JSON-ready; `for` in seconds."""
        now = self._clock()
        return [
            {"vxnet": vxnet_id, "for": round(block.until - now), "why": block.error.message}
            for vxnet_id, block in self._standing().items()
        ]

    def _standing(self) -> dict[str, _Block]:
        now = self._clock()
        return {vxnet_id: block for vxnet_id, block in self._blocked.items() if block.until > now}
