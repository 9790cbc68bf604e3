# SPDX-License-Identifier: GPL-3.0-or-later
"""What site.yml takes on a node, the first time and again, beside a playbook of as many `ansible.builtin.ping` tasks.

    python -m tests.bench.rollout [--pairs N]      # against the lab that runs: again, on twenty names

The first time is on a node that was booted for it, on which nothing was ever installed; it is taken away afterwards.
Again is on the lab's nodes, which stand for more of them: each name of the inventory is one of them, reached by an SSH
connection of its own. Both playbooks make their connections anew, and run on all names at once.

Seconds of a node are wall time by the number of names, so they hold what the nodes do, which share the machine's
processors with the control host, as they would not elsewhere. Its processor time alone, ssh included, is in the raw
samples; how much of a repeated site.yml's may be over that of the pings is `LIMIT`, which the first words above check.
A ping does next to nothing on the node, so what a first site.yml has to do there (wheels, units, a service that starts)
is all in the ratio.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from tests.bench.figures import Figure, Measured, Setting, compared
from tests.e2e.cluster import fresh_node
from tests.lab import cgroups
from tests.lab.errors import LabError
from tests.lab.inventory import GROUP, build
from tests.lab.lab import Lab
from tests.lab.paths import CLONE, CONTROL, PREFIX
from tests.lab.table import table
from tests.support.ansible import program

NAMES: t.Final = 20
LIMIT: t.Final = 1.5
_CGROUP: t.Final = f"{PREFIX}-bench"
_RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=0\s+failed=0", re.MULTILINE)


@dataclass(frozen=True)
class Cost:
    """Seconds of the control host."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Run:
    cost: Cost
    ok: dict[str, int]  # host ► tasks that ran there
    changed: int


class Pair(t.NamedTuple):
    """Of as many tasks on as many names."""

    site: Cost
    pings: Cost


@dataclass(frozen=True)
class Outcome:
    """`pairs`: in the order in which they ran."""

    names: int
    tasks: int
    pairs: tuple[Pair, ...]

    def ratio(self, what: str) -> float:
        """The median of the pairs' own, since what else the machine does weighs on both of a pair."""
        ratios: list[float] = [getattr(pair.site, what) / getattr(pair.pings, what) for pair in self.pairs]
        return statistics.median(ratios)

    def figure(self, name: str) -> Figure:
        site, pings = ([getattr(pair, one).wall / self.names for pair in self.pairs] for one in Pair._fields)
        return compared(name, site, pings, "s")

    def raw(self, name: str) -> dict[str, t.Any]:
        """What each playbook took, whatever the number of names."""
        return {
            f"{name} {playbook} {what}": [round(getattr(getattr(pair, playbook), what), 2) for pair in self.pairs]
            for playbook in Pair._fields
            for what in ("wall", "cpu")
        }


