# SPDX-License-Identifier: GPL-3.0-or-later
"""Links as the kernel tells them, and how to find one of ours among them."""

from __future__ import annotations

import errno
import socket
import struct
import sys
import typing as t
from dataclasses import dataclass

from ..model import Link
from .encoders import Attributes, encode
from .netlink import DUMP, REQUEST, Netlink, Request, attributes

IFF_UP: t.Final = 0x1
IFF_LOOPBACK: t.Final = 0x8

RTM_NEWLINK: t.Final = 16
RTM_DELLINK: t.Final = 17
_RTM_GETLINK: t.Final = 18
# RTEXT_FILTER_SKIP_STATS: statistics are most of what the kernel would tell
_SKIP_STATS: t.Final = 8

# A bridge, a VLAN or a bond carries its NIC's MAC, some even its permanent one, without being the NIC.
# A real NIC has no kind; a veth stands for one in laboratories.
_KINDS: t.Final = ("", "veth")

# Attribute ► its name, of the numbers that root in a container can change and that come along in a move.
NUMBERS: t.Final = {
    4: "IFLA_MTU",
    13: "IFLA_TXQLEN",
    40: "IFLA_GSO_MAX_SEGS",
    41: "IFLA_GSO_MAX_SIZE",
    58: "IFLA_GRO_MAX_SIZE",
    63: "IFLA_GSO_IPV4_MAX_SIZE",
    64: "IFLA_GRO_IPV4_MAX_SIZE",
}
# those of a link, by name: only what this kernel tells
Numbers = t.Mapping[str, int]

# IFLA_XDP_DRV_PROG_ID, SKB, HW ► the flag of <linux/if_link.h> that names the mode
_XDP_MODES: t.Final = {5: 4, 6: 2, 7: 8}

# where the four bytes of IPV4_DEVCONF_ARP_NOTIFY, which is 22, are among those numbers that start with 1
_ARP_NOTIFY: t.Final = slice(21 * 4, 22 * 4)

_IFINFO: t.Final = struct.Struct("=BxHiII")


@dataclass(frozen=True)
class Device:
    """A link in some namespace. `permanent` is empty where the kernel knows none (virtual links).

    `below`: the index of the link of the same namespace that this one stands on, or 0. `xdp`: mode flag and program id
    of each XDP program. `announces`: its arp_notify, which links have from us when they go into a pod.
    """

    index: int
    name: str
    mac: str
    permanent: str
    flags: int
    kind: str
    alias: bool
    altnames: tuple[bytes, ...]  # a container may have chosen any bytes
    numbers: Numbers
    broadcast: str
    group: int
    linkmode: int
    xdp: tuple[tuple[int, int], ...]
    below: int
    announces: bool

    @property
    def identity(self) -> str:
        """The MAC by which the cloud knows it, whatever a container has made of it."""
        return self.permanent or self.mac

    @property
    def up(self) -> bool:
        return bool(self.flags & IFF_UP)

    @property
    def mtu(self) -> int:
        return self.numbers.get("IFLA_MTU", 0)

    @property
    def may_be_a_nic(self) -> bool:
        return not self.flags & IFF_LOOPBACK and self.kind in _KINDS and bool(self.mac)

    def link(self, place: str) -> Link:
        return Link(self.identity, self.name, self.index, place, self.up, self.mtu)


def parse(body: bytes) -> Device:
    """A Device from the body of RTM_NEWLINK or RTM_DELLINK."""
    _family, _type, index, flags, _change = _IFINFO.unpack_from(body)
    known = dict(attributes(body, _IFINFO.size))
    return Device(
        index=index,
        name=_text(known.get(3, b"")),  # IFLA_IFNAME
        mac=_mac(known.get(1, b"")),  # IFLA_ADDRESS
        permanent=_mac(known.get(54, b"")),  # IFLA_PERM_ADDRESS
        flags=flags,
        kind=next((_text(value) for key, value in attributes(known.get(18, b"")) if key == 1), ""),  # IFLA_LINKINFO
        alias=bool(known.get(20)),  # IFLA_IFALIAS
        altnames=tuple(value.rstrip(bytes(1)) for key, value in attributes(known.get(52, b"")) if key == 53),
        numbers={name: _number(known[key]) for key, name in NUMBERS.items() if key in known},
        broadcast=known.get(2, b"").hex(":"),  # IFLA_BROADCAST
        group=_number(known.get(27, b"")),  # IFLA_GROUP
        linkmode=_number(known.get(17, b"")),  # IFLA_LINKMODE
        xdp=tuple(
            (_XDP_MODES[key], _number(value)) for key, value in attributes(known.get(43, b"")) if key in _XDP_MODES
        ),
        below=0 if 37 in known else _number(known.get(5, b"")),  # IFLA_LINK_NETNSID, IFLA_LINK
        announces=any(_ipv4_settings(known.get(26, b""))[_ARP_NOTIFY]),  # IFLA_AF_SPEC
    )


def named(channel: Netlink, name: str) -> t.Optional[Device]:
    """The link that answers to this name, which may be an altname of it."""
    request = Request(
        encode("link", _RTM_GETLINK, REQUEST, {}, (("IFLA_IFNAME", name), ("IFLA_EXT_MASK", _SKIP_STATS))),
        f"look for link {name}",
        frozenset((errno.ENODEV,)),
    )
    body = channel.ask(request)
    return parse(body) if body is not None else None


def everything(channel: Netlink, nsid: t.Optional[int] = None) -> list[Device]:
    """Every link of the socket's namespace, or of the one that it knows by this number."""
    chosen: Attributes = (("IFLA_EXT_MASK", _SKIP_STATS),)
    if nsid is not None:
        chosen += (("IFLA_TARGET_NETNSID", nsid),)
    request = Request(
        encode("link", _RTM_GETLINK, REQUEST | DUMP, {"family": socket.AF_UNSPEC}, chosen), "list the links"
    )
    return [parse(body) for body in channel.dump(request)]


def find(devices: t.Iterable[Device], mac: str) -> t.Optional[Device]:
    """The NIC with this MAC, by its permanent address where the kernel knows one: that nobody can forge."""
    candidates = [device for device in devices if device.may_be_a_nic and device.identity == mac]
    return max(candidates, key=lambda device: bool(device.permanent), default=None)


def find_changed(devices: t.Iterable[Device], index: int, name: str) -> t.Optional[Device]:
    """The NIC of this index and name, where no permanent address can tell that it is another one."""
    for device in devices:
        if (device.index, device.name) == (index, name) and device.may_be_a_nic and not device.permanent:
            return device
    return None


def standing_on(devices: t.Iterable[Device], device: Device) -> list[Device]:
    """Of a list of `device`'s own namespace: the links that were made on top of it, such as VLANs and macvlans.

    A veth's peer looks like one and is none.
    """
    return [other for other in devices if other.below == device.index and other.kind not in _KINDS]


def _ipv4_settings(af_spec: bytes) -> bytes:
    """IFLA_INET_CONF of AF_INET; empty where the link has no IPv4 at all."""
    inet = next((value for key, value in attributes(af_spec) if key == socket.AF_INET), b"")
    return next((value for key, value in attributes(inet) if key == 1), b"")


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def _text(value: bytes) -> str:
    return value.rstrip(bytes(1)).decode("utf-8", "backslashreplace")


def _mac(value: bytes) -> str:
    return value.hex(":") if len(value) == 6 and any(value) else ""
