# SPDX-License-Identifier: GPL-3.0-or-later
"""From schema to schema, each time in one transaction. PRAGMA user_version carries the number of a file's schema."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import typing as t
from pathlib import Path

from . import files, wal
from .failure import Damaged, StoreFailed
from .lock import WriterLock
from .migrations import MIGRATIONS, SCHEMA, WAYS_SINCE, Migration

log = logging.getLogger("hostnic.store")

_BEYOND: t.Final = (
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_SAVEPOINT,
    sqlite3.SQLITE_ATTACH,
    sqlite3.SQLITE_DETACH,
    sqlite3.SQLITE_PRAGMA,
)

Steps = t.Sequence[Migration]


class NoWay(Exception):
    """The file does not say how to leave its schema, or what it says leads elsewhere."""


def migrate(path: t.Union[str, Path], target: int) -> int:
    """Bring the journal at `path` to the schema `target`, up or down; returns the schema that it had.

    For going back to a program that cannot lead the file down by itself. A file that is not there needs nothing and
    counts as 0. Raises `StoreLocked` while an agent runs, `StoreFailed` where there is no way, with the file as it was.
    """
    path = Path(path)
    if not 1 <= target <= SCHEMA:
        raise StoreFailed(f"no schema {target} of the journal is known here: 1 to {SCHEMA} are")
    if not files.stands(path):
        return 0
    writer = WriterLock(path.parent)
    try:
        files.finish(path)
        inspect(path)
        with contextlib.closing(files.connect(path)) as link:
            found = version(link)
            lead(link, target)
    except (sqlite3.Error, OSError, Damaged, NoWay) as error:
        raise StoreFailed(f"the journal {path} cannot be led to schema {target}: {error}", path=str(path)) from error
    finally:
        writer.release()
    if found != target:
        log.warning("the journal %s had schema %d and has %d now", path, found, target)
    return found


def version(link: sqlite3.Connection) -> int:
    """The file's schema, 0 for a new file. Raises `Damaged` for what cannot be one."""
    found = int(link.execute("PRAGMA user_version").fetchone()[0])
    if found < 0 or (found == 0 and link.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]):
        raise Damaged(f"it has tables, but {found} for a schema")
    return found


def lead(link: sqlite3.Connection, target: int, migrations: Steps = MIGRATIONS) -> None:
    """Raises `NoWay` or sqlite3.Error with nothing changed. `migrations`: those that the program knows."""
    found = version(link)
    if found == target:
        return
    link.execute("PRAGMA synchronous=FULL")
    link.execute("BEGIN IMMEDIATE")
    try:
        if found < target:
            _up(link, found, target, migrations)
        else:
            _down(link, found, target, migrations)
        link.execute(f"PRAGMA user_version={target}")
        link.execute("COMMIT")
    except BaseException:
        if link.in_transaction:
            link.execute("ROLLBACK")
        raise


def inspect(path: Path) -> None:
    """Raises `Damaged`, sqlite3.Error, OSError. File and log stay as they are: a link that writes would merge them."""
    wal.check(path)
    if path.exists():
        with contextlib.closing(files.connect(path, readonly=True)) as link:
            check(link)


def check(link: sqlite3.Connection, migrations: Steps = MIGRATIONS) -> None:
    """Raises `Damaged` where pages are, or where tables are not those of the file's schema if that is known."""
    verdict = link.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise Damaged(verdict)
    found = version(link)
    stray = _stray(link, found, migrations) if found <= migrations[-1].version else ""
    if stray:
        raise Damaged(stray)


def columns(link: sqlite3.Connection, table: str) -> set[str]:
    """Their names, none where there is no such table."""
    return {row[1] for row in link.execute(f"PRAGMA table_info({table})")}


def _up(link: sqlite3.Connection, found: int, target: int, migrations: Steps) -> None:
    for migration in migrations:
        if found < migration.version <= target:
            for statement in migration.up:
                link.execute(statement)
    for migration in migrations:
        if WAYS_SINCE <= migration.version <= target:
            link.execute("DELETE FROM way_down WHERE version = ?", (migration.version,))
            rows = [(migration.version, step, statement) for step, statement in enumerate(migration.down)]
            link.executemany("INSERT INTO way_down (version, step, statement) VALUES (?, ?, ?)", rows)


def _down(link: sqlite3.Connection, found: int, target: int, migrations: Steps) -> None:
    """The steps that this program knows are its own; those of newer schemas are the file's. Raises `NoWay`."""
    known = {migration.version: migration.down for migration in migrations}
    for number in range(found, target, -1):
        statements = known.get(number) or _stored(link, number)
        if not statements:
            raise NoWay(f"it does not say how to leave schema {number}")
        link.execute("DELETE FROM way_down WHERE version = ?", (number,))
        link.set_authorizer(_within)
        try:
            for statement in statements:
                link.execute(statement)
        except (TypeError, ValueError, sqlite3.Warning) as error:
            raise NoWay(f"a step down from schema {number} is no statement: {error}") from error
        finally:
            link.set_authorizer(_anything)
    stray = _stray(link, target, migrations)
    if stray:
        raise NoWay(f"its way down leads elsewhere: {stray}")


def _within(action: int, *__: t.Any) -> int:
    """Nothing that a file says may end the transaction, or reach beyond the file."""
    return sqlite3.SQLITE_DENY if action in _BEYOND else sqlite3.SQLITE_OK


def _anything(*__: t.Any) -> int:
    """None, for no authorizer, came with Python 3.11."""
    return sqlite3.SQLITE_OK


def _stored(link: sqlite3.Connection, number: int) -> tuple[str, ...]:
    """Empty where the steps are not all there."""
    rows = link.execute("SELECT step, statement FROM way_down WHERE version = ? ORDER BY step", (number,)).fetchall()
    return tuple(row[1] for row in rows) if [row[0] for row in rows] == list(range(len(rows))) else ()


def _stray(link: sqlite3.Connection, number: int, migrations: Steps) -> str:
    """What the file's tables lack, or have too much, for this schema; tables of other names are nobody's business."""
    with contextlib.closing(sqlite3.connect(":memory:")) as model:
        for migration in migrations:
            if migration.version <= number:
                for statement in migration.up:
                    model.execute(statement)
        for (table,) in model.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
            there, wanted = columns(link, table), columns(model, table)
            if not there:
                return f"it has no table {table}"
            if there != wanted:
                return f"the columns of table {table} are not schema {number}'s: {', '.join(sorted(there ^ wanted))}"
    return ""
