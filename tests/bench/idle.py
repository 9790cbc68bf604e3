# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent with a full pool costs its node while nothing happens, and whether it stays so under use.

    python -m tests.bench.idle [--nics 60] [--pods 30] [--seconds 120] [--calls 10000]

The real agent, half of its NICs in pods, on a machine that is a few namespaces (`machine`), compared with a process
that imports the same modules and does nothing.

Flat is judged from the `FIRST` ADDs on, each with its DEL, since until then there is made what is made once: a thread
and its stack for each call that ever ran beside others (lanes keep them), a socket for each of those, the messages of
each NIC (some eight of 60, in a cache that holds 1,024), the journal's page cache and write-ahead log, most of the ten
minutes of arrivals that the pool remembers, and the room that all of them take in the interpreter's arenas, of which
the last one is touched bit by bit. What grows after that would grow for ever. The bar is `FLAT`, some 40 bytes for each
ADD: one that keeps 100 bytes is seen to miss it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import typing as t
from dataclasses import asdict, dataclass

from tests.bench.machine import CALLERS, Machine, at_once, call, isolated
from tests.lab.table import table

MEMORY_LIMIT: t.Final = 1.3  # times the bare imports
CPU_LIMIT: t.Final = 0.005
FIRST: t.Final = 3000  # ADDs
FLAT: t.Final = 1.01  # memory in the end, in that after the first ADDs
STEPS: t.Final = 10


@dataclass(frozen=True)
class Figures:
    """Memory in kB, `cpu` as a share of one processor."""

    nics: int
    pods: int
    bare: int
    idle: int
    cpu: float
    first: int  # ADDs before the first memory of `course`
    calls: int  # ADDs from there to the last
    course: tuple[int, ...]
    rate: float  # ADDs, each with its DEL, in a second

    @property
    def growth(self) -> float:
        return self.course[-1] / self.course[0]

    def complaints(self) -> list[str]:
        """What misses its bar."""
        found = []
        if self.idle > MEMORY_LIMIT * self.bare:
            found.append(f"an idle agent has {self.idle / self.bare:.2f} times the memory of its imports")
        if self.cpu > CPU_LIMIT:
            found.append(f"an idle agent takes {self.cpu:.2%} of a processor")
        if self.growth > FLAT:
            each = (self.course[-1] - self.course[0]) * 1024 / self.calls
            found.append(f"memory grew by {self.growth - 1:.1%} over {self.calls} ADDs and DELs, {each:.0f} bytes each")
        return found


def measure(nics: int, pods: int, seconds: float, first: int, calls: int) -> Figures:
    """In namespaces of this process's own."""

    def pair(number: int) -> None:
        for verb in ("ADD", "DEL"):
            call(verb, f"c{number}", number % CALLERS)

    with Machine(nics, pods + CALLERS) as machine:
        agent, __ = machine.start()
        machine.fill(pods)
        idle, cpu = agent.memory(), agent.cpu(seconds)
        bare = agent.bare()
        began = time.monotonic()
        at_once(pair, first)
        course = [agent.memory()]
        for __ in range(STEPS):
            at_once(pair, calls // STEPS)
            course.append(agent.memory())
        rate = (first + calls) / (time.monotonic() - began)
        return Figures(nics, pods, bare, idle, round(cpu, 5), first, calls, tuple(course), round(rate, 1))


def alone(**given: float) -> Figures:
    """`measure` in a process of its own. Raises `CalledProcessError`."""
    told = isolated("tests.bench.idle", *(f"--{name}={value}" for name, value in given.items()))
    return Figures(**{**told, "course": tuple(told["course"])})


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.idle", description="What an idle agent costs.")
    parser.add_argument("--nics", type=int, default=60)
    parser.add_argument("--pods", type=int, default=30, help="that have one each all the time")
    parser.add_argument("--seconds", type=float, default=120, help="for which its processor time is measured")
    parser.add_argument("--first", type=int, default=FIRST, help="ADDs, each followed by its DEL, that do not count")
    parser.add_argument("--calls", type=int, default=10000, help="those that do")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = vars(parser.parse_args(argv))
    if given.pop("inside"):
        sys.stdout.write(json.dumps(asdict(measure(**given))))
        return 0
    found = alone(**given)
    rows = [
        ("memory of the bare imports", f"{found.bare} kB", ""),
        (
            f"memory idle with {found.nics} NICs and {found.pods} pods",
            f"{found.idle} kB",
            f"{found.idle / found.bare:.2f} of them, at most {MEMORY_LIMIT}",
        ),
        ("processor while idle", f"{found.cpu:.2%}", f"at most {CPU_LIMIT:.1%}"),
        *(
            (f"memory after {found.first + found.calls * step // STEPS} ADDs and DELs", f"{memory} kB", "")
            for step, memory in enumerate(found.course)
        ),
        ("the last of these", f"{found.growth:.4f}", f"of the first, at most {FLAT}"),
        ("ADDs, each with its DEL", f"{found.rate} a second", f"{CALLERS} callers at once"),
    ]
    sys.stdout.write(table(("what", "how much", "beside"), rows) + "\n")
    complaints = found.complaints()
    sys.stdout.write("".join(f"{complaint}\n" for complaint in complaints))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
