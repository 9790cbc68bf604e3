# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host's main routing table says about its default route."""

from __future__ import annotations

import socket
import struct
import typing as t
from dataclasses import dataclass

from .encoders import encode
from .netlink import DUMP, REQUEST, Netlink, Request, attributes
from .requests import MAIN

_RTM_GETROUTE: t.Final = 26
_UNICAST: t.Final = 1
_RTMSG: t.Final = struct.Struct("=BBBBBBBBI")
_NEXTHOP: t.Final = struct.Struct("=HBBi")


@dataclass(frozen=True)
class DefaultRoute:
    """`via` is empty where the route has no gateway."""

    index: int
    via: str
    metric: int


def default_route(channel: Netlink) -> t.Optional[DefaultRoute]:
    """The IPv4 default route that is used; of several next hops the first."""
    request = Request(
        encode("route", _RTM_GETROUTE, REQUEST | DUMP, {"family": socket.AF_INET}, ()), "read the routing table"
    )
    routes = [route for route in map(_parse, channel.dump(request)) if route is not None]
    return min(routes, key=lambda route: route.metric, default=None)


def _parse(body: bytes) -> t.Optional[DefaultRoute]:
    _family, length, _source, _tos, table, _proto, _scope, kind, _flags = _RTMSG.unpack_from(body)
    if length or table != MAIN or kind != _UNICAST:
        return None
    known = dict(attributes(body, _RTMSG.size))
    index = known.get(4)  # RTA_OIF
    via = known.get(5, b"")  # RTA_GATEWAY
    hops = known.get(9, b"")  # RTA_MULTIPATH
    if index is None and len(hops) >= _NEXTHOP.size:
        size, _hop_flags, _weight, first = _NEXTHOP.unpack_from(hops)
        via = dict(attributes(hops[:size], _NEXTHOP.size)).get(5, b"")
    elif index is not None:
        (first,) = struct.unpack("=i", index)
    else:
        return None
    metric = known.get(6, bytes(4))  # RTA_PRIORITY
    return DefaultRoute(first, socket.inet_ntoa(via) if len(via) == 4 else "", struct.unpack("=I", metric)[0])
