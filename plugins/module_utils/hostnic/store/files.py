# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal's files: opening one, keeping it under another name, putting a new one in its place."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import typing as t
from pathlib import Path
from urllib.parse import quote

from .. import guarded

KEPT: t.Final = 5  # files of one kind that are kept aside; the oldest goes first
# Seconds to wait for a person's own sqlite3 to let go.
PATIENCE: t.Final = 5.0
# SQLite finds these by the file's name: left behind, they would be played into the next file of that name.
_SIDES: t.Final = ("-wal", "-shm", "-journal", "")

Inode = tuple[int, int]  # with the device


def connect(path: Path, readonly: bool = False) -> sqlite3.Connection:
    """In autocommit; made if need be, and closed to others. Text that is no UTF-8 comes as bytes.

    `readonly` leaves file and log as they are, but for what a transaction that was killed has left to be undone. Raises
    sqlite3.Error, OSError.
    """
    if readonly:
        readonly = not Path(f"{path}-journal").exists()
    else:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    link = sqlite3.connect(
        f"file:{quote(str(path))}?mode={'ro' if readonly else 'rw'}",
        uri=True,
        timeout=PATIENCE,
        isolation_level=None,
        check_same_thread=False,
    )
    link.text_factory = _text
    return link


def refuse_planted(path: Path) -> None:
    """Raises `InvalidConfig` where a file that SQLite or we would read is a link, or others may have written it.

    A directory in such a place is read by nobody: that is damage.
    """
    for side in (*_SIDES, ".new"):
        name = Path(f"{path}{side}")
        if name.is_symlink() or not name.is_dir():
            guarded.regular(name)


def inode(path: Path) -> t.Optional[Inode]:
    """Which file this name leads to, None for none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def stands(path: Path) -> bool:
    """Whether there is a journal, or one that was about to take its place."""
    return os.path.lexists(path) or _beside(path, "new").exists()


def aside(path: Path, why: str) -> t.Optional[Path]:
    """Rename what is there to `state.db.<why>-<number>`, which nothing has yet; None where nothing is there.

    The newest `KEPT` of a kind stay. Raises OSError.
    """
    if not os.path.lexists(path):
        _remove(path)
        return None
    kind = re.sub(r"[^a-z0-9]+", "-", why.lower())[:40].strip("-") or "aside"
    pattern = re.compile(re.escape(f"{path.name}.{kind}-") + r"(\d+)(-wal|-shm|-journal)?")
    numbers = {int(match[1]) for match in (pattern.fullmatch(other.name) for other in path.parent.iterdir()) if match}
    kept = _beside(path, f"{kind}-{max(numbers, default=0) + 1}")
    for side in _SIDES:
        if os.path.lexists(f"{path}{side}"):
            Path(f"{path}{side}").rename(f"{kept}{side}")
    for number in sorted(numbers, reverse=True)[KEPT - 1 :]:
        _remove(_beside(path, f"{kind}-{number}"))
    return kept


def building(path: Path) -> Path:
    """An empty place for the file that `install` will put at `path`."""
    place = _beside(path, "building")
    _remove(place)
    return place


def install(path: Path, why: str) -> t.Optional[Path]:
    """Put what was built at `path`; returns under which name what was there is kept. Raises OSError.

    A kill at any point leaves either the old file in its place, or a new one that `finish` puts there.
    """
    _beside(path, "building").rename(_beside(path, "new"))
    return _exchange(path, why)


def finish(path: Path) -> None:
    """What an `install` that was killed has left to do. Raises OSError."""
    if _beside(path, "new").exists():
        _exchange(path, "replaced")


def _exchange(path: Path, why: str) -> t.Optional[Path]:
    kept = aside(path, why)
    _beside(path, "new").rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return kept


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}.{what}")


def _remove(path: Path) -> None:
    """As far as it goes: a directory stays."""
    for side in _SIDES:
        with contextlib.suppress(OSError):
            Path(f"{path}{side}").unlink()


def _text(cell: bytes) -> t.Union[str, bytes]:
    """As sqlite3 does, but what is no UTF-8 costs its row only, instead of an OperationalError for all of them."""
    try:
        return cell.decode("utf-8")
    except UnicodeDecodeError:
        return cell
