# SPDX-License-Identifier: GPL-3.0-or-later
"""What can still be read of a damaged journal.

Every row that decodes is carried over, also from a file with damaged pages. A row may then be older than the last one
written, which no check can tell; that is accepted for what the rows are used for:

* A lease keeps its NIC from being handed to another pod and lets DEL find it. One too few may take a live pod's NIC,
  one too many keeps a NIC idle until the kernel shows its link outside of pods.
* A NIC's state is a witness among three. A link is given to a pod only out of parking, where the kernel has to have it,
  and a NIC is detached or deleted only on the cloud's word, given anew, that it is ours.

Single rows were never written alone: those that lost their counterpart are set to what asks the kernel (`_agreeing`).
Without the binding neither the boot that the times belong to nor the owner of the NICs is known: then only what the
cloud told and what was found out about it is carried over.
"""

from __future__ import annotations

import contextlib
import sqlite3
import typing as t
from dataclasses import replace

from ..model import Fact, KnownVxnet, Lease, Nic, Record
from ..ports import Journal
from ..states import State
from . import codec, schema

_WITH_A_POD: t.Final = (State.RESERVED, State.IN_USE)
_STATES: t.Final = frozenset(state.value for state in State)


def read(link: sqlite3.Connection) -> Journal:
    """Raises nothing for damage, of whatever kind: there is then only less."""
    records = [record for table in codec.TABLES for record in _records(link, table)]
    binding = _binding(link)
    if binding is None:
        return codec.journal(("", ""), (record for record in records if isinstance(record, (KnownVxnet, Fact))))
    return codec.journal(binding, _agreeing(records))


def _binding(link: sqlite3.Connection) -> t.Optional[tuple[str, str]]:
    with contextlib.suppress(sqlite3.Error, codec.BadRow):
        return codec.binding(link.execute(codec.BINDING).fetchone())
    return None


def _records(link: sqlite3.Connection, table: codec.Table) -> t.Iterator[Record]:
    try:
        there = schema.columns(link, table.name)
    except sqlite3.Error:
        return
    columns = [column for column in table.columns if column.name in there]
    if not columns:
        return
    for row in _rows(link, table, columns):
        cells = [_known(table, column, cell) for column, cell in zip(columns, row)]
        with contextlib.suppress(codec.BadRow):
            yield table.decode(cells, columns)


def _known(table: codec.Table, column: codec.Column, cell: codec.Cell) -> codec.Cell:
    """A state of another program's: cloud and kernel are asked where the NIC is."""
    return State.BROKEN.value if column.kind is State and cell not in _STATES else cell


def _rows(link: sqlite3.Connection, table: codec.Table, columns: t.Sequence[codec.Column]) -> list[codec.Row]:
    """Oldest first: from the start and from the end up to a damaged page, then those that the index knows of."""
    names = ", ".join(column.name for column in columns)
    select = f"SELECT rowid, {names} FROM {table.name}"
    found: dict[int, codec.Row] = {}  # `update` keeps what came before an error
    for order in ("", "DESC"):
        with contextlib.suppress(sqlite3.Error):
            found.update((row[0], row[1:]) for row in link.execute(f"{select} ORDER BY rowid {order}"))
    for number in _indexed(link, table) - found.keys():
        with contextlib.suppress(sqlite3.Error):
            found.update((row[0], row[1:]) for row in link.execute(f"{select} WHERE rowid = ?", (number,)))
    return [found[number] for number in sorted(found)]


def _indexed(link: sqlite3.Connection, table: codec.Table) -> set[int]:
    found: set[int] = set()
    for order in ("", "DESC"):
        by_key = ", ".join(f"{key} {order}" for key in table.keys)
        with contextlib.suppress(sqlite3.Error):
            found.update(row[0] for row in link.execute(f"SELECT rowid FROM {table.name} ORDER BY {by_key}"))
    return found


def _agreeing(records: t.Iterable[Record]) -> list[Record]:
    """One lease for a NIC, the youngest. A NIC with a lease has a pod, one without has none.

    Where the lease was lost the NIC is BROKEN: nobody gets it before its link is back in parking. Where the NIC's part
    was lost it is IN_USE: the lease ends when the link is seen outside of pods.
    """
    records = list(records)
    leases: dict[str, Lease] = {}
    for lease in sorted((one for one in records if isinstance(one, Lease)), key=lambda lease: lease.since):
        leases[lease.nic_id] = lease
    kept: list[Record] = []
    for record in records:
        if isinstance(record, Nic):
            kept.append(_in_doubt(record, record.nic_id in leases))
        elif not isinstance(record, Lease) or leases[record.nic_id] is record:
            kept.append(record)
    return kept


def _in_doubt(nic: Nic, leased: bool) -> Nic:
    if leased and nic.state not in _WITH_A_POD:
        return replace(nic, state=State.IN_USE, note="salvaged: it has a lease")
    if not leased and nic.state in _WITH_A_POD:
        return replace(nic, state=State.BROKEN, note="salvaged: its lease was lost")
    return nic
