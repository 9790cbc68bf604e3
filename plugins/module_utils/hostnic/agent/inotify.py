# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to the files of a directory: inotify(7), which Python does not have, by its C library."""

from __future__ import annotations

import ctypes
import os
import struct
import typing as t

# <linux/inotify.h>
WRITTEN: t.Final = 0x2  # IN_MODIFY
CLOSED_BY_WRITER: t.Final = 0x8  # IN_CLOSE_WRITE
OVER: t.Final = 0x8000  # IN_IGNORED: the directory is gone, or `end` was called
_EVENT: t.Final = struct.Struct("=iIII")  # watch, mask, cookie, length of the name

_libc: t.Final = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """Watches one directory. Raises OSError."""

    def __init__(self, directory: str, mask: int) -> None:
        self._descriptor = _checked(_libc.inotify_init1(os.O_CLOEXEC), "inotify_init1")
        try:
            self._watch = _checked(_libc.inotify_add_watch(self._descriptor, os.fsencode(directory), mask), directory)
        except BaseException:
            self.close()
            raise

    def read(self) -> list[tuple[int, str]]:
        """What has happened, and to which file; waits for something."""
        data = os.read(self._descriptor, 65536)
        events = []
        place = 0
        while place < len(data):
            __, mask, __, length = _EVENT.unpack_from(data, place)
            place += _EVENT.size + length
            events.append((mask, os.fsdecode(data[place - length : place].rstrip(b"\0"))))
        return events

    def end(self) -> None:
        """Have `read` say `OVER`. A directory that is removed does not, while anybody has one of its files open."""
        _libc.inotify_rm_watch(self._descriptor, self._watch)

    def close(self) -> None:
        os.close(self._descriptor)


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result
