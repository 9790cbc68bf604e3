# SPDX-License-Identifier: GPL-3.0-or-later
"""What one seed stands for: a few runs that hypothesis generates, the first that fails as short as can be."""

from __future__ import annotations

import dataclasses
import logging
import sys
import typing as t

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.reporting import with_reporter
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Model, Tally
from tests.model.operations import Do
from tests.model.shorten import repeat, shortened
from tests.model.violation import Violation
from tests.model.world import Setup, World

RUNS: t.Final = 8
STEPS: t.Final = 80  # operations of a run
SHORTENING: t.Final = 60.0  # s for finding a shorter run that fails

_SETTINGS: t.Final = settings(
    max_examples=RUNS,
    stateful_step_count=STEPS,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """A violation, and the operations that lead to it."""

    invariant: str
    text: str
    steps: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Outcome:
    seed: int
    operations: int
    faults: int
    finding: t.Optional[Finding] = None


def run(number: int, shorten: bool, trace: bool = False) -> Outcome:
    """Every time the same, in a process that has called `ids.make_repeatable` and has a fixed PYTHONHASHSEED.

    `trace`: the agent's log of the shortest run goes to standard error.
    """
    Tally.clear()
    try:
        with with_reporter(lambda text: None):
            run_state_machine_as_test(seed(number)(type("Model", (Model,), {})), settings=_SETTINGS)
    except Violation:
        pass  # it is in the tally
    operations, faults = Tally.operations, Tally.faults
    if not Tally.failed:
        return Outcome(number, operations, faults)
    setup, steps, violation = Tally.failed[0]
    if shorten:
        setup, steps, violation = shortened(setup, steps, violation, SHORTENING)
    if trace:
        _trace(setup, steps)
    shown = (repr(setup), *map(repr, steps))
    return Outcome(number, operations, faults, Finding(violation.invariant, violation.text, shown))


def _trace(setup: Setup, steps: t.Sequence[Do]) -> None:
    now: list[World] = []

    class Timed(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return f"{now[-1].clock.now():.1f}     {record.name}: {record.getMessage()}" if now else ""

    def tell(world: World, step: Do) -> None:
        now.append(world)
        print(f"{world.clock.now():.1f} {step}", file=sys.stderr)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Timed())
    log = logging.getLogger("hostnic")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    repeat(setup, steps, tell)
    log.setLevel(logging.CRITICAL)
