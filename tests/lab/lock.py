# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab command at a time on this machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import typing as t

from tests.lab.errors import LabError
from tests.lab.paths import CACHE, LOCK
from tests.lab.procs import Process
from tests.lab.wait import until


@contextlib.contextmanager
def held(say: t.Callable[[str], None], take_over: bool = False) -> t.Iterator[None]:
    """Wait for the running command, or end it: killing `make` leaves its lab command behind."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with LOCK.open("a+") as file:

        def taken() -> bool:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            return False

        if not taken():
            holder = _holder(file)
            if take_over and holder:
                say(f"ending the lab command that still runs (pid {holder.pid})")
                holder.end((signal.SIGTERM, 5), (signal.SIGKILL, 5))
            until(taken, 30, f"end of the lab command that runs (pid {holder.pid if holder else 'unknown'})")
        _sign(file)
        yield


def _holder(file: t.TextIO) -> Process | None:
    file.seek(0)
    words = file.read().split()
    if len(words) != 2:
        return None
    found = Process(int(words[0]), int(words[1]))
    return found if found.alive else None


def _sign(file: t.TextIO) -> None:
    own = Process.of(os.getpid())
    if own is None:
        raise LabError("/proc does not show this process: the lab needs the machine's own /proc")
    file.seek(0)
    file.truncate()
    file.write(f"{own.pid} {own.start}\n")
    file.flush()


@contextlib.contextmanager
def alone(what: str, report: t.Callable[[str], None]) -> t.Iterator[None]:
    """No other lab of this machine does the same meanwhile."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / what).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another lab")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
