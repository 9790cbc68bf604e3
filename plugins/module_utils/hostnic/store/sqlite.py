# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal in a SQLite file (WAL): `sqlite3 state.db 'select * from nic'` is all that support needs.

Normal writes survive the process, durable ones also the power (https://sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sqlite3
import threading
import typing as t
from pathlib import Path

from ..model import Record
from ..ports import Journal
from . import codec
from .failure import StoreFailed
from .lock import WriterLock

log = logging.getLogger("hostnic.store")

FILE: t.Final = "state.db"
# To be raised with any change of a record's fields, for the sake of older programs; PRAGMA user_version carries it.
# New fields with defaults are added to older files; any other change needs code in `_grow`.
SCHEMA: t.Final = 1
_BINDING = (
    "CREATE TABLE IF NOT EXISTS binding (one INTEGER PRIMARY KEY CHECK (one = 1), boot_id TEXT, instance_id TEXT)"
)
# Seconds to wait for a person's own sqlite3 to let go.
_PATIENCE = 5.0


class _Damaged(Exception):
    """The file is no journal, or not one that can be read."""


class SqliteStore:
    """See `ports.Store`. `statedir` is made if need be, and closed to others.

    Raises `StoreLocked` where another process writes there, `StoreFailed` for a newer schema or a refusing disk. A
    damaged file is set aside (`set_aside` names it) and an empty one begun: the pool rebuilds itself from the cloud
    and the kernel. Safe for several threads.
    """

    def __init__(self, statedir: t.Union[str, Path]) -> None:
        directory = Path(statedir)
        self._path = directory / FILE
        self._mutex = threading.Lock()
        self.set_aside: t.Optional[Path] = None
        _private(directory)
        self._writer = WriterLock(directory)
        try:
            self._link: t.Optional[sqlite3.Connection] = self._opened()
        except BaseException:
            self._writer.release()
            raise

    def load(self) -> Journal:
        with self._using() as link:
            try:
                return _read(link)
            except (_Damaged, ValueError, sqlite3.DatabaseError) as error:
                if not _is_damage(error):
                    raise
                link.close()
                self._link = self._begun_anew(error)
                return Journal(("", ""))

    def bind(self, boot_id: str, instance_id: str) -> None:
        statement = "INSERT OR REPLACE INTO binding (one, boot_id, instance_id) VALUES (1, ?, ?)"
        self._transact([(statement, (boot_id, instance_id))], durable=True)

    def write(self, put: t.Iterable[Record] = (), drop: t.Iterable[Record] = (), durable: bool = False) -> None:
        statements: list[tuple[str, codec.Row]] = []
        for record in put:
            table = codec.table_of(record)
            statements.append((_insert(table), table.encode(record)))
        for record in drop:
            table = codec.table_of(record)
            statements.append((_delete(table), table.key(record)))
        if statements:
            self._transact(statements, durable)

    def close(self) -> None:
        """Twice is once."""
        with self._mutex:
            if self._link is None:
                return
            self._link.close()
            self._link = None
            self._writer.release()

    def _transact(self, statements: t.Sequence[tuple[str, codec.Row]], durable: bool) -> None:
        with self._using() as link:
            # Not inside a transaction: there, this pragma does nothing.
            link.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            link.execute("BEGIN IMMEDIATE")
            try:
                for statement, row in statements:
                    link.execute(statement, row)
                link.execute("COMMIT")
            except BaseException:
                if link.in_transaction:
                    link.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _using(self) -> t.Iterator[sqlite3.Connection]:
        with self._mutex:
            if self._link is None:
                raise StoreFailed(f"the journal {self._path} is closed")
            try:
                yield self._link
            except sqlite3.Error as error:
                raise StoreFailed(f"the journal {self._path} failed: {error}", path=str(self._path)) from error

    def _opened(self) -> sqlite3.Connection:
        try:
            return _connected(self._path)
        except sqlite3.DatabaseError as error:
            if _is_damage(error):
                return self._begun_anew(error)
            raise StoreFailed(f"cannot open the journal {self._path}: {error}", path=str(self._path)) from error

    def _begun_anew(self, error: Exception) -> sqlite3.Connection:
        for number in itertools.count(1):
            aside = self._path.with_name(f"{FILE}.damaged-{number}")
            if not aside.exists():
                break
        try:
            for suffix in ("", "-wal", "-shm"):
                # What is left of its write-ahead log must not be played into the new file.
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        except OSError as refused:
            raise StoreFailed(f"the journal {self._path} is damaged and stays: {refused.strerror}") from error
        self.set_aside = aside
        log.error("the journal %s is damaged (%s): set aside as %s, starting empty", self._path, error, aside)
        return _connected(self._path)


def _connected(path: Path) -> sqlite3.Connection:
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    link = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    link.text_factory = _text
    try:
        link.execute("PRAGMA journal_mode=WAL")
        found = int(link.execute("PRAGMA user_version").fetchone()[0])
        if found > SCHEMA:
            raise StoreFailed(
                f"the journal {path} was written by a newer qingagent (schema {found}, this one knows {SCHEMA}): "
                "install that version again, or drain the node and remove the file",
                schema=found,
            )
        link.execute("PRAGMA synchronous=FULL")
        link.execute("BEGIN IMMEDIATE")
        link.execute(_BINDING)
        for table in codec.TABLES:
            link.execute(table.ddl)
            _grow(link, table)
        link.execute(f"PRAGMA user_version={SCHEMA}")
        link.execute("COMMIT")
    except BaseException:
        link.close()
        raise
    return link


def _read(link: sqlite3.Connection) -> Journal:
    verdict = link.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise _Damaged(verdict)
    records: list[Record] = []
    for table in codec.TABLES:
        lacking = _lacking(link, table)
        if lacking:
            raise _Damaged(f"table {table.name} has no {', '.join(column.name for column in lacking)}")
        names = [column.name for column in table.columns]
        rows = link.execute(f"SELECT {', '.join(names)} FROM {table.name} ORDER BY {', '.join(table.keys)}")
        records += [table.decode(row) for row in rows]
    bound = link.execute("SELECT boot_id, instance_id FROM binding").fetchone() or ("", "")
    return codec.journal((str(bound[0]), str(bound[1])), records)


def _grow(link: sqlite3.Connection, table: codec.Table) -> None:
    """Give a file of an older schema the columns that it can be given."""
    for column in _lacking(link, table):
        if column.default is not None or column.optional:
            literal = link.execute("SELECT quote(?)", (column.default,)).fetchone()[0]
            link.execute(f"ALTER TABLE {table.name} ADD COLUMN {column.ddl} DEFAULT {literal}")


def _lacking(link: sqlite3.Connection, table: codec.Table) -> list[codec.Column]:
    there = {row[1] for row in link.execute(f"PRAGMA table_info({table.name})")}
    return [column for column in table.columns if column.name not in there]


def _is_damage(error: Exception) -> bool:
    """The subclasses of DatabaseError are others: a full disk, a lock, a missing permission are no damage."""
    return isinstance(error, (_Damaged, ValueError)) or type(error) is sqlite3.DatabaseError


def _text(cell: bytes) -> str:
    """As sqlite3 does, but what is no UTF-8 is a ValueError instead of an OperationalError."""
    return cell.decode("utf-8")


def _insert(table: codec.Table) -> str:
    names = [column.name for column in table.columns]
    return f"INSERT OR REPLACE INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def _delete(table: codec.Table) -> str:
    return f"DELETE FROM {table.name} WHERE {' AND '.join(f'{key} = ?' for key in table.keys)}"


def _private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_mode & 0o077:
            directory.chmod(0o700)
    except OSError as error:
        raise StoreFailed(f"cannot use {directory} for the journal: {error.strerror}", path=str(directory)) from error
