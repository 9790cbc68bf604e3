# SPDX-License-Identifier: GPL-3.0-or-later
"""A journal that is gone with its process: for modules that keep nothing, and for tests."""

from __future__ import annotations

import threading
import typing as t

from ..model import Record
from ..ports import Journal
from . import codec
from .failure import StoreFailed


class MemoryStore:
    """See `ports.Store`. Keeps rows, not records, so that it keeps exactly what the file would."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, dict[codec.Row, codec.Row]] = {table.name: {} for table in codec.TABLES}
        self._binding = ("", "")
        self._closed = False

    def load(self) -> Journal:
        with self._use():
            return codec.journal(
                self._binding,
                (
                    table.decode(self._rows[table.name][key])
                    for table in codec.TABLES
                    for key in sorted(self._rows[table.name], key=_order)
                ),
            )

    def set_aside(self, why: str) -> None:
        with self._use():
            self._rows = {table.name: {} for table in codec.TABLES}
            self._binding = ("", "")

    def bind(self, boot_id: str, instance_id: str) -> None:
        with self._use():
            self._binding = (boot_id, instance_id)

    def write(self, put: t.Iterable[Record] = (), drop: t.Iterable[Record] = (), durable: bool = False) -> None:
        puts = [
            (table, table.key(record), table.encode(record)) for record in put for table in (codec.table_of(record),)
        ]
        drops = [(table, table.key(record)) for record in drop for table in (codec.table_of(record),)]
        with self._use():
            for table, key, row in puts:
                self._rows[table.name][key] = row
            for table, key in drops:
                self._rows[table.name].pop(key, None)

    def close(self) -> None:
        self._closed = True

    def _use(self) -> threading.Lock:
        if self._closed:
            raise StoreFailed("the journal is closed")
        return self._lock


def _order(key: codec.Row) -> tuple[str, ...]:
    return tuple(str(cell) for cell in key)
