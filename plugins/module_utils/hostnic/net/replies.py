# SPDX-License-Identifier: GPL-3.0-or-later
"""Symmetric replies: what came in by the primary link goes out by it, also where a gateway NIC is nearer.

The marks are set by the table's `reply_*` chains; here are the rule that heeds them and the routes that it leads to.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import typing as t
from contextlib import closing
from dataclasses import dataclass

from ..errors import LinkFailed
from ..model import Route
from . import netns, requests
from .devices import named
from .encoders import encode
from .netlink import ACK, CREATE, EXCL, REQUEST, Netlink, Request

log = logging.getLogger("hostnic.net")

_RTM_NEWRULE: t.Final = 32
_RTM_DELRULE: t.Final = 33
_TO_TABLE: t.Final = 1


@dataclass(frozen=True)
class ReplyRouting:
    """`network` and `gateway`: the primary's vxnet and its router. `preference`: before the main table's 32766."""

    primary: str
    network: str
    gateway: str
    mark: int = 0x100000
    table: int = 100
    preference: int = 99


def ensure(wanted: ReplyRouting, host: str = netns.HOST) -> None:
    """Routes first, then the rule; what is there stays. `LinkFailed` where the primary is not there or down.

    To be repeated: the routes go with the primary's address, for instance when its lease is renewed from scratch.
    """
    with closing(netns.once(host, Netlink)) as channel:
        primary = named(channel, wanted.primary)
        if primary is None:
            raise LinkFailed(f"the host's own link {wanted.primary} is not there")
        network = str(ipaddress.IPv4Network(wanted.network))
        channel.send(
            requests.replace_route(primary.index, Route(network), wanted.table),
            requests.replace_route(primary.index, Route("0.0.0.0/0", wanted.gateway), wanted.table),
            _rule(_RTM_NEWRULE, CREATE | EXCL, wanted, frozenset((errno.EEXIST,))),
        )


def remove(wanted: ReplyRouting, host: str = netns.HOST) -> None:
    """The rule goes, and with it the routes lose their meaning; also where it is not there."""
    with closing(netns.once(host, Netlink)) as channel:
        channel.send(_rule(_RTM_DELRULE, 0, wanted, frozenset((errno.ENOENT, errno.EAFNOSUPPORT))))


def _rule(kind: int, flags: int, wanted: ReplyRouting, tolerate: frozenset[int]) -> Request:
    fields = {"family": socket.AF_INET, "table": min(wanted.table, 252), "action": _TO_TABLE}
    attributes = (
        ("FRA_PRIORITY", wanted.preference),
        ("FRA_FWMARK", wanted.mark),
        ("FRA_FWMASK", wanted.mark),
        ("FRA_TABLE", wanted.table),
        ("FRA_PROTOCOL", requests.PROTO_KERNEL),
    )
    return Request(encode("rule", kind, REQUEST | ACK | flags, fields, attributes), "change the reply rule", tolerate)
