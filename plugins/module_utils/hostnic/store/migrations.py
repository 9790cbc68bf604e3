# SPDX-License-Identifier: GPL-3.0-or-later
"""The schemas of the journal, as steps from each to the next and back.

A released step is never changed, only followed by another. A new field of a record, a new record, or a new name of a
state, purpose or action that an older program would stumble over, is a new step.

The statements keep to SQLite 3.34 (Enterprise Linux 9), hence tables are rebuilt where a column goes: DROP COLUMN came
with 3.35. New columns stand at the end, in the order of the record's fields.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass


@dataclass(frozen=True)
class Migration:
    """`up` leads from `version` - 1 to `version`, `down` back: SQL statements, one each, in this order.

    `down` is written into the journal itself when `up` has been carried out, because the program that needs it is one
    that was released before.
    """

    version: int
    up: tuple[str, ...]
    down: tuple[str, ...]


_NIC_1 = (
    "CREATE TABLE nic (nic_id TEXT NOT NULL, vxnet_id TEXT NOT NULL, private_ip TEXT NOT NULL, state TEXT NOT NULL, "
    "since REAL NOT NULL, purpose TEXT NOT NULL, doomed INTEGER NOT NULL, prewarmed INTEGER NOT NULL, "
    "attempts INTEGER NOT NULL, note TEXT NOT NULL, PRIMARY KEY (nic_id))"
)
_LEASE_1 = (
    "CREATE TABLE lease (network TEXT NOT NULL, container_id TEXT NOT NULL, ifname TEXT NOT NULL, "
    "nic_id TEXT NOT NULL, since REAL NOT NULL, netns_inode INTEGER NOT NULL, ifindex INTEGER NOT NULL, "
    "args TEXT NOT NULL, PRIMARY KEY (network, container_id, ifname))"
)
_INTENT_1 = (
    "CREATE TABLE intent (intent_id TEXT NOT NULL, action TEXT NOT NULL, since REAL NOT NULL, vxnet_id TEXT NOT NULL, "
    "count INTEGER NOT NULL, nic_ids TEXT NOT NULL, job_id TEXT NOT NULL, purpose TEXT NOT NULL, "
    "PRIMARY KEY (intent_id))"
)
_VXNET_1 = (
    "CREATE TABLE known_vxnet (vxnet_id TEXT NOT NULL, network TEXT NOT NULL, gateway TEXT NOT NULL, "
    "router_id TEXT NOT NULL, PRIMARY KEY (vxnet_id))"
)
_WAY_DOWN_2 = (
    "CREATE TABLE way_down (version INTEGER NOT NULL, step INTEGER NOT NULL, statement TEXT NOT NULL, "
    "PRIMARY KEY (version, step))"
)
_STATES_1 = (
    "'DETACHED', 'ATTACHING', 'READY', 'RESERVED', 'IN_USE', 'QUARANTINE', 'DRAINING', 'DETACHING', 'DELETING', "
    "'GATEWAY', 'BROKEN'"
)


def _rebuilt(table: str, ddl: str, columns: str) -> tuple[str, ...]:
    """The table made anew by `ddl` with these columns of its rows."""
    return (
        f"ALTER TABLE {table} RENAME TO {table}_before",
        ddl,
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_before ORDER BY rowid",
        f"DROP TABLE {table}_before",
    )


MIGRATIONS: t.Final[tuple[Migration, ...]] = (
    Migration(
        1,
        up=(
            _NIC_1,
            _LEASE_1,
            _INTENT_1,
            _VXNET_1,
            "CREATE TABLE binding (one INTEGER PRIMARY KEY CHECK (one = 1), boot_id TEXT, instance_id TEXT)",
        ),
        down=(),
    ),
    # Fixed addresses, unused NICs, addresses of the host, facts about the cloud; and the way down itself.
    Migration(
        2,
        up=(
            "ALTER TABLE nic ADD COLUMN workload TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE nic ADD COLUMN keep REAL NOT NULL DEFAULT 0.0",
            "ALTER TABLE nic ADD COLUMN marked REAL NOT NULL DEFAULT 0.0",
            "ALTER TABLE intent ADD COLUMN private_ips TEXT NOT NULL DEFAULT '[]'",
            "ALTER TABLE known_vxnet ADD COLUMN host_address TEXT NOT NULL DEFAULT ''",
            "CREATE TABLE fact (name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (name))",
            _WAY_DOWN_2,
        ),
        # What schema 1 does without: a NIC kept for a workload rests and then serves any pod; a mark is set again once
        # the program is back; a create whose outcome is open is found again by its NICs' name; the host's addresses
        # and the facts are read or found out again. A state that is unknown there would make its row unreadable: HELD
        # is a NIC in parking that rests, of any other only cloud and kernel can say where it is, which BROKEN asks.
        down=(
            "UPDATE nic SET state = 'QUARANTINE' WHERE state = 'HELD'",
            f"UPDATE nic SET note = 'was ' || state, state = 'BROKEN' WHERE state NOT IN ({_STATES_1})",
            *_rebuilt(
                "nic",
                _NIC_1,
                "nic_id, vxnet_id, private_ip, state, since, purpose, doomed, prewarmed, attempts, note",
            ),
            *_rebuilt("intent", _INTENT_1, "intent_id, action, since, vxnet_id, count, nic_ids, job_id, purpose"),
            *_rebuilt("known_vxnet", _VXNET_1, "vxnet_id, network, gateway, router_id"),
            "DROP TABLE fact",
            "DROP TABLE way_down",
        ),
    ),
)
SCHEMA: t.Final = MIGRATIONS[-1].version
WAYS_SINCE: t.Final = 2  # the first schema with the table `way_down`
