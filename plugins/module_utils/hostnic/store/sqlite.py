# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal in a SQLite file (WAL): `sqlite3 state.db 'select * from nic'` is all that support needs.

Normal writes survive the process, durable ones also the power (https://sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import typing as t
from pathlib import Path

from .. import guarded
from ..model import Record
from ..ports import Journal
from . import codec, files, salvage, schema
from .failure import Damaged, StoreFailed, is_damage
from .lock import WriterLock
from .migrations import SCHEMA

log = logging.getLogger("hostnic.store")

FILE: t.Final = "state.db"
_BIND: t.Final = "INSERT OR REPLACE INTO binding (one, boot_id, instance_id) VALUES (1, ?, ?)"

Statements = t.Sequence[tuple[str, codec.Row]]


class SqliteStore:
    """See `ports.Store`. `statedir` is made if need be, and closed to others. Safe for several threads.

    Raises `StoreLocked` where another process writes there, `StoreFailed` for a newer schema without a way down and
    for a refusing disk. A damaged file is kept aside and what can be read of it carried over (see `salvage`); one that
    is removed or replaced while it is in use is written anew. `kept_as`: where the file before is, if any was. Raises
    `InvalidConfig` where others than root have had a hand in the directory or the files that are there.
    """

    def __init__(self, statedir: t.Union[str, Path]) -> None:
        directory = Path(statedir)
        self._path = directory / FILE
        self._log = directory / f"{FILE}-wal"
        self._mutex = threading.Lock()
        self._closed = False
        self._link: t.Optional[sqlite3.Connection] = None
        self._inode: t.Optional[files.Inode] = None
        self._log_inode: t.Optional[files.Inode] = None
        self._durable: t.Optional[bool] = None  # as the link is set, None before its first write
        self.kept_as: t.Optional[Path] = None
        guarded.place(directory, "statedir")
        _private(directory)
        self._writer = WriterLock(directory)
        try:
            with self._using():
                self._open()
        except BaseException:
            self._writer.release()
            raise

    def load(self) -> Journal:
        with self._using():
            try:
                return _content(self._live())
            except (Damaged, sqlite3.DatabaseError) as error:
                self._salvage(error)
                return _content(self._live())

    def set_aside(self, why: str) -> None:
        with self._using():
            self._stay_in_place(thorough=True)
            with contextlib.suppress(sqlite3.DatabaseError):  # then its log is kept beside it
                self._live().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._renew(why, Journal(("", "")))
            log.warning("the journal %s is kept as %s (%s), an empty one is begun", self._path, self.kept_as, why)

    def bind(self, boot_id: str, instance_id: str) -> None:
        self._transact([(_BIND, (boot_id, instance_id))], durable=True)

    def write(self, put: t.Iterable[Record] = (), drop: t.Iterable[Record] = (), durable: bool = False) -> None:
        statements: list[tuple[str, codec.Row]] = []
        for record in put:
            table = codec.table_of(record)
            statements.append((table.insert, table.encode(record)))
        for record in drop:
            table = codec.table_of(record)
            statements.append((table.delete, table.key(record)))
        if statements:
            self._transact(statements, durable)

    def close(self) -> None:
        """Twice is once."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            try:
                self._stay_in_place(thorough=True)
            except (StoreFailed, Damaged, sqlite3.Error, OSError) as error:
                log.error("the journal %s was removed and is lost: %s", self._path, error)
            self._shut()
            self._writer.release()

    # -- inside; the mutex is held -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _using(self) -> t.Iterator[None]:
        with self._mutex:
            if self._closed:
                raise StoreFailed(f"the journal {self._path} is closed")
            try:
                yield
            except (sqlite3.Error, OSError, Damaged, UnicodeError, OverflowError) as error:
                raise StoreFailed(f"the journal {self._path} failed: {error}", path=str(self._path)) from error

    def _live(self) -> sqlite3.Connection:
        """Opened again where an exchange failed half-way."""
        if self._link is None:
            self._open()
        return t.cast(sqlite3.Connection, self._link)

    def _transact(self, statements: Statements, durable: bool) -> None:
        with self._using():
            self._stay_in_place(durable)
            try:
                self._commit(statements, durable)
            except sqlite3.DatabaseError as error:
                self._salvage(error)
                self._commit(statements, durable)

    def _commit(self, statements: Statements, durable: bool) -> None:
        link = self._live()
        if durable is not self._durable:
            # Not inside a transaction: there, this pragma does nothing.
            link.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        link.execute("BEGIN IMMEDIATE")
        try:
            for statement, row in statements:
                link.execute(statement, row)
            link.execute("COMMIT")
        except BaseException:
            if link.in_transaction:
                link.execute("ROLLBACK")
            raise

    def _stay_in_place(self, thorough: bool) -> None:
        """SQLite would go on writing to files without names, and all of it would be gone with this process.

        Normal writes look for the file alone, to be quick; `thorough` for its log too.
        """
        if self._link is None or (
            files.inode(self._path) == self._inode and not (thorough and files.inode(self._log) != self._log_inode)
        ):
            return
        _private(self._path.parent)
        if not self._writer.stands():
            writer = WriterLock(self._path.parent)
            self._writer.release()
            self._writer = writer
        try:
            content = _content(self._link)
        except (Damaged, sqlite3.DatabaseError) as error:
            if not is_damage(error):
                raise
            content = salvage.read(self._link)
        self._renew("replaced", content)
        log.error(
            "the journal %s was removed or replaced while it was in use: it is written anew with its %d records%s",
            self._path,
            _count(content),
            f", what was in its place is kept as {self.kept_as}" if self.kept_as else "",
        )

    def _open(self) -> None:
        files.refuse_planted(self._path)
        files.finish(self._path)
        try:
            self._take(_opened(self._path))
        except (Damaged, sqlite3.DatabaseError) as error:
            self._salvage(error)

    def _salvage(self, error: Exception) -> None:
        """Raises `error` again where it is no damage."""
        if not is_damage(error):
            raise error
        content = _rest(self._path)
        self._renew("damaged", content)
        log.error(
            "the journal %s is damaged (%s): it is kept as %s, and a new one begun with %d of its records",
            self._path,
            error,
            self.kept_as,
            _count(content),
        )

    def _renew(self, why: str, content: Journal) -> None:
        """Another file with this content; the present one stays in use until that is complete."""
        _build(files.building(self._path), content)
        self._shut()
        if files.inode(self._path) != self._inode and files.inode(self._log) == self._log_inode:
            self._log.unlink(missing_ok=True)  # of a file that is gone: nobody else's may be read with it
        self.kept_as = files.install(self._path, why)
        self._take(_opened(self._path))

    def _take(self, link: sqlite3.Connection) -> None:
        self._link = link
        self._durable = None
        self._inode = files.inode(self._path)
        self._log_inode = files.inode(self._log)

    def _shut(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None


def read(statedir: Path) -> Journal:
    """What the journal there says, which is left as it is; an empty one where there is none.

    Raises `StoreFailed`, and `InvalidConfig` where others than root have had a hand in it.
    """
    path = statedir / FILE
    guarded.place(statedir, "statedir")
    files.refuse_planted(path)
    if not path.exists():
        return Journal(("", ""))
    try:
        with contextlib.closing(files.connect(path, readonly=True)) as link:
            found = schema.version(link)
            if found != SCHEMA:
                raise StoreFailed(f"the journal {path} has schema {found}, not {SCHEMA}: start the agent once")
            return _content(link)
    except (sqlite3.Error, OSError, Damaged) as error:
        raise StoreFailed(f"the journal {path} cannot be read: {error}", path=str(path)) from error


def _opened(path: Path) -> sqlite3.Connection:
    """At the present schema. Raises `Damaged`, `StoreFailed`, sqlite3.Error, OSError."""
    if path.exists() and not path.is_file():
        raise Damaged("it is no regular file")
    schema.inspect(path)
    link = files.connect(path)
    try:
        found = schema.version(link)
        if found > SCHEMA:
            _lead_back(link, path, found)
        schema.lead(link, SCHEMA)
        if 0 < found < SCHEMA:
            log.info("the journal %s had schema %d and has %d now", path, found, SCHEMA)
        link.execute("PRAGMA journal_mode=WAL")
        schema.version(link)  # the first reading makes the log's file, which `_stay_in_place` knows
    except BaseException:
        link.close()
        raise
    return link


def _lead_back(link: sqlite3.Connection, path: Path, found: int) -> None:
    try:
        schema.lead(link, SCHEMA)
    except (schema.NoWay, sqlite3.Error) as error:
        raise StoreFailed(
            f"the journal {path} was written by a newer qingagent (schema {found}, this one knows {SCHEMA}): "
            "install that version again, or drain the node and remove the file",
            schema=found,
            why=str(error),
        ) from error
    log.warning(
        "the journal %s was written by a newer qingagent: it was led from schema %d back to %d, and what only that one "
        "knows is gone",
        path,
        found,
        SCHEMA,
    )


def _content(link: sqlite3.Connection) -> Journal:
    """Raises `Damaged`, sqlite3.Error."""
    records = [table.decode(row) for table in codec.TABLES for row in link.execute(table.select)]
    return codec.journal(codec.binding(link.execute(codec.BINDING).fetchone()), records)


def _rest(path: Path) -> Journal:
    """What can be read of a damaged file; the file and its log stay as they are."""
    if path.exists() and not path.is_file():
        return Journal(("", ""))
    if not path.exists() or not path.stat().st_size:
        # SQLite deletes the log of an empty file; where there is a page, it reads what the log has instead.
        with path.open("ab") as file:
            file.truncate(4096)
    with contextlib.closing(files.connect(path, readonly=True)) as link:
        return salvage.read(link)


def _build(path: Path, content: Journal) -> None:
    """A complete file, on disk."""
    with contextlib.closing(files.connect(path)) as link:
        schema.lead(link, SCHEMA)
        link.execute("BEGIN IMMEDIATE")
        if content.binding != ("", ""):
            link.execute(_BIND, content.binding)
        for record in _records(content):
            table = codec.table_of(record)
            link.execute(table.insert, table.encode(record))
        link.execute("COMMIT")


def _records(content: Journal) -> tuple[Record, ...]:
    return (*content.nics, *content.leases, *content.intents, *content.vxnets, *content.facts)


def _count(content: Journal) -> int:
    return len(_records(content))


def _private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_mode & 0o077:
            directory.chmod(0o700)
    except OSError as error:
        raise StoreFailed(f"cannot use {directory} for the journal: {error.strerror}", path=str(directory)) from error
