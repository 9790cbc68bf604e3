# SPDX-License-Identifier: GPL-3.0-or-later
"""One writer at a time: a lock file that the kernel releases when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import typing as t
from pathlib import Path

from .failure import StoreFailed, StoreLocked

NAME: t.Final = "state.lock"


class WriterLock:
    """Held from construction to `release`. Raises `StoreLocked`, `StoreFailed`.

    The file stays: removing it would let two processes lock two files of the same name. Its text, the holder's pid,
    is only for people.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / NAME
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreFailed(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        except BlockingIOError:
            pid = self._holder()
            os.close(self._descriptor)
            who = f"process {pid}" if pid else "another process"
            raise StoreLocked(
                f"{directory} is in use by {who}: only one agent or module may write the journal", pid=pid
            ) from None
        except OSError as error:
            os.close(self._descriptor)
            raise StoreFailed(f"cannot lock {path}: {error.strerror}") from error

    def stands(self) -> bool:
        """Whether others who want to write would meet this lock."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except OSError:
            return False

    def release(self) -> None:
        """Once."""
        os.close(self._descriptor)

    def _holder(self) -> t.Optional[int]:
        with contextlib.suppress(OSError, ValueError):
            return int(os.pread(self._descriptor, 20, 0))
        return None
