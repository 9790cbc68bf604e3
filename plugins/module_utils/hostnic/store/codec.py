# SPDX-License-Identifier: GPL-3.0-or-later
"""Records as rows, for any dataclass of `model.RECORDS`: real columns, so that `sqlite3` shows them to a person.

Tuples and dicts, whose items are text, are JSON; booleans are 0 and 1, a state is its name. The tables themselves are
made by `migrations`; a test compares.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import Field, dataclass, fields
from enum import Enum
from operator import attrgetter

from ..model import RECORDS, Fact, Intent, KnownVxnet, Lease, Nic, Record
from ..ports import Journal
from .failure import Damaged

Cell = t.Union[str, bytes, int, float, None]
Row = tuple[Cell, ...]

_AS_IT_IS: t.Final = frozenset((str, int, float, type(None)))
_SQL: t.Final[t.Mapping[type, str]] = {str: "TEXT", int: "INTEGER", bool: "INTEGER", float: "REAL"}


# ASCII: CNI_ARGS need not be UTF-8, and SQLite's text has to be. One encoder: `json.dumps` makes one for each call.
_JSON: t.Final = json.JSONEncoder(sort_keys=True)
BINDING: t.Final = "SELECT boot_id, instance_id FROM binding"


class BadRow(Damaged):
    """A row that no record can be made of."""


@dataclass(frozen=True)
class Column:
    """`kind`: the Python type of the field, `sql`: the column's."""

    name: str
    kind: t.Any
    optional: bool
    sql: str


@dataclass(frozen=True)
class Table:
    """`keys`: the columns that name a row. `insert` takes a row, `delete` its keys, `select` gives every row.

    `values`: a record's, in the order of the columns.
    """

    name: str
    record: type
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    insert: str
    delete: str
    select: str
    values: t.Callable[[Record], tuple[t.Any, ...]]

    def encode(self, record: Record) -> Row:
        return tuple(map(_encoded, self.values(record)))

    def decode(self, row: t.Sequence[Cell], columns: t.Sequence[Column] = ()) -> Record:
        """`columns`: those of the row where it has not all of them; the record's defaults stand in. Raises `BadRow`."""
        values = {column.name: _decoded(self, column, cell) for column, cell in zip(columns or self.columns, row)}
        try:
            made: Record = self.record(**values)
        except TypeError as error:
            raise BadRow(f"table {self.name}: {error}") from error
        return made

    def key(self, record: Record) -> Row:
        return tuple(_encoded(getattr(record, name)) for name in self.keys)


def table_of(record: Record) -> Table:
    """Raises TypeError for what is no record."""
    table = _BY_TYPE.get(type(record))
    if table is None:
        raise TypeError(f"{type(record).__name__} is no record of the journal")
    return table


def binding(row: t.Optional[t.Sequence[Cell]]) -> tuple[str, str]:
    """(boot id, instance id), empty where there is no row. Raises `BadRow`."""
    boot_id, instance_id = row or ("", "")
    if isinstance(boot_id, str) and isinstance(instance_id, str):
        return boot_id, instance_id
    raise BadRow(f"table binding: {row!r}")


def journal(binding: tuple[str, str], records: t.Iterable[Record]) -> Journal:
    """Records of all kinds sorted into their places; each kind keeps its order."""
    every = list(records)
    return Journal(
        binding,
        nics=tuple(one for one in every if isinstance(one, Nic)),
        leases=tuple(one for one in every if isinstance(one, Lease)),
        intents=tuple(one for one in every if isinstance(one, Intent)),
        vxnets=tuple(one for one in every if isinstance(one, KnownVxnet)),
        facts=tuple(one for one in every if isinstance(one, Fact)),
    )


def _table(record: type) -> Table:
    hints = t.get_type_hints(record)
    columns = tuple(_column(field, hints[field.name]) for field in fields(record))
    table = re.sub(r"(?<!^)(?=[A-Z])", "_", record.__name__).lower()
    keys: tuple[str, ...] = tuple(vars(record)["key"])
    names = ", ".join(column.name for column in columns)
    changes = ", ".join(f"{column.name} = excluded.{column.name}" for column in columns if column.name not in keys)
    # a row that is there is changed in its place: to replace it would write the pages of its index as well
    upsert = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"
    return Table(
        table,
        record,
        columns,
        keys,
        insert=f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))}) {upsert}",
        delete=f"DELETE FROM {table} WHERE {' AND '.join(f'{key} = ?' for key in keys)}",
        select=f"SELECT {names} FROM {table} ORDER BY {', '.join(keys)}",
        values=attrgetter(*(column.name for column in columns)),
    )


def _column(field: Field[t.Any], hint: t.Any) -> Column:
    among = [kind for kind in t.get_args(hint) if kind is not type(None)]
    optional = t.get_origin(hint) is t.Union and len(among) == 1
    kind = among[0] if optional else hint
    kind = t.get_origin(kind) or kind
    text = kind in (tuple, dict) or issubclass(kind, Enum)
    return Column(field.name, kind, optional, "TEXT" if text else _SQL[kind])


def _encoded(value: t.Any) -> Cell:
    cell: Cell = value
    if type(value) in _AS_IT_IS:  # most are, and an ADD encodes four rows
        return cell
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (tuple, dict)):
        return _JSON.encode(value)
    return cell


def _decoded(table: Table, column: Column, cell: Cell) -> t.Any:
    kind = column.kind
    try:
        if cell is None and column.optional:
            return None
        if kind in (tuple, dict):
            return kind(_items(kind, cell))
        if issubclass(kind, Enum) or isinstance(cell, str if kind is str else (int, float)):
            return kind(cell)
    except (ValueError, OverflowError, RecursionError) as error:
        raise BadRow(f"table {table.name}, column {column.name}: {cell!r}") from error
    raise BadRow(f"table {table.name}, column {column.name}: {cell!r}")


def _items(kind: type, cell: Cell) -> t.Any:
    """The content of a JSON array or object of texts. Raises ValueError, RecursionError."""
    content: t.Any = json.loads(cell) if isinstance(cell, str) else None
    if not isinstance(content, list if kind is tuple else dict):
        raise ValueError(f"no {kind.__name__}")
    items: t.Iterable[t.Any] = content.values() if isinstance(content, dict) else content
    if not all(isinstance(item, str) for item in items):
        raise ValueError("not all of it is text")
    return content


TABLES: t.Final[tuple[Table, ...]] = tuple(_table(record) for record in RECORDS)
_BY_TYPE: t.Final[t.Mapping[type, Table]] = {table.record: table for table in TABLES}
