# SPDX-License-Identifier: GPL-3.0-or-later
"""Named network namespaces: made, removed, entered for the length of one call.

Nothing that is opened in a namespace is used outside the thread that entered it, but for raw sockets, which stay
in the namespace in which they were made. pyroute2's own sockets do not: they are made with ``netns=`` instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import threading
import typing as t
from pathlib import Path

from tests.emulator.dataplane.base import DataPlaneError

NETNS_DIR: t.Final = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_SO_NETNS_COOKIE = 71
_libc = ctypes.CDLL(None, use_errno=True)

_T = t.TypeVar("_T")


def exists(netns: str) -> bool:
    return (NETNS_DIR / netns).exists()


def names() -> list[str]:
    return sorted(path.name for path in NETNS_DIR.iterdir()) if NETNS_DIR.is_dir() else []


def create(netns: str) -> None:
    run("ip", "netns", "add", netns)


def delete(netns: str) -> None:
    """Nothing happens when there is none."""
    with contextlib.suppress(DataPlaneError):
        run("ip", "netns", "del", netns)
    if exists(netns):
        raise DataPlaneError(f"netns {netns} can not be removed")


def enter(netns: str) -> None:
    """Move the calling thread; for a thread that never leaves again."""
    fd = os.open(NETNS_DIR / netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"netns {netns}: {os.strerror(number)}")
    finally:
        os.close(fd)


def inside(netns: str, act: t.Callable[[], _T]) -> _T:
    """``act()`` in a thread of its own inside the namespace; raises what it raises."""
    result: list[_T] = []
    raised: list[BaseException] = []

    def body() -> None:
        try:
            enter(netns)
            result.append(act())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=body, name=f"in-{netns}")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return result[0]


def cookie(netns: str) -> int | None:
    """The kernel's number for the namespace, never given twice; None when there is no such namespace."""

    def read() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            return int(struct.unpack("=Q", probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])

    try:
        return inside(netns, read)
    except OSError:  # no such file, or a file that is no namespace any more
        return None


def write_sysctls(netns: str, values: t.Mapping[str, str]) -> None:
    """Keys with slashes below /proc/sys; those that the kernel does not have are left out."""

    def write() -> None:
        for key, value in values.items():
            path = Path("/proc/sys") / key
            if path.exists():
                path.write_text(value, encoding="ascii")

    inside(netns, write)


@contextlib.contextmanager
def sole_user(prefix: str) -> t.Iterator[None]:
    """Hold the prefix for this process; the kernel frees it with the process. Raises DataPlaneError when held."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
        try:
            claim.bind(f"\0qingcloud-emulator-{prefix}")
        except OSError as error:
            raise DataPlaneError(f"another emulator is running with the prefix {prefix}") from error
        yield


def run(*command: str, stdin: str = "") -> str:
    """The standard output; raises DataPlaneError with the standard error."""
    done = subprocess.run(command, input=stdin, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise DataPlaneError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
