# SPDX-License-Identifier: GPL-3.0-or-later
"""The state machine that hypothesis runs: draws what the cloud is like, then operation after operation."""

from __future__ import annotations

import typing as t
from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.model.operations import GROUPS, Do, Doings, choice, possible
from tests.model.settings import AGENT, CLOUD, Choices, Drawn
from tests.model.violation import Violation
from tests.model.world import Setup, World


def drawn(choices: Choices) -> st.SearchStrategy[Drawn]:
    return st.fixed_dictionaries({name: choice(*values) for name, values in choices.items()}).map(Drawn)


setups: t.Final = st.builds(Setup, cloud=drawn(CLOUD), agent=drawn(AGENT), seed=st.integers(0, 99))


class Tally:
    """Over all runs of this process since `clear`."""

    operations = 0
    faults = 0
    by_name: t.ClassVar[Counter[str]] = Counter()
    failed: t.ClassVar[list[tuple[Setup, list[Do], Violation]]] = []

    @classmethod
    def clear(cls) -> None:
        cls.operations = cls.faults = 0
        cls.by_name.clear()
        cls.failed.clear()


class Model(RuleBasedStateMachine):
    """At the end of each run the pool has to settle."""

    doings: t.Optional[Doings] = None

    @initialize(setup=setups, without=st.frozensets(choice(*GROUPS)))
    def begin(self, setup: Setup, without: frozenset[str]) -> None:
        """`without`: groups of operations that this run does without."""
        self.setup, self.without = setup, without
        self.done: list[Do] = []
        self.failed = False
        self.doings = Doings(World(setup))

    @property
    def possible(self) -> st.SearchStrategy[Do]:
        assert self.doings
        return possible(self.doings.world.is_up, self.without)

    @rule(do=st.runner().flatmap(lambda self: self.possible))
    def step(self, do: Do) -> None:
        assert self.doings
        self.done.append(do)
        Tally.operations += 1
        Tally.by_name[do.name] += 1
        try:
            Tally.faults += self.doings.do(do)
        except Violation as violation:
            self._fail(violation)

    def teardown(self) -> None:
        if self.doings is None:
            return
        try:
            if not self.failed:
                Tally.operations += 1
                self.doings.world.settle()
                self.doings.world.check()
        except Violation as violation:
            self._fail(violation)
        finally:
            self.doings.world.close()

    def _fail(self, violation: Violation) -> None:
        self.failed = True
        Tally.failed.append((self.setup, self.done, violation))
        raise violation
