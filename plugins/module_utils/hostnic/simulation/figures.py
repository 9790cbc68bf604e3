# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of the simulation comes to, and which settings would do better: tried, not guessed."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ..config import Settings
from ..demand import percentile
from .run import Result, Scenario, simulate

TRIALS: t.Final = 4
FULL: t.Final = 0.95  # of the places taken: then pods wait for each other, not for the cloud


@dataclass(frozen=True)
class Figures:
    """Times in seconds; `idle` is the mean number of NICs that no pod uses."""

    pods: int
    refused: int
    at_once: float  # share of the pods
    median: float
    p95: float
    p99: float
    longest: float
    peak: int
    cap: int
    idle: float
    calls_a_minute: float
    most_calls: int  # in one minute


def figures(result: Result, scenario: Scenario) -> Figures:
    """Who was refused has waited for ever: it counts as the longest wait there is."""
    waits = [*result.waits, *[float("inf")] * result.refused]
    minutes = [0] * (int(scenario.duration // 60) + 1)
    for moment in result.calls:
        minutes[min(int(moment // 60), len(minutes) - 1)] += 1
    samples = result.samples
    return Figures(
        pods=result.pods,
        refused=result.refused,
        at_once=len([wait for wait in waits if not wait]) / len(waits) if waits else 1.0,
        median=percentile(waits, 0.5),
        p95=percentile(waits, 0.95),
        p99=percentile(waits, 0.99),
        longest=max(result.waits, default=0.0),
        peak=max(sample.nics for sample in samples),
        cap=max(sample.cap for sample in samples),
        idle=sum(sample.nics - sample.running for sample in samples) / len(samples),
        calls_a_minute=len(result.calls) / scenario.duration * 60,
        most_calls=max(minutes),
    )


class Advice(t.NamedTuple):
    """`settings`: what to set, by key; empty where nothing is to be changed."""

    sentence: str
    settings: t.Mapping[str, int]


def advise(settings: Settings, scenario: Scenario, result: Result, found: Figures, target: float) -> Advice:
    """`target`: how long 99 of 100 pods may wait at most."""
    if found.p99 <= target:
        return Advice(f"These settings do: 99 of 100 pods wait {found.p99:.1f} s or less.", {})
    crowded = [sample for sample in result.samples if sample.running >= FULL * sample.cap]
    if crowded:
        return Advice(
            f"This node is full ({found.cap} NICs) for {len(crowded) / len(result.samples):.0%} of the time, and pods "
            "wait for others to end: run fewer of them here, or raise max-nics.",
            {},
        )
    low = max(1, settings.pool_low)
    for __ in range(TRIALS):
        low = min(low * 2, settings.max_nics)
        tried = replace(settings, pool_low=low, pool_high=max(low, settings.pool_high))
        p99 = figures(simulate(tried, scenario), scenario).p99
        if p99 <= target:
            wanted = {"pool-low": low, **({"pool-high": low} if low > settings.pool_high else {})}
            said = " and ".join(f"{key} to {value}" for key, value in wanted.items())
            return Advice(f"Set {said}: then 99 of 100 pods wait {p99:.1f} s or less.", wanted)
        if low == settings.max_nics:
            break
    return Advice(
        f"Up to pool-low {low} more warm NICs do not bring that below {target:g} s: look at api-rate and at how long "
        "the cloud takes.",
        {},
    )
