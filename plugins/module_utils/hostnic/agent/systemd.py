# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd's side of a service: inherited sockets, readiness, watchdog (sd_listen_fds(3), sd_notify(3))."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import time
import typing as t

_FIRST_FD: t.Final = 3


def take(environ: t.MutableMapping[str, str]) -> dict[str, str]:
    """What systemd tells this process, taken out of the environment so that no child speaks in its name."""
    names = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
    return {name: environ.pop(name) for name in names if name in environ}


def listen_fds(environ: t.Mapping[str, str], pid: int) -> list[socket.socket]:
    """The sockets that systemd listens on for this process; empty outside of socket activation."""
    if environ.get("LISTEN_PID") != str(pid):
        return []
    return [socket.socket(fileno=_FIRST_FD + n) for n in range(int(environ.get("LISTEN_FDS", "0")))]


def notify(environ: t.Mapping[str, str], *lines: str) -> None:
    """Tell systemd, for example `READY=1` or `STATUS=…`; nothing happens where nobody asked."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.sendto("\n".join(lines).encode(), "\0" + address[1:] if address.startswith("@") else address)


@contextlib.contextmanager
def reloading(environ: t.Mapping[str, str]) -> t.Iterator[None]:
    """Have systemd wait until the reload is over, however it ends."""
    notify(environ, "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        yield
    finally:
        notify(environ, "READY=1")


class Signals:
    """Signals as something to wait for, in the main thread: a handler that sets an event may meet its lock held."""

    def __init__(self, *numbers: int) -> None:
        self._arrived, self._told = socket.socketpair()
        self._told.setblocking(False)
        signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *__: None)

    def wait(self, timeout: float) -> int:
        """The number of the next signal, 0 where none came in time."""
        ready, __, __ = select.select([self._arrived], [], [], timeout)
        return self._arrived.recv(1)[0] if ready else 0


def watchdog_interval(environ: t.Mapping[str, str], pid: int) -> t.Optional[float]:
    """Seconds between signs of life: half of what systemd allows; None without a watchdog."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid) or not environ.get("WATCHDOG_USEC"):
        return None
    return int(environ["WATCHDOG_USEC"]) / 2_000_000


def boot_id(path: str = "/proc/sys/kernel/random/boot_id") -> str:
    with open(path, encoding="ascii") as file:  # noqa: PTH123 - procfs, no path arithmetic
        return file.read().strip()
