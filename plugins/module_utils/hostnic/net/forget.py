# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host remembers of an address: tracked connections and neighbours."""

from __future__ import annotations

import errno
import logging
import socket
import struct
import typing as t

from ..errors import LinkFailed
from .encoders import encode
from .netlink import ACK, DUMP, REQUEST, Netlink, Request, attributes

log = logging.getLogger("hostnic.net")

# <linux/netfilter/nfnetlink.h>, <linux/netfilter/nfnetlink_conntrack.h>
_CT_GET: t.Final = 0x101
_CT_DELETE: t.Final = 0x102
_CTA_TUPLE_ORIG: t.Final = 1
_CTA_TUPLE_REPLY: t.Final = 2
_CTA_ID: t.Final = 12
_CTA_ZONE: t.Final = 18
_CTA_TUPLE_IP: t.Final = 1
_CTA_IP_V4: t.Final = (1, 2)  # source, destination
_NESTED: t.Final = 0x8000
_GENERIC: t.Final = struct.pack("=BBH", socket.AF_INET, 0, 0)

_RTM_DELNEIGH: t.Final = 29
_RTM_GETNEIGH: t.Final = 30
_NDA_DST: t.Final = 1
_NEIGHBOUR: t.Final = struct.Struct("=BxxxiHBB")

_BATCH: t.Final = 100
_NO_CONNTRACK: t.Final = (errno.EOPNOTSUPP, errno.EINVAL, errno.EPROTONOSUPPORT, errno.ENOENT)


def connections(channel: Netlink, address: bytes) -> int:
    """Drop the tracked connections from or to this address (4 bytes), before or behind NAT; how many there were."""
    try:
        entries = channel.dump(Request(_netfilter(_CT_GET, REQUEST | DUMP), "list tracked connections"))
    except LinkFailed as error:
        if error.details.get("errno") not in _NO_CONNTRACK:
            raise
        log.debug("no connection tracking in this kernel: %s", error)
        return 0
    # thousands of entries on a busy host: only those with these four bytes somewhere are worth a closer look
    doomed = [body for body in entries if address in body and _concerns(body, address)]
    for start in range(0, len(doomed), _BATCH):
        channel.send(*(_drop(body) for body in doomed[start : start + _BATCH]))
    return len(doomed)


def neighbours(channel: Netlink, address: bytes) -> int:
    """Drop the neighbour entries of this address (4 bytes); how many there were."""
    request = Request(
        encode("neighbour", _RTM_GETNEIGH, REQUEST | DUMP, {"family": socket.AF_INET}, ()), "list neighbours"
    )
    found = []
    for body in channel.dump(request):
        _family, index, _state, _flags, _type = _NEIGHBOUR.unpack_from(body)
        if dict(attributes(body, _NEIGHBOUR.size)).get(_NDA_DST) == address:
            found.append(index)
    text = socket.inet_ntoa(address)
    for index in found:
        fields = {"family": socket.AF_INET, "ifindex": index}
        data = encode("neighbour", _RTM_DELNEIGH, REQUEST | ACK, fields, (("NDA_DST", text),))
        channel.send(Request(data, f"forget the neighbour {text}", frozenset((errno.ENOENT, errno.ENODEV))))
    return len(found)


def _concerns(body: bytes, address: bytes) -> bool:
    known = dict(attributes(body, len(_GENERIC)))
    for which in (_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY):
        addresses = dict(attributes(dict(attributes(known.get(which, b""))).get(_CTA_TUPLE_IP, b"")))
        if any(addresses.get(end) == address for end in _CTA_IP_V4):
            return True
    return False


def _drop(body: bytes) -> Request:
    """The entry's own tuple, zone and id go back as they came: the id keeps a successor of the same tuple alive."""
    known = dict(attributes(body, len(_GENERIC)))
    chosen = [(_CTA_TUPLE_ORIG | _NESTED, known[_CTA_TUPLE_ORIG])]
    chosen += [(key, known[key]) for key in (_CTA_ID, _CTA_ZONE) if key in known]
    return Request(
        _netfilter(_CT_DELETE, REQUEST | ACK, b"".join(_attribute(key, value) for key, value in chosen)),
        "drop a tracked connection",
        frozenset((errno.ENOENT,)),
    )


def _netfilter(kind: int, flags: int, payload: bytes = b"") -> bytes:
    body = _GENERIC + payload
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def _attribute(key: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), key) + value + bytes(-len(value) % 4)
