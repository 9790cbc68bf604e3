# SPDX-License-Identifier: GPL-3.0-or-later
"""Records as rows, for any dataclass of `model.RECORDS`: real columns, so that `sqlite3` shows them to a person.

Tuples and dicts are JSON, booleans 0 and 1, a state its name.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import MISSING, Field, dataclass, fields
from enum import Enum

from ..model import RECORDS, Intent, KnownVxnet, Lease, Nic, Record
from ..ports import Journal

Cell = t.Union[str, int, float, None]
Row = tuple[Cell, ...]

_SQL: t.Final[t.Mapping[type, str]] = {str: "TEXT", int: "INTEGER", bool: "INTEGER", float: "REAL"}


class BadRow(ValueError):
    """A row that no record can be made of: the file is damaged."""


@dataclass(frozen=True)
class Column:
    """`kind`: the Python type of the field, `sql`: the column's. `default`: for rows of an older schema."""

    name: str
    kind: t.Any
    optional: bool
    sql: str
    default: Cell = None

    @property
    def ddl(self) -> str:
        return f"{self.name} {self.sql}" + ("" if self.optional else " NOT NULL")


@dataclass(frozen=True)
class Table:
    """`keys`: the columns that name a row."""

    name: str
    record: type
    columns: tuple[Column, ...]
    keys: tuple[str, ...]

    @property
    def ddl(self) -> str:
        lines = ", ".join(column.ddl for column in self.columns)
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({lines}, PRIMARY KEY ({', '.join(self.keys)}))"

    def encode(self, record: Record) -> Row:
        return tuple(_encoded(getattr(record, column.name)) for column in self.columns)

    def decode(self, row: t.Sequence[Cell]) -> Record:
        """Raises `BadRow`."""
        pairs = zip(self.columns, row)
        made: Record = self.record(**{column.name: _decoded(self, column, cell) for column, cell in pairs})
        return made

    def key(self, record: Record) -> Row:
        return tuple(_encoded(getattr(record, name)) for name in self.keys)


def table_of(record: Record) -> Table:
    """Raises TypeError for what is no record."""
    table = _BY_TYPE.get(type(record))
    if table is None:
        raise TypeError(f"{type(record).__name__} is no record of the journal")
    return table


def journal(binding: tuple[str, str], records: t.Iterable[Record]) -> Journal:
    """Records of all kinds sorted into their places; each kind keeps its order."""
    every = list(records)
    return Journal(
        binding,
        nics=tuple(one for one in every if isinstance(one, Nic)),
        leases=tuple(one for one in every if isinstance(one, Lease)),
        intents=tuple(one for one in every if isinstance(one, Intent)),
        vxnets=tuple(one for one in every if isinstance(one, KnownVxnet)),
    )


def _table(record: type) -> Table:
    hints = t.get_type_hints(record)
    columns = tuple(_column(field, hints[field.name]) for field in fields(record))
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", record.__name__).lower()
    return Table(name, record, columns, tuple(vars(record)["key"]))


def _column(field: Field[t.Any], hint: t.Any) -> Column:
    among = [kind for kind in t.get_args(hint) if kind is not type(None)]
    optional = t.get_origin(hint) is t.Union and len(among) == 1
    kind = among[0] if optional else hint
    kind = t.get_origin(kind) or kind
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    cell = None if default is MISSING else _encoded(default)
    if kind in (tuple, dict) or issubclass(kind, Enum):
        return Column(field.name, kind, optional, "TEXT", cell)
    return Column(field.name, kind, optional, _SQL[kind], cell)


def _encoded(value: t.Any) -> Cell:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (tuple, dict)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    cell: Cell = value
    return cell


def _decoded(table: Table, column: Column, cell: Cell) -> t.Any:
    kind = column.kind
    try:
        if cell is None and column.optional:
            return None
        if kind in (tuple, dict):
            content = json.loads(str(cell))
            if isinstance(content, list if kind is tuple else dict):
                return kind(content)
        elif issubclass(kind, Enum) or isinstance(cell, str if kind is str else (int, float)):
            return kind(cell)
    except ValueError as error:
        raise BadRow(f"table {table.name}, column {column.name}: {cell!r}") from error
    raise BadRow(f"table {table.name}, column {column.name}: {cell!r}")


TABLES: t.Final[tuple[Table, ...]] = tuple(_table(record) for record in RECORDS)
_BY_TYPE: t.Final[t.Mapping[type, Table]] = {table.record: table for table in TABLES}
