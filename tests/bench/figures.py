# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark finds: ratios within one run, what each is held to, and the samples on both sides."""

from __future__ import annotations

import math
import random
import statistics
import typing as t
from dataclasses import dataclass, field

from tests.lab.lab import Lab

# Modules with `measure`, in the order in which they run: what needs no lab before there is one, what makes a pool large
# after what needs a small one.
PARTS: t.Final = ("fleet", "reconcile", "cold", "agent", "phases", "datapath", "latency", "burst", "rollout")


class Wanted(t.NamedTuple):
    """`bar`: the ratio may be no larger, or no smaller where it is a `floor`; None where a figure is only told."""

    words: str
    bar: t.Optional[float] = None
    floor: bool = False


WANTED: t.Final[t.Mapping[str, Wanted]] = {
    "process": Wanted("qingcni process over a bare python3 -I -S", 1.10),
    "add-p50": Wanted("ADD p50 over host-device + host-local, paced", 1.00),
    "add-p95": Wanted("ADD p95 over host-device + host-local, paced", 1.00),
    "add-p99": Wanted("ADD p99 over host-device + host-local, paced"),
    "add-ptp": Wanted("ADD p50 over ptp + host-local, paced"),
    "add-macvlan": Wanted("ADD p50 over macvlan + host-local, paced"),
    "add-bridge": Wanted("ADD p50 over bridge + host-local, paced"),
    "add-floor": Wanted("ADD p50 over the floor, a bare interpreter and a kernel move", 1.20),
    "del-p50": Wanted("DEL p50 over host-device + host-local, paced", 1.15),
    "del-floor": Wanted("DEL p50 over the floor, a bare interpreter and a kernel move of a link that is up"),
    "back-to-back": Wanted("ADD + DEL back to back over host-device + host-local, sum of p50", 1.25),
    "add-60": Wanted("ADD p50 with 60 NICs over with 5 NICs", 1.05),
    "burst-last": Wanted("burst of 50 pods, time to the last over host-device + host-local", 1.00),
    "burst-median": Wanted("burst of 50 pods, the median pod over host-device + host-local", 0.70),
    "cold-1": Wanted("NICs a second from empty over one at a time, 1 NIC"),
    "cold-10": Wanted("NICs a second from empty over one at a time, 10 NICs"),
    "cold-60": Wanted("NICs a second from empty over one at a time, 60 NICs", 30.0, floor=True),
    "throughput": Wanted("throughput from pod to pod over from node to node", 0.98, floor=True),
    "latency": Wanted("round trip from pod to pod over from node to node", 1.03),
    "throughput-bridge": Wanted("throughput from pod to pod over that of veth and bridge"),
    "latency-bridge": Wanted("round trip from pod to pod over that of veth and bridge"),
    "throughput-vxlan": Wanted("throughput from pod to pod over that of VXLAN"),
    "latency-vxlan": Wanted("round trip from pod to pod over that of VXLAN"),
    "fleet-warm": Wanted("fleet of 1,000 warm, over the time that the rate limit alone takes", 1.25),
    "fleet-rejected": Wanted("fleet of 1,000 warming, calls rejected after the first minute over all of them", 0.02),
    "fleet-calls": Wanted("fleet of 1,000 warming, calls for each NIC over one at a time"),
    "fleet-steady": Wanted("fleet of 1,000 at rest, calls for each node and minute", 1.0),
    "fleet-restart": Wanted("fleet of 1,000 restarting at once, until all have looked, over the rate limit alone"),
    "reconcile-60": Wanted("one reconcile with 60 NICs over with 1 NIC"),
    "agent-memory": Wanted("memory of an agent with 60 NICs over its bare imports", 1.3),
    "agent-cpu": Wanted("processor time of 1,000 ADDs, agent and qingcni, over as many host-device + host-local"),
    "agent-start": Wanted("start of an agent with 60 NICs in its journal over one with none"),
    "rollout-first": Wanted("first site.yml, seconds for each node, over as many ansible.builtin.ping"),
    "rollout-again": Wanted("repeated site.yml, seconds for each node, over as many ansible.builtin.ping"),
}


@dataclass(frozen=True)
class Spread:
    """Percentiles of samples."""

    p50: float
    p95: float
    p99: float
    unit: str

    @classmethod
    def of(cls, values: t.Sequence[float], unit: str) -> Spread:
        """The nearest rank: each is a sample that was seen. Raises `ValueError` for none."""
        ranked = sorted(values)
        if not ranked:
            raise ValueError("no samples")

        def rank(share: float) -> float:
            return ranked[max(0, math.ceil(share * len(ranked)) - 1)]

        return cls(statistics.median(ranked), rank(0.95), rank(0.99), unit)

    def shown(self) -> dict[str, t.Any]:
        """As in results.json."""
        return {**{name: _short(getattr(self, name)) for name in ("p50", "p95", "p99")}, "unit": self.unit}


@dataclass(frozen=True)
class Figure:
    """`name`: one of `WANTED`. `n`: samples on the side that has fewer."""

    name: str
    ratio: float
    n: int
    ours: Spread
    theirs: Spread

    @property
    def holds(self) -> bool:
        wanted = WANTED[self.name]
        if wanted.bar is None:
            return True
        return self.ratio >= wanted.bar if wanted.floor else self.ratio <= wanted.bar

    def shown(self) -> dict[str, t.Any]:
        """As in results.json."""
        wanted = WANTED[self.name]
        return {
            "figure": wanted.words,
            "ratio": _short(self.ratio),
            "bar": wanted.bar,
            "holds": self.holds,
            "n": self.n,
            "ours": self.ours.shown(),
            "theirs": self.theirs.shown(),
        }


def _short(value: float) -> float:
    """More digits than that are noise."""
    return float(f"{value:.5g}")


def compared(
    name: str, ours: t.Sequence[float], theirs: t.Sequence[float], unit: str, percentile: str = "p50"
) -> Figure:
    """The ratio of that percentile of both."""
    left, right = Spread.of(ours, unit), Spread.of(theirs, unit)
    ratio = getattr(left, percentile) / getattr(right, percentile)
    return Figure(name, ratio, min(len(ours), len(theirs)), left, right)


@dataclass(frozen=True)
class Setting:
    """`tell`: progress, a line at a time. `dice`: for the order of contenders and for pauses.

    `lab`: the one that runs, brought up where there is none. A part leaves it as it was, but for NICs in its pools.
    """

    quick: bool
    tell: t.Callable[[str], object]
    dice: random.Random
    lab: t.Callable[[], Lab] = Lab.load


@dataclass(frozen=True)
class Measured:
    """`raw`: every sample, for JSON. `nics`: that the agents had meanwhile."""

    figures: tuple[Figure, ...]
    raw: t.Mapping[str, t.Any]
    nics: str = ""
    notes: t.Mapping[str, t.Any] = field(default_factory=dict)
