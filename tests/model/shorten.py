# SPDX-License-Identifier: GPL-3.0-or-later
"""Fewer operations that break the same invariant: parts are left out, from large to small, as long as it breaks.

Hypothesis could do this, but an attempt takes a second where the end of a run fails, and it makes thousands.
"""

from __future__ import annotations

import time
import typing as t

from tests.model.operations import Do, Doings
from tests.model.settings import AGENT, CLOUD, SIMPLEST, Choices, with_simplest
from tests.model.violation import Violation
from tests.model.world import Setup, World

_T = t.TypeVar("_T")


def repeat(
    setup: Setup, steps: t.Sequence[Do], tell: t.Callable[[World, Do], None] = lambda world, step: None
) -> t.Optional[Violation]:
    """One run, of just these steps, and what it ends with; `tell` hears of each step before it is done."""
    world = World(setup)
    doings = Doings(world)
    try:
        for step in steps:
            tell(world, step)
            doings.do(step)
        world.settle()
        world.check()
    except Violation as violation:
        return violation
    finally:
        world.close()
    return None


def shortened(
    setup: Setup, steps: t.Sequence[Do], violation: Violation, seconds: float
) -> tuple[Setup, list[Do], Violation]:
    """As short as it gets within so many seconds; a run that does not fail again is given back as it is."""
    until = time.monotonic() + seconds
    last = violation

    def breaks(setup: Setup, steps: t.Sequence[Do]) -> bool:
        nonlocal last
        found = repeat(setup, steps) if time.monotonic() < until else None
        if found is None or found.invariant != violation.invariant:
            return False
        last = found
        return True

    kept = _fewest(list(steps), lambda some: breaks(setup, some))
    for part, choices in (("cloud", CLOUD), ("agent", AGENT)):
        setup = _simpler(setup, part, choices, lambda simpler: breaks(simpler, kept))
    return setup, _fewest(kept, lambda some: breaks(setup, some)), last


def _simpler(setup: Setup, part: str, choices: Choices, breaks: t.Callable[[Setup], bool]) -> Setup:
    def of(some: t.Iterable[tuple[str, t.Any]]) -> Setup:
        return setup.changed(**{part: with_simplest(choices, dict(some))})

    chosen = [item for item in vars(setup)[part].items() if item[1] != SIMPLEST[item[0]]]
    return of(_fewest(chosen, lambda some: breaks(of(some))))


def _fewest(items: list[_T], breaks: t.Callable[[list[_T]], bool]) -> list[_T]:
    size = len(items)
    while size:
        start = 0
        while start < len(items):
            fewer = items[:start] + items[start + size :]
            if breaks(fewer):
                items = fewer
            else:
                start += size
        size = size // 2
    return items
