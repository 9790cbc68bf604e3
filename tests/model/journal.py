# SPDX-License-Identifier: GPL-3.0-or-later
"""The real journal in its file, and a copy of it in memory that tells what a power cut would leave."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

from hostnic.model import Intent, Lease, Nic, Record
from hostnic.ports import Journal
from hostnic.store.sqlite import FILE, SqliteStore

Key = tuple[t.Any, ...]
Rows = dict[Key, Record]
JOURNAL: t.Final = "journal"


class WatchedStore:
    """See `ports.Store`. `point` is passed before and after each write; `changing` is told of it in between."""

    def __init__(
        self,
        directory: Path,
        point: t.Callable[[str], None],
        changing: t.Callable[[t.Sequence[Record], t.Sequence[Record]], None],
    ) -> None:
        self.rows: Rows = {}
        self.binding = ("", "")
        self._durable: Rows = {}
        self._since: list[tuple[list[Record], list[Record]]] = []  # writes that a power cut may undo
        self._inner = SqliteStore(directory)
        self._point = point
        self._changing = changing

    def load(self) -> Journal:
        journal = self._inner.load()
        facts = getattr(journal, "facts", ())
        records = (*journal.nics, *journal.leases, *journal.intents, *journal.vxnets, *facts)
        self.rows = {key_of(record): record for record in records}
        self.binding = journal.binding
        self._settle()
        return journal

    def bind(self, boot_id: str, instance_id: str) -> None:
        self._point(JOURNAL)
        self._inner.bind(boot_id, instance_id)
        self.binding = (boot_id, instance_id)
        self._settle()
        self._point(JOURNAL)

    def write(self, put: t.Iterable[Record] = (), drop: t.Iterable[Record] = (), durable: bool = False) -> None:
        put, drop = list(put), list(drop)
        self._point(JOURNAL)
        self._changing(put, drop)
        self._inner.write(put, drop, durable)
        _apply(self.rows, put, drop)
        self._since.append((put, drop))
        if durable:
            self._settle()
        self._point(JOURNAL)

    def set_aside(self, why: str) -> None:
        t.cast(t.Any, self._inner).set_aside(why)
        self.rows, self.binding = {}, ("", "")
        self._settle()

    def close(self) -> None:
        self._inner.close()

    # -- for the test --

    def of(self, kind: type[t.Any]) -> list[t.Any]:
        return [record for record in self.rows.values() if type(record) is kind]

    def nics(self) -> list[Nic]:
        return self.of(Nic)

    def leases(self) -> list[Lease]:
        return self.of(Lease)

    def intents(self) -> list[Intent]:
        return self.of(Intent)

    def after_power_cut(self, kept: int) -> Rows:
        """What was durable, and so many of the writes since then as `kept` says, counted round and round."""
        rows = dict(self._durable)
        for put, drop in self._since[: kept % (len(self._since) + 1)]:
            _apply(rows, put, drop)
        return rows

    def _settle(self) -> None:
        self._durable, self._since = dict(self.rows), []


def key_of(record: Record) -> Key:
    return (type(record), *(getattr(record, name) for name in type(record).key))


def copy_files(source: Path, target: Path) -> None:
    """As a process leaves them that is killed: the write-ahead log is not played into the file."""
    target.mkdir(mode=0o700, parents=True)
    for suffix in ("", "-wal"):
        file = source / f"{FILE}{suffix}"
        if file.exists():
            shutil.copyfile(file, target / file.name)


def write_anew(target: Path, binding: tuple[str, str], rows: Rows) -> None:
    """A journal with just these rows."""
    store = SqliteStore(target)
    store.bind(*binding)
    store.write(rows.values())
    store.close()


def damage(directory: Path, how: int) -> None:
    """Cut off, overwritten at its beginning, or overwritten in the middle; its write-ahead log stays as it is."""
    file = directory / FILE
    if not file.exists():
        return
    content = bytearray(file.read_bytes())
    if how % 3 == 0:
        content = content[: len(content) // 2 + 7]
    else:
        start = 0 if how % 3 == 1 else len(content) // 3
        content[start : start + 4096] = b"\xa5" * len(content[start : start + 4096])
    file.write_bytes(bytes(content))


def _apply(rows: Rows, put: t.Iterable[Record], drop: t.Iterable[Record]) -> None:
    for record in put:
        rows[key_of(record)] = record
    for record in drop:
        rows.pop(key_of(record), None)
