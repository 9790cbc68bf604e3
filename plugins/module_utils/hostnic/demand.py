# SPDX-License-Identifier: GPL-3.0-or-later
"""How many NICs it takes to be ahead of the pods: their rate, the cloud's lead time, and how long a surplus has lasted.

In memory only: after a restart the pool starts from its lower bound and learns again within minutes.
"""

from __future__ import annotations

import math
import typing as t
from collections import Counter, deque

BUCKET: t.Final = 5.0  # s over which arrivals are counted
WINDOW: t.Final = 120  # buckets that are remembered: ten minutes
FIRST: t.Final = 20  # buckets that a young process counts at least, so that its first burst is no trend
LEADS: t.Final = 100  # lead times that are remembered
Taste = tuple[str, ...]  # the vxnets that a pod accepts, none for any
LONGEST_LEAD: t.Final = 300.0  # s; what took longer was an outage, or the machine slept
USUAL_LEAD: t.Final = 5.0  # s from CreateNics to a link, before one was measured: 4 to 5 s by hostnic's own log


class Demand:
    """Not thread-safe: its owner holds a lock. Times are seconds of the pool's clock."""

    def __init__(self, started: float, usual_lead: float = USUAL_LEAD) -> None:
        self._started = started
        self._usual_lead = usual_lead
        self._arrivals: deque[tuple[int, Counter[Taste]]] = deque()  # number of the bucket, what pods accepted
        self._making: dict[str, float] = {}  # NICs of this process ► seconds of their CreateNics
        self._sent: dict[str, float] = {}
        self._leads: deque[float] = deque(maxlen=LEADS)
        self._surplus: t.Optional[tuple[float, int]] = None  # since when, and the least of it since then

    def arrived(self, taste: Taste, now: float) -> None:
        """A pod asked for a NIC."""
        bucket = int(now // BUCKET)
        if not self._arrivals or self._arrivals[-1][0] != bucket:
            self._arrivals.append((bucket, Counter()))
        self._arrivals[-1][1][taste] += 1
        self._forget(bucket)

    def rate(self, now: float) -> float:
        """The 95th percentile of pods a second, over ten minutes."""
        bucket = int(now // BUCKET)
        self._forget(bucket)
        elapsed = min(WINDOW, max(FIRST, bucket - int(self._started // BUCKET) + 1))
        counts = [float(sum(tastes.values())) for __, tastes in self._arrivals]
        return percentile(counts + [0.0] * (elapsed - len(counts)), 0.95) / BUCKET

    def tastes(self, now: float) -> tuple[tuple[Taste, int], ...]:
        """What the pods of the last ten minutes accepted ► how many of them."""
        self._forget(int(now // BUCKET))
        total: Counter[Taste] = Counter()
        for __, tastes in self._arrivals:
            total.update(tastes)
        return tuple(sorted(total.items()))

    def made(self, nic_ids: t.Iterable[str], seconds: float) -> None:
        """CreateNics took so long."""
        self._making.update(dict.fromkeys(nic_ids, seconds))

    def sent(self, nic_ids: t.Iterable[str], now: float) -> None:
        """AttachNics; what a NIC waited in between is not the cloud's time."""
        self._sent.update((nic_id, now) for nic_id in nic_ids if nic_id in self._making)

    def ready(self, nic_id: str, now: float) -> None:
        """Its link is there; counts only for NICs that this process has made."""
        making, sent = self._making.pop(nic_id, None), self._sent.pop(nic_id, None)
        lead = making + now - sent if making is not None and sent is not None else math.inf
        if lead <= LONGEST_LEAD:
            self._leads.append(lead)

    def disturbed(self) -> None:
        """The cloud failed: what is on its way tells nothing about the usual time."""
        self._making.clear()
        self._sent.clear()

    def lead_time(self) -> float:
        """The 95th percentile, in seconds."""
        return percentile(list(self._leads), 0.95) if self._leads else self._usual_lead

    def quiet_surplus(self, surplus: int, period: float, now: float) -> int:
        """How many NICs nobody has needed throughout `period`; each answer above 0 begins a new period."""
        if surplus <= 0:
            self._surplus = None
            return 0
        since, least = self._surplus or (now, surplus)
        self._surplus = (since, min(least, surplus))
        if now - since < period:
            return 0
        self._surplus = (now, surplus)
        return min(least, surplus)

    def surplus_ends(self, period: float) -> t.Optional[float]:
        """When the present period is over."""
        return self._surplus[0] + period if self._surplus else None

    def _forget(self, bucket: int) -> None:
        while self._arrivals and self._arrivals[0][0] <= bucket - WINDOW:
            self._arrivals.popleft()


def percentile(values: t.Sequence[float], share: float) -> float:
    """The smallest value that so great a share does not exceed; 0.0 of nothing."""
    return sorted(values)[math.ceil(share * len(values) - 1e-9) - 1] if values else 0.0
