# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab up and down many times, then killed at random moments: the machine must be as it was before.

Alone on its machine only: whatever else makes links, mounts or namespaces meanwhile is counted as a leftover.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from tests.lab import cgroups, netns
from tests.lab.paths import CLONE, RUN, WORK
from tests.lab.procs import PROC

_MARK = "QCLAB_SOAK"
State = dict[str, set[str]]


def state(mark: str) -> State:
    """What `ip link`, `ip netns`, `mount`, `ps` and a look at the cgroups show."""
    mounts = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return {
        "links": set(netns.links()),
        "namespaces": {path.name for path in Path("/run/netns").glob("*")},
        "mounts": set(mounts),
        "routes": set(netns.routes()),
        "cgroups": set(cgroups.names()),
        "processes": set(_marked(mark)),
        "folders": {str(path) for path in (RUN, WORK) if path.exists()},
    }


def _marked(mark: str) -> t.Iterator[str]:
    """Every descendant of ours that has not cleared its environment, wherever its parent went."""
    for path in PROC.glob("[0-9]*"):
        try:
            if f"{_MARK}={mark}".encode() in (path / "environ").read_bytes():
                words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
                yield f"{path.name} {' '.join(words)}"
        except OSError:
            continue


def leftovers(before: State, after: State) -> list[str]:
    return [f"{kind}: {name}" for kind in before for name in sorted(after[kind] - before[kind])]


class Soak:
    def __init__(self, seed: int, log: t.TextIO) -> None:
        self._random = random.Random(seed)
        self._log = log
        self._mark = f"{os.getpid()}-{seed}"
        self._before = state(self._mark)

    def _make(self, target: str) -> subprocess.Popen[bytes]:
        env = {**os.environ, _MARK: self._mark}
        return subprocess.Popen(
            ["make", target], cwd=CLONE, env=env, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def _run(self, target: str) -> float:
        started = time.monotonic()
        code = self._make(target).wait()
        if code:
            raise SystemExit(f"soak: make {target} failed ({code}), see {self._log.name}")
        return time.monotonic() - started

    def _down(self) -> None:
        self._run("lab-down")
        left = leftovers(self._before, state(self._mark))
        if left:
            raise SystemExit("soak: left behind:\n  " + "\n  ".join(left))

    def up_and_down(self) -> float:
        """One plain round; returns how long going up took."""
        seconds = self._run("lab")
        self._down()
        return seconds

    def killed(self, longest: float) -> str:
        """One round in which going up is killed at a random moment; says how."""
        delay = self._random.uniform(0, longest)
        victim = self._random.choice(("make", "lab command", "process group", "interrupt"))
        running = self._make("lab")
        try:
            running.wait(delay)
        except subprocess.TimeoutExpired:
            self._kill(running, victim)
            running.wait()
        again = self._random.random() < 0.3
        if again:
            self._run("lab")
        self._down()
        return f"{victim} after {delay:.1f} s{', then up again' if again else ''}"

    def _kill(self, running: subprocess.Popen[bytes], victim: str) -> None:
        if victim == "make":
            running.kill()
        elif victim == "interrupt":
            os.killpg(running.pid, signal.SIGINT)
        elif victim == "process group":
            os.killpg(running.pid, signal.SIGKILL)
        else:
            words = [line for line in _marked(self._mark) if "-m tests.lab" in line]
            for line in words:
                os.kill(int(line.split()[0]), signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--log", type=Path, default=CLONE / ".cache" / "soak.log")
    arguments = parser.parse_args()
    arguments.log.parent.mkdir(parents=True, exist_ok=True)
    print(f"soak: seed {arguments.seed}, log {arguments.log}", flush=True)
    with arguments.log.open("w") as log:
        soak = Soak(arguments.seed, log)
        longest = 60.0
        for number in range(1, arguments.rounds + 1):
            longest = soak.up_and_down()
            print(f"up and down {number}: {longest:.1f} s up, nothing left", flush=True)
        for number in range(1, arguments.kills + 1):
            print(f"killed {number}: {soak.killed(longest)}, nothing left", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
