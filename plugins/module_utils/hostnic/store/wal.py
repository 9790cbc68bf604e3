# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the write-ahead log that a killed process left is whole.

SQLite takes what comes before the first frame whose checksum is wrong and passes over the rest in silence: right for a
commit that was cut short, but a damaged log would take hours of changes along (https://sqlite.org/fileformat2.html#walformat).
"""

from __future__ import annotations

import struct
import typing as t
from pathlib import Path

from .failure import Damaged

_HEADER: t.Final = struct.Struct(">8I")  # magic, format, page size, lap, salt, salt, checksum, checksum
_FRAME: t.Final = struct.Struct(">6I")  # page, pages of the file after a commit, salt, salt, checksum, checksum
_MAGIC: t.Final = {0x377F0682: "<", 0x377F0683: ">"}  # and the byte order of the words that checksums are made of

_Sum = tuple[int, int]


def check(path: Path) -> None:
    """Raises `Damaged` where commits lie beyond the point up to which SQLite will read. OSError.

    One such commit is no damage: whoever was killed while writing it was never told that it was done.
    """
    log = Path(f"{path}-wal")
    content = memoryview(log.read_bytes() if log.is_file() else b"")
    if len(content) <= _HEADER.size:
        return
    if not path.exists() or not path.stat().st_size:
        raise Damaged("it is gone or empty, and its write-ahead log is not")
    magic, __, page_size, __, *salts, first, second = _HEADER.unpack_from(content)
    running = _summed(_MAGIC.get(magic, ">"), content[:24], (0, 0))
    if magic not in _MAGIC or running != (first, second):
        raise Damaged("the header of its write-ahead log is unreadable")
    lost = _commits_lost(content, page_size, salts, _MAGIC[magic], running)
    if lost > 1:
        raise Damaged(f"its write-ahead log breaks off before its last {lost} commits")


def _commits_lost(content: memoryview, page_size: int, salts: t.Sequence[int], order: str, running: _Sum) -> int:
    lost, whole = 0, True
    for start in range(_HEADER.size, len(content) - _FRAME.size - page_size + 1, _FRAME.size + page_size):
        __, commit, salt, other, *checksum = _FRAME.unpack_from(content, start)
        if [salt, other] != salts:
            continue  # of the lap before; were its salts what is damaged, the next checksum would tell
        if whole:
            page = content[start + _FRAME.size : start + _FRAME.size + page_size]
            running = _summed(order, page, _summed(order, content[start : start + 8], running))
            whole = list(running) == checksum
        if not whole and commit:
            lost += 1
    return lost


def _summed(order: str, words: memoryview, running: _Sum) -> _Sum:
    first, second = running
    for even, odd in struct.iter_unpack(f"{order}2I", words):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
