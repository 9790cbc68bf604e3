# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages that change links, addresses, routes and rules, each with the sentence that says what it is for."""

from __future__ import annotations

import errno
import functools
import ipaddress
import socket
import typing as t

from ..errors import LinkFailed
from ..model import Route
from .devices import IFF_UP, RTM_DELLINK, RTM_NEWLINK
from .encoders import Attributes, encode
from .netlink import ACK, APPEND, CREATE, EXCL, REPLACE, REQUEST, Request

_RTM_NEWADDR: t.Final = 20
_RTM_DELADDR: t.Final = 21
_RTM_NEWROUTE: t.Final = 24
_RTM_NEWLINKPROP: t.Final = 108
_RTM_DELLINKPROP: t.Final = 109
_IFLA_NET_NS_FD: t.Final = 28
_STATIC: t.Final = 4
# networkd takes rules and routes away that it did not make, except the kernel's: so ours on the host say they are
PROTO_KERNEL: t.Final = 2
_RTN_UNICAST: t.Final = 1
_SCOPE_LINK: t.Final = 253
MAIN: t.Final = 254


def set_link(
    index: int,
    purpose: str,
    *,
    netns: t.Optional[int] = None,
    name: t.Optional[str] = None,
    mac: t.Optional[str] = None,
    mtu: t.Optional[int] = None,
    up: t.Optional[bool] = None,
    add: int = 0,
    clear: int = 0,
    conf: t.Optional[dict[str, int]] = None,
    more: Attributes = (),
) -> Request:
    """RTM_NEWLINK of an existing link; what is None stays. `add`, `clear`: interface flags to set and to take away.

    `netns` moves the link into the namespace of this descriptor *before* the kernel looks at all the rest, so a refusal
    of the rest leaves it moved. `conf`: accept_redirects, arp_notify of the link's IPv4 configuration. `more`: further
    attributes, by their names.
    """
    attributes: list[tuple[str, t.Any]] = []
    if name is not None:
        attributes.append(("IFLA_IFNAME", name))
    if mac is not None:
        attributes.append(("IFLA_ADDRESS", mac))
    if mtu is not None:
        attributes.append(("IFLA_MTU", mtu))
    if conf is not None:
        inet = (("IFLA_INET_CONF", tuple(conf.items())),)
        attributes.append(("IFLA_AF_SPEC", (("AF_INET", inet),)))
    attributes += more
    change = add | clear | (IFF_UP if up is not None else 0)
    fields = {"index": index, "flags": add | (IFF_UP if up else 0), "change": change}
    there = (_IFLA_NET_NS_FD, netns) if netns is not None else None
    return Request(encode("link", RTM_NEWLINK, REQUEST | ACK, fields, tuple(attributes), there), purpose)


def drop_xdp(index: int, mode: int, purpose: str) -> Request:
    """The program of this mode (a flag of <linux/if_link.h>); EBUSY where a BPF link holds it."""
    program = ("IFLA_XDP", (("IFLA_XDP_FD", -1), ("IFLA_XDP_FLAGS", mode)))
    return set_link(index, purpose, more=(program,))


def drop_link(index: int, purpose: str) -> Request:
    """For good; also where it is gone already, or of a kind that cannot be deleted."""
    data = encode("link", RTM_DELLINK, REQUEST | ACK, {"index": index})
    return Request(data, purpose, frozenset((errno.ENODEV, errno.EOPNOTSUPP)))


def add_altname(index: int, altname: str, purpose: str) -> Request:
    """Also where the link has it already; kernels before 5.5 know no such names, which is tolerated."""
    flags = REQUEST | ACK | CREATE | EXCL | APPEND
    data = encode(
        "link", _RTM_NEWLINKPROP, flags, {"index": index}, (("IFLA_PROP_LIST", (("IFLA_ALT_IFNAME", altname),)),)
    )
    return Request(data, purpose, frozenset((errno.EEXIST, errno.EOPNOTSUPP)))


def drop_altnames(index: int, altnames: t.Sequence[bytes], purpose: str) -> Request:
    """They survive a move, and would collide in the next namespace."""
    names = tuple(("IFLA_ALT_IFNAME", name) for name in altnames)
    return Request(
        encode("link", _RTM_DELLINKPROP, REQUEST | ACK, {"index": index}, (("IFLA_PROP_LIST", names),)), purpose
    )


# A NIC has the same address and much the same routes in each of its lives, and to read them takes longer than to send.
_kept: t.Final = functools.lru_cache(maxsize=512)


@_kept
def add_address(index: int, address: str, tolerate: frozenset[int] = frozenset()) -> Request:
    """`address` with its prefix length; the network's broadcast address is set too."""
    interface = _interface(address)
    return Request(
        encode("address", _RTM_NEWADDR, REQUEST | ACK | CREATE | EXCL, *_address(index, interface)),
        f"give it the address {address}",
        tolerate,
    )


def drop_address(index: int, address: str) -> Request:
    """The exact address with its prefix length."""
    return Request(
        encode("address", _RTM_DELADDR, REQUEST | ACK, *_address(index, _interface(address))),
        f"take the address {address} away",
        frozenset((errno.EADDRNOTAVAIL,)),
    )


@_kept
def add_route(index: int, route: Route) -> Request:
    """In the main table. A route that is there already stays: the first one wins, as in the reference plugins."""
    return _route(index, route, MAIN, _STATIC, EXCL, frozenset((errno.EEXIST,)))


def replace_route(index: int, route: Route, table: int) -> Request:
    """On the host, in a table of ours."""
    return _route(index, route, table, PROTO_KERNEL, REPLACE, frozenset())


def _route(index: int, route: Route, table: int, protocol: int, flag: int, tolerate: frozenset[int]) -> Request:
    text = f"{route.dst} via {route.via}" if route.via else route.dst
    try:
        network = ipaddress.IPv4Network(route.dst)
    except ValueError as error:
        raise LinkFailed(f"cannot add the route {text}: {error}") from error
    attributes: list[tuple[str, t.Any]] = [("RTA_OIF", index), ("RTA_TABLE", table)]
    if network.prefixlen:
        attributes.append(("RTA_DST", str(network.network_address)))
    if route.via:
        attributes.append(("RTA_GATEWAY", route.via))
    fields = {
        "family": socket.AF_INET,
        "dst_len": network.prefixlen,
        "table": min(table, 255),
        "proto": protocol,
        "scope": 0 if route.via else _SCOPE_LINK,
        "type": _RTN_UNICAST,
    }
    data = encode("route", _RTM_NEWROUTE, REQUEST | ACK | CREATE | flag, fields, tuple(attributes))
    return Request(data, f"add the route {text}", tolerate)


def _interface(address: str) -> ipaddress.IPv4Interface:
    try:
        return ipaddress.IPv4Interface(address)
    except ValueError as error:
        raise LinkFailed(f"{address!r} is no IPv4 address with a prefix length: {error}") from error


def _address(index: int, interface: ipaddress.IPv4Interface) -> tuple[dict[str, int], Attributes]:
    fields = {"family": socket.AF_INET, "prefixlen": interface.network.prefixlen, "index": index}
    attributes = [("IFA_LOCAL", str(interface.ip)), ("IFA_ADDRESS", str(interface.ip))]
    if interface.network.prefixlen < 31:
        attributes.append(("IFA_BROADCAST", str(interface.network.broadcast_address)))
    return fields, tuple(attributes)
