# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories that decide what the agent does: read only where nobody but root has had a hand in them.

"Root" is also the user who runs this, such as whoever runs a module or a test.
"""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t
from pathlib import Path

from .errors import InvalidConfig

LARGEST: t.Final = 4 << 20  # bytes

AnyPath = t.Union[str, Path]


def read(path: AnyPath, largest: int = LARGEST) -> bytes:
    """The beginning of a regular file; links are not followed, and nothing that blocks is waited for.

    Raises `InvalidConfig` where others may have written it, and OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        _regular(path, os.lstat(path))
        raise
    with os.fdopen(descriptor, "rb") as file:
        _regular(path, os.fstat(descriptor))
        return file.read(largest)


def configuration(origins: t.Mapping[str, str]) -> None:
    """Raises `InvalidConfig` where others may have written a file that settings are from, by their `origins`."""
    for path in {origin for origin in origins.values() if origin.startswith("/")}:
        with contextlib.suppress(OSError):  # read before, so only a change is left
            owned(path, Path(path).stat())


def regular(path: AnyPath) -> None:
    """Raises `InvalidConfig` where this is something else than a file of root's; nothing at all is fine."""
    with contextlib.suppress(FileNotFoundError):
        _regular(path, os.lstat(path))


def owned(path: AnyPath, status: os.stat_result) -> None:
    """Raises `InvalidConfig` where others own it or may write to it; what `status` is of, they may not be."""
    if status.st_uid not in _trusted():
        raise InvalidConfig(
            f"{path} belongs to uid {status.st_uid}, who may have written anything there",
            remedy=f"look at it, then run chown root: {path}",
            path=str(path),
        )
    if status.st_mode & (stat.S_IWOTH | (stat.S_IWGRP if status.st_gid else 0)):
        mode = stat.S_IMODE(status.st_mode)
        raise InvalidConfig(
            f"{path} may be written by others (mode {mode:04o})",
            remedy=f"look at it, then run chmod go-rwx {path}",
            path=str(path),
        )


def place(path: AnyPath, setting: str = "") -> None:
    """A directory that others can neither write to nor put another in the place of. Nothing at all is fine.

    Raises `InvalidConfig`; `setting` is which one names this directory, if one does.
    """
    for above in {*Path(path).parents, *Path(os.path.realpath(path)).parents}:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            status = above.stat()
            if not status.st_mode & stat.S_ISVTX:  # there, nobody renames what is another's
                owned(above, status)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        _directory(path, setting, os.lstat(path))


@contextlib.contextmanager
def directory(path: AnyPath, setting: str = "") -> t.Iterator[int]:
    """See `place`; a descriptor of it, for what is to be done inside. Raises OSError as well."""
    place(path, setting)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _directory(path, setting, os.fstat(descriptor))
        yield descriptor
    finally:
        os.close(descriptor)


def _directory(path: AnyPath, setting: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        remedy = f"set {setting} to where it leads" if setting else "move it away"
        raise InvalidConfig(f"{path} is a symbolic link, which is not followed", remedy=remedy, path=str(path))
    if not stat.S_ISDIR(status.st_mode):
        raise InvalidConfig(f"{path} is no directory", remedy="move it away", path=str(path))
    owned(path, status)


def _regular(path: AnyPath, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        remedy = "move it away"
        raise InvalidConfig(f"{path} is a symbolic link, which is not followed", remedy=remedy, path=str(path))
    if not stat.S_ISREG(status.st_mode):
        raise InvalidConfig(f"{path} is no regular file", remedy="move it away", path=str(path))
    owned(path, status)


def _trusted() -> tuple[int, int]:
    return 0, os.geteuid()
