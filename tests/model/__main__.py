# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.model`: so many random operations, then bugs that are planted and have to be found."""

from __future__ import annotations

import argparse
import queue
import random
import sys
import threading
import time
import typing as t

from tests.model import invariants, mutations, workers
from tests.model.batch import Outcome
from tests.model.workers import Worker

WORKERS: t.Final = 2
MOST_FINDINGS: t.Final = 6  # then it is bad enough
MUTATION_LIMIT: t.Final = 60_000  # operations in which a planted bug has to be found
REPORT_EVERY: t.Final = 10.0  # s


class Campaign:
    """Seed after seed, in several processes, until there were enough operations."""

    def __init__(self, first_seed: int, operations: int) -> None:
        self.operations = 0
        self.faults = 0
        self.outcomes: list[Outcome] = []  # those with findings
        self._next = first_seed
        self._wanted = operations
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._reported = self._started

    def run(self) -> None:
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self) -> None:
        worker = Worker()
        try:
            while True:
                with self._lock:
                    if self.operations >= self._wanted or len(self.outcomes) >= MOST_FINDINGS:
                        return
                    seed, self._next = self._next, self._next + 1
                outcome = worker.run(seed, shorten=False)
                if outcome.finding:
                    outcome = worker.run(seed, shorten=True)
                with self._lock:
                    self._note(outcome)
        finally:
            worker.close()

    def _note(self, outcome: Outcome) -> None:
        self.operations += outcome.operations
        self.faults += outcome.faults
        if outcome.finding:
            self.outcomes.append(outcome)
            show(outcome)
        now = time.monotonic()
        if now - self._reported >= REPORT_EVERY:
            self._reported = now
            rate = self.operations / (now - self._started)
            say(f"model: {self.operations} of {self._wanted} operations, {self.faults} faults, {rate:.0f} a second")


class Hunt:
    """Each planted bug, until it is found."""

    def __init__(self, first_seed: int) -> None:
        self.found: dict[str, tuple[str, int]] = {}  # name ► (by which invariant, after how many operations)
        self._first = first_seed
        self._names: queue.Queue[str] = queue.Queue()

    def run(self) -> None:
        for name in mutations.MUTATIONS:
            self._names.put(name)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self) -> None:
        while True:
            try:
                name = self._names.get_nowait()
            except queue.Empty:
                return
            self._hunt(name)

    def _hunt(self, name: str) -> None:
        planted, clean, operations, seed = Worker(name), Worker(), 0, self._first
        try:
            while operations < MUTATION_LIMIT:
                finding, operations = _broken(planted, seed, operations)
                if finding in mutations.MUTATIONS[name].caught_by and _broken(clean, seed)[0] != finding:
                    self.found[name] = (finding, operations)
                    say(f"model: {name} is found")
                    return
                seed += 1
            say(f"model: {name} is NOT found in {operations} operations")
        finally:
            planted.close()
            clean.close()

    def table(self) -> str:
        rows = [("planted bug", "caught by", "after operations")]
        for name in mutations.MUTATIONS:
            invariant, operations = self.found.get(name, ("NOTHING", 0))
            rows.append((name, invariant, str(operations or "-")))
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        return "\n".join(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in rows)


def _broken(worker: Worker, seed: int, operations: int = 0) -> tuple[str, int]:
    """The invariant that this seed breaks, "" for none, and the sum of the operations."""
    outcome = worker.run(seed, shorten=False)
    return outcome.finding.invariant if outcome.finding else "", operations + outcome.operations


def main(argv: t.Sequence[str]) -> int:
    if workers.asked_to_serve(argv):
        workers.serve(argv)
        return 0
    options = _options(argv)
    seed = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
    if options.seed is not None and options.operations is None:
        return replay(seed, options.trace)
    say(f"model: the first seed is {seed}")
    campaign = Campaign(seed, options.operations or 100_000)
    campaign.run()
    lost = 0
    if options.mutations and not campaign.outcomes:
        hunt = Hunt(seed)
        hunt.run()
        lost = len(mutations.MUTATIONS) - len(hunt.found)
        print(hunt.table())
    seeds = ", ".join(str(outcome.seed) for outcome in campaign.outcomes)
    found = f"{len(campaign.outcomes)} violations" + (f": seeds {seeds}" if seeds else "")
    print(f"model: {campaign.operations} operations, {campaign.faults} faults, {found}")
    return 1 if campaign.outcomes or lost else 0


def replay(seed: int, trace: bool) -> int:
    worker = Worker()
    try:
        outcome = worker.run(seed, shorten=True, trace=trace)
    finally:
        worker.close()
    show(outcome)
    print(f"model: {outcome.operations} operations, {outcome.faults} faults, {int(bool(outcome.finding))} violations")
    return int(bool(outcome.finding))


def show(outcome: Outcome) -> None:
    """On standard output: what, why it matters, how to see it again, and the shortest way there."""
    finding = outcome.finding
    if finding is None:
        return
    known = getattr(invariants, finding.invariant, None)
    print(f"{finding.invariant}: {finding.text}")
    if known and known.__doc__:
        print(f"  {known.__doc__.strip().splitlines()[0]}")
    print(f"  python -m tests.model --seed {outcome.seed}")
    for step in finding.steps:
        print(f"    {step}")
    sys.stdout.flush()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options(argv: t.Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--operations", type=int, help="at least so many (100000)")
    parser.add_argument("--seed", type=int, help="begin with this one; alone: do again what it stands for")
    parser.add_argument("--trace", action="store_true", help="with a seed alone: show the agent's log")
    parser.add_argument("--mutations", action="store_true", help="then plant bugs, each of which has to be found")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
