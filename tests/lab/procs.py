# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes by identity: a pid alone may be somebody else's by the time it is used."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """``start`` is the kernel's start time in clock ticks since boot."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now, zombies left out."""
        try:
            text = (PROC / str(pid) / "stat").read_text(errors="replace")
        except OSError:
            return None
        state, start = parse_stat(text)
        return None if state in "ZX" else cls(pid, start)

    @property
    def alive(self) -> bool:
        return Process.of(self.pid) == self

    def end(self, *steps: tuple[signal.Signals | int, float]) -> bool:
        """Send each signal and wait its seconds for the exit; True as soon as the process is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            # Only now is it certain that the handle is of the process that was meant.
            if not self.alive:
                return True
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            for number, seconds in steps:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
                if poll.poll(seconds * 1000):
                    return True
            return False
        finally:
            os.close(handle)


def parse_stat(text: str) -> tuple[str, int]:
    """State letter and start time of ``/proc/PID/stat``; the name in it may hold spaces and brackets."""
    fields = text[text.rindex(")") + 1 :].split()
    return fields[0], int(fields[19])


def namespace_pids(pid: int) -> list[int]:
    """The pid in every pid namespace from ours inwards; empty when the process is gone."""
    try:
        for line in (PROC / str(pid) / "status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                return [int(word) for word in line.split()[1:]]
    except OSError:
        pass
    return []
