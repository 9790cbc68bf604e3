# SPDX-License-Identifier: GPL-3.0-or-later
"""What a store can fail with."""

from __future__ import annotations

from ..errors import HostnicError


class StoreFailed(HostnicError):
    """The journal cannot be opened, read or written; the message says which file and why."""


class StoreLocked(StoreFailed):
    """Another process is its writer; `pid` in the details where it is known."""

    transient = True
