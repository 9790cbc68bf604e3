# SPDX-License-Identifier: GPL-3.0-or-later
"""The network namespaces that have a name in /proc: those of processes, of their threads, and of bind mounts.

Mounts are read from every mount namespace that has a process, so a sandbox of this process hides nothing.
"""

from __future__ import annotations

import errno
import os
import re
import typing as t
from pathlib import Path

from ..errors import LinkFailed

T = t.TypeVar("T")

PROC: t.Final = Path("/proc")

_ENDED: t.Final = (errno.ENOENT, errno.ESRCH)
_NETNS: t.Final = re.compile(r"net:\[(\d+)\]")
_ESCAPED: t.Final = re.compile(rb"\\([0-7]{3})")

# the inode, and a path where the namespace may be opened; often there are several of one
Name = tuple[int, str]


class Spaces:
    """One reading, while its names are iterated over.

    `trouble`: the first thing that could not be read, so that there may be more namespaces than these.
    """

    def __init__(self, proc: Path = PROC) -> None:
        self.trouble: t.Optional[LinkFailed] = None
        self._proc = str(proc)
        numbers = sorted(int(name) for name in self._listed(self._proc) if name.isdigit())
        self._processes = [f"{self._proc}/{number}" for number in numbers]

    def near(self) -> t.Iterator[Name]:
        """The mounts that the machine's first process sees, then those of all tasks."""
        for process in self._processes[:1]:
            yield from self._mounts(process)
        for process in self._processes:
            for task in self._listed(f"{process}/task"):
                path = f"{process}/task/{task}/ns/net"
                yield from _netns(self._target(path), path)

    def far(self) -> t.Iterator[Name]:
        """The mounts of all other mount namespaces; there may be as many as containers, with all the host's in each."""
        known = {""}
        for process in self._processes:
            mount_namespace = self._target(f"{process}/ns/mnt")
            if mount_namespace not in known and process != self._processes[0]:
                yield from self._mounts(process)
            known.add(mount_namespace)

    def _mounts(self, process: str) -> t.Iterator[Name]:
        """As this process sees them: `id parent device root mountpoint options - type source options`."""
        for line in self._read(f"{process}/mountinfo").splitlines():
            if b" - nsfs " in line:
                root, mountpoint = line.split(b" ")[3:5]
                path = _ESCAPED.sub(lambda octal: bytes((int(octal[1], 8),)), mountpoint)
                yield from _netns(os.fsdecode(root), f"{process}/root{os.fsdecode(path)}")

    # -- reading what may end at any time; "" or nothing then --

    def _listed(self, directory: str) -> list[str]:
        try:
            with os.scandir(directory) as entries:
                return [entry.name for entry in entries]
        except OSError as error:
            return self._note(directory, error, [])

    def _target(self, path: str) -> str:
        try:
            return os.readlink(path)  # noqa: PTH115 (thousands of times)
        except OSError as error:
            return self._note(path, error, "")

    def _read(self, path: str) -> bytes:
        try:
            return Path(path).read_bytes()
        except OSError as error:
            # EINVAL: the process is just ending
            return b"" if error.errno == errno.EINVAL else self._note(path, error, b"")

    def _note(self, path: str, error: OSError, nothing: T) -> T:
        if error.errno not in _ENDED and self.trouble is None:
            self.trouble = LinkFailed(f"cannot look into {path}: {error.strerror}", errno=error.errno, path=path)
        return nothing


def _netns(name: str, path: str) -> t.Iterator[Name]:
    """Nothing where the name is that of a namespace of another type."""
    match = _NETNS.fullmatch(name)
    if match:
        yield int(match[1]), path
