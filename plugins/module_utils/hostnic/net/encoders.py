# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that imports pyroute2: its message classes are the encoders, its sockets are not used.

Once per ADD and cold, requests through pyroute2's sockets cost 3.7 ms; encoding alone costs a twentieth of that.
"""

from __future__ import annotations

import functools
import struct
import typing as t

from ..errors import InvalidConfig, LinkFailed
from .lean import modules_of

try:
    with modules_of("pyroute2"):
        from pyroute2.netlink import NLA_F_NESTED, nla, nlmsg  # type: ignore[import-untyped]
        from pyroute2.netlink.rtnl.fibmsg import fibmsg  # type: ignore[import-untyped]
        from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # type: ignore[import-untyped]
        from pyroute2.netlink.rtnl.ndmsg import ndmsg  # type: ignore[import-untyped]
        from pyroute2.netlink.rtnl.rtmsg import rtmsg  # type: ignore[import-untyped]
except ImportError as error:
    _MISSING: t.Optional[ImportError] = error
    _CLASSES: dict[str, t.Any] = {}
else:
    _MISSING = None

    # IPV4_DEVCONF_* of <linux/ip.h>; the kernel takes any of them in IFLA_AF_SPEC/AF_INET/IFLA_INET_CONF
    _DEVCONF: t.Final = ((4, "accept_redirects", "uint32"), (22, "arp_notify", "uint32"))

    class _Conf(nla):  # type: ignore[misc]
        nla_map = _DEVCONF

    class _Inet(nla):  # type: ignore[misc]
        nla_map = ((1, "IFLA_INET_CONF", "conf"),)
        conf = _Conf

    class _AfSpec(nla):  # type: ignore[misc]
        nla_map = ((2, "AF_INET", "inet"),)
        inet = _Inet

    class _AltNames(nla):  # type: ignore[misc]
        nla_flags = NLA_F_NESTED
        nla_map = ((53, "IFLA_ALT_IFNAME", "asciiz"),)

    class _Xdp(nla):  # type: ignore[misc]
        nla_map = ((1, "IFLA_XDP_FD", "int32"), (3, "IFLA_XDP_FLAGS", "uint32"))

    class _Link(nlmsg):  # type: ignore[misc]
        """Written out, and not derived from pyroute2's: that reads IFLA_INET_CONF as an array and cannot write it, and
        a class derived from it loses its own attributes once pyroute2 has used its parent.
        """

        fields = (
            ("family", "B"),
            ("__align", "x"),
            ("ifi_type", "H"),
            ("index", "i"),
            ("flags", "I"),
            ("change", "I"),
        )
        nla_map = (
            (1, "IFLA_ADDRESS", "l2addr"),
            (2, "IFLA_BROADCAST", "l2addr"),
            (3, "IFLA_IFNAME", "asciiz"),
            (4, "IFLA_MTU", "uint32"),
            (13, "IFLA_TXQLEN", "uint32"),
            (17, "IFLA_LINKMODE", "uint8"),
            (20, "IFLA_IFALIAS", "asciiz"),
            (26, "IFLA_AF_SPEC", "af_spec"),
            (27, "IFLA_GROUP", "uint32"),
            (29, "IFLA_EXT_MASK", "uint32"),
            (40, "IFLA_GSO_MAX_SEGS", "uint32"),
            (41, "IFLA_GSO_MAX_SIZE", "uint32"),
            (43, "IFLA_XDP", "xdp"),
            (46, "IFLA_TARGET_NETNSID", "int32"),
            (52, "IFLA_PROP_LIST", "alt_names"),
            (58, "IFLA_GRO_MAX_SIZE", "uint32"),
            (63, "IFLA_GSO_IPV4_MAX_SIZE", "uint32"),
            (64, "IFLA_GRO_IPV4_MAX_SIZE", "uint32"),
        )
        af_spec = _AfSpec
        alt_names = _AltNames
        xdp = _Xdp

    class _NetnsId(nlmsg):  # type: ignore[misc]
        """Written out, since a namespace may be unknown (-1) and pyroute2's has unsigned numbers."""

        fields = (("family", "B"), ("__align", "3x"))
        nla_map = ((1, "NETNSA_NSID", "int32"),)

    _CLASSES = {
        "link": _Link,
        "address": ifaddrmsg,
        "route": rtmsg,
        "neighbour": ndmsg,
        "rule": fibmsg,
        "netns id": _NetnsId,
    }

# (name, value) each; a value that is a tuple holds nested attributes
Attributes = tuple[tuple[str, t.Any], ...]
# the number of an attribute of <linux/if_link.h> or <linux/net_namespace.h>, and the descriptor that it holds
Descriptor = tuple[int, int]

_LENGTH: t.Final = struct.Struct("=I")  # begins struct nlmsghdr
_DESCRIPTOR: t.Final = struct.Struct("=HHI")  # struct nlattr and a u32


def encode(
    what: str,
    kind: int,
    flags: int,
    fields: t.Mapping[str, int],
    attributes: Attributes = (),
    descriptor: t.Optional[Descriptor] = None,
) -> bytes:
    """A message with a sequence number of 0. `what`: link, address, route, neighbour, rule, netns id.

    `InvalidConfig` where pyroute2 is not installed, `LinkFailed` where a value cannot be written.
    """
    if _MISSING is not None:
        raise InvalidConfig("pyroute2 is missing: run the qingagent role, it lays it down") from _MISSING
    message = _encoded(what, kind, flags, tuple(fields.items()), attributes)
    if descriptor is None:
        return message
    return _LENGTH.pack(len(message) + _DESCRIPTOR.size) + message[4:] + _DESCRIPTOR.pack(_DESCRIPTOR.size, *descriptor)


# A NIC's messages are the same in each of its lives, and encoding is half of what an ADD costs beside the move. 60 NICs
# have some 600. What names a descriptor is another message each time: that is added to what is kept.
@functools.lru_cache(maxsize=1024)
def _encoded(what: str, kind: int, flags: int, fields: tuple[tuple[str, int], ...], attributes: Attributes) -> bytes:
    message = _CLASSES[what]()
    message.update(fields)
    message["attrs"] = _nested(attributes)
    message["header"] = {"type": kind, "flags": flags, "sequence_number": 0, "pid": 0}
    try:
        message.encode()
    except (OSError, ValueError, TypeError) as error:
        raise LinkFailed(f"cannot write {dict(attributes)} into a {what} message: {error}") from error
    return bytes(message.data)


def _nested(attributes: Attributes) -> list[list[t.Any]]:
    """As pyroute2 wants it."""
    return [[name, {"attrs": _nested(value)} if isinstance(value, tuple) else value] for name, value in attributes]
