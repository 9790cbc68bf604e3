# SPDX-License-Identifier: GPL-3.0-or-later
"""The product's own pool under a stream of pods that were thought up, in time that costs nothing."""

from __future__ import annotations

import random
import typing as t
from dataclasses import dataclass, field

from ..config import Settings
from ..engine import Engine
from ..errors import HostnicError
from ..model import LeaseKey, Nic
from ..pool import Place
from ..ports import Cloud, Guard, Links
from ..reconcile import COALESCE
from ..states import State
from ..store.memory import MemoryStore
from .flow import Flow
from .world import INSTANCE, World

ADD_PATIENCE: t.Final = 88.0  # s that a pod waits for a NIC: the plugin's limit less its margin
WARM_UP: t.Final = 60.0  # s before the first pod: the pool is filled by then
SAMPLES: t.Final = 120
_RUNNING: t.Final = (State.IN_USE, State.RESERVED)


@dataclass(frozen=True)
class Step:
    """From `since` on pods come at `rate` a second; `burst` of them come at that very moment."""

    since: float
    rate: float
    burst: int = 0


@dataclass(frozen=True)
class Scenario:
    """Times are seconds. Pods come at random moments and live for random times with these means."""

    profile: tuple[Step, ...]
    duration: float
    lifetime: float
    job_time: float = 3.5
    call_time: float = 0.1
    seed: int = 1

    def pods(self) -> list[tuple[float, float]]:
        """When each comes, and how long it lives."""
        dice = random.Random(self.seed)
        found: list[float] = []
        ends = [step.since for step in self.profile[1:]] + [self.duration]
        for step, end in zip(self.profile, ends):
            found += [step.since] * step.burst
            moment = step.since
            while step.rate:
                moment += dice.expovariate(step.rate)
                if moment >= end:
                    break
                found.append(moment)
        return [(moment, dice.expovariate(1 / self.lifetime)) for moment in sorted(found) if moment < self.duration]


class Sample(t.NamedTuple):
    moment: float
    warm: int  # the target
    running: int
    ready: int
    nics: int
    cap: int


@dataclass
class Result:
    """`waits` of the pods that were served; `refused`: how many were not, for their patience was over."""

    pods: int = 0
    waits: list[float] = field(default_factory=list)
    refused: int = 0
    samples: list[Sample] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)  # moments, from the first pod on


class Run:
    """`Run(settings, scenario).result()`, once."""

    def __init__(self, settings: Settings, scenario: Scenario) -> None:
        self._scenario = scenario
        self._flow = Flow()
        self._world = World(self._flow, settings.api_rate, scenario.job_time, scenario.call_time)
        dice = random.Random(scenario.seed).random
        # of the ports, what a pool without gateways and CNI never asks for is left out
        cloud, links, guard = t.cast(Cloud, self._world), t.cast(Links, self._world), t.cast(Guard, self._world)
        self._engine = Engine(
            settings, INSTANCE, "simulated", cloud, links, guard, MemoryStore(), self._flow.clock, dice
        )
        self._quarantine_min = settings.quarantine_min
        self._queue: list[tuple[Place, LeaseKey, float, float]] = []  # who waits: since when, how long it will live
        self._result = Result()
        self._world.on_link = self._link_changed
        self._flow.settled = self._serve

    def result(self) -> Result:
        flow, scenario = self._flow, self._scenario
        start = flow.clock() + WARM_UP
        pods = scenario.pods()
        for number, (moment, lives) in enumerate(pods):
            key = LeaseKey("simulated", f"pod{number}", "eth0")
            flow.at(start + moment, lambda key=key, lives=lives: self._arrive(key, lives))  # type: ignore[misc]
        for number in range(SAMPLES):
            flow.at(start + (number + 0.5) * scenario.duration / SAMPLES, lambda: self._sample(start))
        end = start + scenario.duration
        while flow.clock() < end:
            self._engine.wake.clear()
            pause = self._engine.reconciler.step()
            flow.sleep(min(pause, end - flow.clock()), self._engine.wake.is_set)
            if self._engine.wake.is_set():
                flow.sleep(min(COALESCE, end - flow.clock()))
        self._result.pods = len(pods)
        self._result.calls = [moment - start for moment in self._world.calls if moment >= start]
        return self._result

    def _arrive(self, key: LeaseKey, lives: float) -> None:
        now = self._flow.clock()
        self._queue.append((self._engine.pool.enter(), key, now, lives))
        self._flow.at(now + ADD_PATIENCE, lambda: None)

    def _serve(self) -> None:
        """What the agent does whenever something has changed."""
        self._engine.survey.clean()
        now = self._flow.clock()
        for waiting in list(self._queue):
            place, key, since, lives = waiting
            nic = self._engine.pool.take(place, key)
            if nic is None and now - since < ADD_PATIENCE:
                continue
            self._queue.remove(waiting)
            self._engine.pool.leave(place)
            if nic is None:
                self._result.refused += 1
                continue
            self._world.to_pod(nic.nic_id)
            self._engine.pool.commit(key, 1, 3)
            self._result.waits.append(now - since)
            self._flow.at(now + lives, lambda key=key, nic=nic: self._leave(key, nic))  # type: ignore[misc]

    def _leave(self, key: LeaseKey, nic: Nic) -> None:
        self._world.park(nic.nic_id)
        self._engine.pool.release(key, returned=True)
        self._flow.at(self._flow.clock() + self._quarantine_min, lambda: None)  # another pod may have it then

    def _link_changed(self) -> None:
        self._engine.survey.run()
        self._engine.wake.set()

    def _sample(self, start: float) -> None:
        told = self._engine.reconciler.explain()
        nics = self._engine.table.nics()
        states = [nic.state for nic in nics]
        running = sum(states.count(state) for state in _RUNNING)
        moment = self._flow.clock() - start
        ready = states.count(State.READY)
        self._result.samples.append(Sample(moment, told["warm"], running, ready, len(nics), told["cap"]))


def simulate(settings: Settings, scenario: Scenario) -> Result:
    """The same for the same arguments. Raises `HostnicError` where the pool itself fails."""
    try:
        return Run(settings, scenario).result()
    except HostnicError as error:
        raise HostnicError(f"the simulated pool failed: {error.message}", remedy="report this") from error
