# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups as the kernel's own list of what belongs to the lab.

Whatever outlives a lab command (a node, the cloud) or could be orphaned by killing one (debootstrap,
ansible-playbook) runs in a group of its own at the top of every hierarchy. `down` needs no file to find it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import typing as t
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.paths import PREFIX
from tests.lab.procs import Process
from tests.lab.wait import until

# The shell enters the groups before it becomes the program, so that not even a first child can be outside.
_ENTER = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@"'

_HANDED_DOWN = {"cpu", "cpuset", "io", "memory", "pids"}


def hierarchies(mountinfo: str | None = None) -> list[Path]:
    """Mount points of all cgroup file systems, version 1 and 2."""
    text = mountinfo if mountinfo is not None else Path("/proc/self/mountinfo").read_text()
    found: list[Path] = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        if right.split(" ", 1)[0] in ("cgroup", "cgroup2"):
            path = Path(left.split()[4])
            if path not in found:
                found.append(path)
    return found


def unified() -> bool:
    """True where version 2 is the only one."""
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


@contextlib.contextmanager
def favoured(name: str, factor: int = 40) -> t.Iterator[None]:
    """The group ``name`` gets so many times the share of the processors that it has, as far as others want them too."""
    files = [top / name / key for top in hierarchies() for key in ("cpu.shares", "cpu.weight")]
    before = {file: int(file.read_text()) for file in files if file.exists()}
    for file, share in before.items():
        file.write_text(str(min(share * factor, 10_000 if file.name == "cpu.weight" else 262_144)))
    try:
        yield
    finally:
        for file, share in before.items():
            file.write_text(str(share))


def make(name: str) -> list[Path]:
    """The group ``name`` in every hierarchy."""
    groups = []
    for top in hierarchies():
        _offer_controllers(top)
        group = top / name
        group.mkdir(exist_ok=True)
        # A new cpuset of version 1 is empty and takes no process before it has processors and memory.
        for key in ("cpuset.cpus", "cpuset.mems"):
            if (top / key).exists() and not (group / key).read_text().strip():
                (group / key).write_text((top / key).read_text())
        groups.append(group)
    if not groups:
        raise LabError("no cgroup file system is mounted: the lab cannot boot nodes here")
    return groups


def _offer_controllers(top: Path) -> None:
    """Version 2 gives a node only what its parent hands down; a container runtime wants processor time too."""
    control = top / "cgroup.subtree_control"
    if not control.exists():
        return
    for controller in sorted(_HANDED_DOWN - set(control.read_text().split())):
        # One that cannot be handed down here is one that a node does without.
        with contextlib.suppress(OSError):
            control.write_text(f"+{controller}")


def within(name: str, argv: t.Sequence[str]) -> list[str]:
    """``argv`` wrapped so that it runs in the group ``name``."""
    return ["/bin/sh", "-c", _ENTER, "sh", *map(str, make(name)), "--", *argv]


def spawn(name: str, argv: t.Sequence[str], log: Path, env: t.Mapping[str, str] | None = None) -> Process:
    """Start a daemon in a session and a group of its own, detached from our terminal and process group."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        child = subprocess.Popen(
            within(name, argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=env,
            cwd="/",
        )
    # It is meant to outlive us: nobody will wait for it.
    child.returncode = 0
    process = Process.of(child.pid)
    if process is None:
        raise LabError(f"{argv[0]} ended at once, see {log}")
    return process


def names() -> list[str]:
    """Groups of the lab that exist in any hierarchy."""
    return sorted({path.name for top in hierarchies() for path in top.glob(f"{PREFIX}-*") if path.is_dir()})


def _groups(top: Path) -> list[Path]:
    """This group and those below it, parents first; groups that vanish meanwhile are passed over."""
    return [Path(directory) for directory, _, _ in os.walk(top)]


def pids(name: str) -> set[int]:
    """Every process in the group or below it."""
    found: set[int] = set()
    for top in hierarchies():
        for group in _groups(top / name):
            with contextlib.suppress(OSError):
                found.update(int(word) for word in (group / "cgroup.procs").read_text().split())
    # 0 stands for a process of another pid namespace.
    return found - {0}


def clear(name: str, first: signal.Signals = signal.SIGKILL, seconds: float = 0) -> None:
    """End every process of the group, kindly for ``seconds`` when asked, then remove the group."""
    steps = [(first, seconds), (signal.SIGKILL, 10.0)] if seconds else [(signal.SIGKILL, 10.0)]

    def emptied() -> bool:
        for process in filter(None, map(Process.of, pids(name))):
            process.end(*steps)
        return not any(map(Process.of, pids(name)))

    def removed() -> bool:
        for top in hierarchies():
            for group in reversed(_groups(top / name)):
                with contextlib.suppress(OSError):
                    group.rmdir()
        return not any((top / name).exists() for top in hierarchies())

    until(emptied, 30, f"end of the processes in cgroup {name}")
    until(removed, 10, f"removal of cgroup {name}")
