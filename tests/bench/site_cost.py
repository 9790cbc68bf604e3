# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repeated site.yml costs the control host, beside a playbook of as many `ansible.builtin.ping` tasks.

    python -m tests.bench.site_cost [--pairs N]

Against the lab that runs. Its nodes stand for twenty: each name of the inventory is one of them, reached by an SSH
connection of its own, which both playbooks make anew. Processor time is that of everything which the control host
runs, ssh included; the nodes' own is not in it, though they share the machine and so lengthen the wall time.
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
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.lab import cgroups
from tests.lab.errors import LabError
from tests.lab.inventory import GROUP, build
from tests.lab.lab import Lab
from tests.lab.paths import CLONE, CONTROL, PREFIX
from tests.lab.table import table

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


@dataclass(frozen=True)
class Outcome:
    """Pairs of (site.yml, pings), in the order in which they ran."""

    tasks: int
    pairs: tuple[tuple[Cost, Cost], ...]

    def ratio(self, what: str) -> float:
        """The median of the pairs' own, since what else the machine does weighs on both of a pair."""
        return float(statistics.median(getattr(site, what) / getattr(ping, what) for site, ping in self.pairs))


class Bench:
    """Playbooks against twenty names of the lab's nodes; `directory` is for inventory and playbook."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self._inventory = directory / "inventory.yml"
        self._pings = directory / "pings.yml"
        inventory = build(lab)
        group = inventory[GROUP]
        nodes = list(group["hosts"].values())
        group["hosts"] = {f"name{number:02}": nodes[number % len(nodes)] for number in range(NAMES)}
        group["vars"]["ansible_control_path"] = f"{CONTROL}/{{{{ inventory_hostname }}}}"
        group["vars"]["ansible_ssh_common_args"] = re.sub(
            r"-o '?ControlPath=\S+", "", group["vars"]["ansible_ssh_common_args"]
        )
        self._inventory.write_text(yaml.safe_dump(inventory))

    def run(self, playbook: str, *words: str) -> Run:
        """Raises `LabError` where it failed on any name."""
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        argv = [program, playbook, "-i", str(self._inventory), "--forks", str(NAMES), *words]
        env = {**os.environ, "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        started = time.monotonic()
        done = subprocess.run(
            cgroups.within(_CGROUP, argv), cwd=CLONE, env=env, capture_output=True, text=True, check=False
        )
        wall = time.monotonic() - started
        cpu = processor_time(_CGROUP)
        cgroups.clear(_CGROUP)  # and with it the shared connections
        recap = _RECAP.findall(done.stdout)
        if done.returncode or len(recap) != NAMES:
            raise LabError(f"{playbook} failed:\n{done.stdout[-4000:]}\n{done.stderr[-1000:]}")
        return Run(Cost(cpu, wall), {name: int(ok) for name, ok, _ in recap}, sum(int(row[2]) for row in recap))

    def measure(self, pairs: int, told: t.Callable[[str], object] = print) -> Outcome:
        """Raises `LabError` where site.yml is not a repeated one."""
        found, tasks = [], 0
        for number in range(pairs):
            site = self.run("playbooks/site.yml")
            if site.changed:
                raise LabError("site.yml changed something: it was not a repeated one")
            tasks = min(site.ok.values())
            ping = self.run(str(self._playbook_of_pings(tasks)))
            found.append((site.cost, ping.cost))
            told(f"pair {number + 1}: site.yml {_shown(site.cost)}, {tasks} pings {_shown(ping.cost)}")
        return Outcome(tasks, tuple(found))

    def _playbook_of_pings(self, count: int) -> Path:
        task = {"name": "Ping", "ansible.builtin.ping": {}}
        play = {"name": "Pings", "hosts": GROUP, "gather_facts": False, "become": True, "tasks": [task] * count}
        self._pings.write_text(yaml.safe_dump([play]))
        return self._pings


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
    with tempfile.TemporaryDirectory() as directory:
        outcome = Bench(Lab.load(), Path(directory)).measure(arguments.pairs)
    rows = [
        (what, *(f"{statistics.median(getattr(pair[side], name) for pair in outcome.pairs):.1f} s" for side in (0, 1)),
         f"{outcome.ratio(name):.2f}")
        for what, name in (("processor", "cpu"), ("wall", "wall"))
    ]  # fmt: skip
    print(f"\n{NAMES} names, {outcome.tasks} tasks, medians of {len(outcome.pairs)} pairs")
    print(table(("", "site.yml", "pings", "ratio"), rows))
    print(f"processor time is to be at most {LIMIT} times the pings'")
    return int(outcome.ratio("cpu") > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
