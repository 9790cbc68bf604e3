# SPDX-License-Identifier: GPL-3.0-or-later
"""The IPv4 addresses of links."""

from __future__ import annotations

import socket
import struct
import typing as t

from .encoders import encode
from .netlink import DUMP, REQUEST, Netlink, Request, attributes

_RTM_GETADDR: t.Final = 22
_IFADDR: t.Final = struct.Struct("=BBBBI")
_IFA_LOCAL: t.Final = 2


def addresses(channel: Netlink, index: int) -> list[str]:
    """Of the link with this index, with prefix length, in the kernel's order: the primary ones first."""
    request = Request(
        encode("address", _RTM_GETADDR, REQUEST | DUMP, {"family": socket.AF_INET}, ()), "list the addresses"
    )
    found = []
    for body in channel.dump(request):
        _family, prefix, _flags, _scope, owner = _IFADDR.unpack_from(body)
        local = dict(attributes(body, _IFADDR.size)).get(_IFA_LOCAL)
        if owner == index and local is not None:
            found.append(f"{socket.inet_ntoa(local)}/{prefix}")
    return found
