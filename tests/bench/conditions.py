# SPDX-License-Identifier: GPL-3.0-or-later
"""What a figure was found under: what else the machine did, and the versions of what took part."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from tests.lab.paths import RUN

_STAT: t.Final = Path("/proc/stat")
_STEAL: t.Final = 8  # of the words of its first line


@dataclass(frozen=True)
class Moment:
    """`steal`: ticks that the machine below has kept from this one. `load`: over the last minute."""

    seconds: float
    steal: int
    load: float


def now(stat: Path = _STAT) -> Moment:
    return Moment(time.monotonic(), int(stat.read_text(encoding="ascii").split()[_STEAL]), os.getloadavg()[0])


def between(before: Moment, after: Moment) -> dict[str, t.Any]:
    """For results.json."""
    return {
        "seconds": round(after.seconds - before.seconds, 1),
        "steal": after.steal - before.steal,
        "load": [round(before.load, 2), round(after.load, 2)],
    }


def machine() -> dict[str, t.Any]:
    """Versions by name; those of the lab's nodes where there is a lab."""
    told = {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ansible-core": importlib.metadata.version("ansible-core"),
        "iperf3": _package("iperf3"),
        "containernetworking-plugins": _package("containernetworking-plugins", RUN / "rootfs"),
    }
    return {name: what for name, what in told.items() if what}


def _package(name: str, root: Path = Path("/")) -> str:
    """The distribution's version of it; empty where it is not installed, or where there is no such root."""
    argv = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show", "--showformat=${Version}", name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""
