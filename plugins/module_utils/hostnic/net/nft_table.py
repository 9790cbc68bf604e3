# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the table `ip qingcni` as it should be: at start, on change, and when somebody has flushed it away.

`nft flush ruleset`, which a restart of nftables.service runs, takes every table along.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
import threading
import typing as t
from contextlib import closing

from . import netns
from .netlink import NETFILTER, REQUEST, Netlink, Request, attributes
from .nft import NAME, Ruleset, Runner, run_nft

log = logging.getLogger("hostnic.net")

# <linux/netfilter/nfnetlink.h>, <linux/netfilter/nf_tables.h>
_GET_TABLE: t.Final = 10 << 8 | 1
_GENERIC: t.Final = struct.pack("=BBH", socket.AF_INET, 0, 0)
_TABLE_NAME, _TABLE_USE, _TABLE_HANDLE = 1, 3, 4
_NOT_THERE: t.Final = frozenset((errno.ENOENT,))

# Which table of our name it is, and how much is in it; None where there is none.
Identity = t.Optional[tuple[bytes, bytes]]


def identity(channel: Netlink) -> Identity:
    """Asked of the kernel, which takes a hundredth of what nft takes."""
    name = NAME.encode() + bytes(1)
    attribute = struct.pack("=HH", 4 + len(name), _TABLE_NAME) + name + bytes(-len(name) % 4)
    body = _GENERIC + attribute
    header = struct.pack("=IHHII", 16 + len(body), _GET_TABLE, REQUEST, 0, 0)
    answer = channel.ask(Request(header + body, f"look for the nftables table {NAME}", _NOT_THERE))
    if answer is None:
        return None
    known = dict(attributes(answer, len(_GENERIC)))
    return known.get(_TABLE_HANDLE, b""), known.get(_TABLE_USE, b"")


def identity_here() -> Identity:
    """Of this process's own namespace."""
    with closing(netns.once(netns.HOST, lambda: Netlink(NETFILTER))) as channel:
        return identity(channel)


class NftTable:
    """Any thread may call. `run` and `look` act in the same namespace."""

    def __init__(self, run: Runner = run_nft, look: t.Callable[[], Identity] = identity_here) -> None:
        self._run = run
        self._look = look
        self._lock = threading.Lock()
        self._applied: t.Optional[str] = None
        self._standing: Identity = None

    def apply(self, rules: Ruleset) -> bool:
        """Whether the table was replaced: not where it stands as this object has applied it before."""
        text = rules.text()
        with self._lock:
            same = text == self._applied
            if same and self._standing is not None and self._look() == self._standing:
                return False
            self._run(text)
            self._applied, self._standing = text, self._look()
        if same:
            log.warning("nftables table %s had been taken away or changed: it is back", NAME)
        else:
            log.info("nftables table %s replaced", NAME)
        return True

    def delete(self) -> None:
        """Also where it is not there."""
        with self._lock:
            self._run(f"table ip {NAME}\ndelete table ip {NAME}\n")
            self._applied = self._standing = None
