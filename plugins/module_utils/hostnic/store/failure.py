# SPDX-License-Identifier: GPL-3.0-or-later
"""What a store can fail with."""

from __future__ import annotations

import sqlite3

from ..errors import HostnicError


class StoreFailed(HostnicError):
    """The journal cannot be opened, read or written; the message says which file and why."""


class StoreLocked(StoreFailed):
    """Another process is its writer; `pid` in the details where it is known."""

    transient = True


class Damaged(Exception):
    """The file is no journal, or not one that can be read; never leaves the store."""


def is_damage(error: BaseException) -> bool:
    """The subclasses of DatabaseError are others: a full disk, a lock, a missing permission are no damage."""
    return isinstance(error, Damaged) or error.__class__ is sqlite3.DatabaseError