class Bench:
    """Playbooks against so many names of these nodes; `directory` is for inventory and playbook."""

    def __init__(self, lab: Lab, directory: Path, nodes: t.Sequence[str], names: int) -> None:
        self._inventory = directory / "inventory.yml"
        self._pings = directory / "pings.yml"
        self._names = names
        inventory = build(lab)
        group = inventory[GROUP]
        hosts = [group["hosts"][node] for node in nodes]
        group["hosts"] = {f"name{number:02}": hosts[number % len(hosts)] for number in range(names)}
        group["vars"]["ansible_control_path"] = f"{CONTROL}/{{{{ inventory_hostname }}}}"
        group["vars"]["ansible_ssh_common_args"] = re.sub(
            r"-o '?ControlPath=\S+", "", group["vars"]["ansible_ssh_common_args"]
        )
        self._inventory.write_text(yaml.safe_dump(inventory))

    def run(self, playbook: str, *words: str) -> Run:
        """Raises `LabError` where it failed on any name."""
        argv = [program("ansible-playbook"), playbook, "-i", str(self._inventory), "--forks", str(self._names), *words]
        env = {**os.environ, "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        started = time.monotonic()
        done = subprocess.run(
            cgroups.within(_CGROUP, argv), cwd=CLONE, env=env, capture_output=True, text=True, check=False
        )
        wall = time.monotonic() - started
        cpu = processor_time(_CGROUP)
        cgroups.clear(_CGROUP)  # and with it the shared connections
        recap = _RECAP.findall(done.stdout)
        if done.returncode or len(recap) != self._names:
            raise LabError(f"{playbook} failed:\n{done.stdout[-4000:]}\n{done.stderr[-1000:]}")
        return Run(Cost(cpu, wall), {name: int(ok) for name, ok, _ in recap}, sum(int(row[2]) for row in recap))

    def first(self, told: t.Callable[[str], object]) -> Outcome:
        """Raises `LabError` where site.yml changes nothing on some name: it was not the first there."""
        site = self.run("playbooks/site.yml")
        if site.changed < self._names:
            raise LabError("site.yml changed nothing: it was not the first one")
        tasks, pair = self._beside(site)
        told(f"first site.yml {_shown(pair.site)}, {tasks} pings {_shown(pair.pings)}")
        return Outcome(self._names, tasks, (pair,))

    def again(self, pairs: int, told: t.Callable[[str], object]) -> Outcome:
        """Raises `LabError` where site.yml is not a repeated one."""
        found, tasks = [], 0
        for number in range(pairs):
            site = self.run("playbooks/site.yml")
            if site.changed:
                raise LabError("site.yml changed something: it was not a repeated one")
            tasks, pair = self._beside(site)
            found.append(pair)
            told(f"pair {number + 1}: site.yml {_shown(pair.site)}, {tasks} pings {_shown(pair.pings)}")
        return Outcome(self._names, tasks, tuple(found))

    def _beside(self, site: Run) -> tuple[int, Pair]:
        tasks = min(site.ok.values())
        return tasks, Pair(site.cost, self.run(str(self._playbook_of_pings(tasks))).cost)

    def _playbook_of_pings(self, count: int) -> Path:
        task = {"name": "Ping", "ansible.builtin.ping": {}}
        play = {"name": "Pings", "hosts": GROUP, "gather_facts": False, "become": True, "tasks": [task] * count}
        self._pings.write_text(yaml.safe_dump([play]))
        return self._pings


def measure(setting: Setting) -> Measured:
    times, names, pairs = (1, 2, 1) if setting.quick else (3, 3, 3)
    lab = setting.lab()
    nodes = [node.name for node in lab.nodes]
    with tempfile.TemporaryDirectory() as directory:
        again = Bench(lab, Path(directory), nodes, names).again(pairs, setting.tell)
        firsts = [_first(Path(directory), setting.tell) for __ in range(times)]
    first = replace(firsts[0], pairs=tuple(pair for one in firsts for pair in one.pairs))
    return Measured(
        (first.figure("rollout-first"), again.figure("rollout-again")),
        {**first.raw("first"), **again.raw("again")},
        notes={
            "tasks": {"first": first.tasks, "again": again.tasks},
            "names": {"first": first.names, "again": again.names},
            "processor, again": round(again.ratio("cpu"), 3),
        },
    )


def _first(directory: Path, told: t.Callable[[str], object]) -> Outcome:
    """On a node that was booted for it."""
    with fresh_node() as fresh:
        return Bench(fresh.lab, directory, [fresh.nodes[0].name], 1).first(told)


def processor_time(group: str) -> float:
    """Seconds that the processes of a control group have had, those that have ended too."""
    for top in cgroups.hierarchies():
        usage, stat = top / group / "cpuacct.usage", top / group / "cpu.stat"
        if usage.exists():
            return int(usage.read_text()) / 1e9
        if stat.exists() and "usage_usec" in stat.read_text():
            return int(stat.read_text().split("usage_usec", 1)[1].split()[0]) / 1e6
    raise LabError("no control group of this machine counts processor time")


def _shown(cost: Cost) -> str:
    return f"{cost.cpu:.1f} s of processor, {cost.wall:.1f} s of wall"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    lab = Lab.load()
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(lab, Path(directory), [node.name for node in lab.nodes], NAMES)
        outcome = bench.again(arguments.pairs, print)
    rows = [
        (what, *(f"{statistics.median(getattr(pair[side], name) for pair in outcome.pairs):.1f} s" for side in (0, 1)),
         f"{outcome.ratio(name):.2f}")
        for what, name in (("processor", "cpu"), ("wall", "wall"))
    ]  # fmt: skip
    print(f"\n{outcome.names} names, {outcome.tasks} tasks, medians of {len(outcome.pairs)} pairs")
    print(table(("", "site.yml", "pings", "ratio"), rows))
    print(f"processor time is to be at most {LIMIT} times the pings'")
    return int(outcome.ratio("cpu") > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
