# SPDX-License-Identifier: GPL-3.0-or-later
"""What the routing tables say: the main one's default route, and what leaves by one link."""

from __future__ import annotations

import ipaddress
import socket
import struct
import typing as t
from dataclasses import dataclass

from ..model import Route
from .encoders import encode
from .netlink import DUMP, REQUEST, Netlink, Request, attributes
from .requests import MAIN, PROTO_KERNEL

_RTM_GETROUTE: t.Final = 26
_UNICAST: t.Final = 1
_RTMSG: t.Final = struct.Struct("=BBBBBBBBI")
_NEXTHOP: t.Final = struct.Struct("=HBBi")


@dataclass(frozen=True)
class Hop:
    """A link, by its index, and the gateway behind it; `via` is empty where there is none."""

    index: int
    via: str


@dataclass(frozen=True)
class Entry:
    """An IPv4 unicast route, of the table with this number. `connected`: the kernel made it for an address."""

    table: int
    dst: str
    hops: tuple[Hop, ...]
    metric: int
    connected: bool


def default_route(channel: Netlink) -> t.Optional[Hop]:
    """Of the IPv4 default route that is used; of several next hops the first."""
    found = [entry for entry in _tables(channel) if (entry.table, entry.dst) == (MAIN, "0.0.0.0/0") and entry.hops]
    best = min(found, key=lambda entry: entry.metric, default=None)
    return best.hops[0] if best is not None else None


def routes_out_of(channel: Netlink, index: int) -> list[Route]:
    """By this link, of whatever table (the plugin `sbr` moves them), without those that came with its addresses."""
    entries = [entry for entry in _tables(channel) if not entry.connected]
    return [Route(entry.dst, hop.via) for entry in entries for hop in entry.hops if hop.index == index]


def _tables(channel: Netlink) -> list[Entry]:
    request = Request(
        encode("route", _RTM_GETROUTE, REQUEST | DUMP, {"family": socket.AF_INET}, ()), "read the routing tables"
    )
    return [entry for entry in map(_parse, channel.dump(request)) if entry is not None]


def _parse(body: bytes) -> t.Optional[Entry]:
    _family, length, _source, _tos, table, protocol, _scope, kind, _flags = _RTMSG.unpack_from(body)
    if kind != _UNICAST:
        return None
    known = dict(attributes(body, _RTMSG.size))
    table = struct.unpack("=I", known[15])[0] if 15 in known else table  # RTA_TABLE, of numbers above 255
    network = socket.inet_ntoa(known.get(1, bytes(4)))  # RTA_DST
    hops = tuple(_hops(known))
    metric = known.get(6, bytes(4))  # RTA_PRIORITY
    connected = protocol == PROTO_KERNEL and not any(hop.via for hop in hops)
    return Entry(table, f"{network}/{length}", hops, struct.unpack("=I", metric)[0], connected)


def _hops(known: t.Mapping[int, bytes]) -> t.Iterator[Hop]:
    if 4 in known:  # RTA_OIF
        yield Hop(struct.unpack("=i", known[4])[0], _gateway(known))
    several = known.get(9, b"")  # RTA_MULTIPATH
    while len(several) >= _NEXTHOP.size:
        size, _flags, _weight, index = _NEXTHOP.unpack_from(several)
        if size < _NEXTHOP.size:
            return
        yield Hop(index, _gateway(dict(attributes(several[:size], _NEXTHOP.size))))
        several = several[(size + 3) & ~3 :]


def _gateway(known: t.Mapping[int, bytes]) -> str:
    """RTA_GATEWAY, or RTA_VIA, which has an address family before an address of another family."""
    packed = known.get(5) or known.get(18, b"")[2:]
    return str(ipaddress.ip_address(packed)) if len(packed) in (4, 16) else ""
