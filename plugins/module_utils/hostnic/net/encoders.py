# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that imports pyroute2: its message classes are the encoders, its sockets are not used.

Once per ADD and cold, requests through pyroute2's sockets cost 3.7 ms; encoding alone costs a twentieth of that.
"""

from __future__ import annotations

import typing as t

from ..errors import InvalidConfig, LinkFailed

try:
    from pyroute2.netlink import nla  # type: ignore[import-untyped]
    from pyroute2.netlink.rtnl.fibmsg import fibmsg  # type: ignore[import-untyped]
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # type: ignore[import-untyped]
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]
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

    class _Link(ifinfmsg):  # type: ignore[misc]
        """pyroute2 reads IFLA_INET_CONF as an array and cannot write it."""

        af_spec = _AfSpec

    _CLASSES = {"link": _Link, "address": ifaddrmsg, "route": rtmsg, "neighbour": ndmsg, "rule": fibmsg}

Attributes = t.Iterable[tuple[str, t.Any]]


def encode(what: str, kind: int, flags: int, fields: dict[str, t.Any], attributes: Attributes) -> bytearray:
    """A message with a sequence number of 0. `what`: link, address, route, neighbour, rule.

    `InvalidConfig` where pyroute2 is not installed, `LinkFailed` where a value cannot be written.
    """
    if _MISSING is not None:
        raise InvalidConfig("pyroute2 is missing: run the qingagent role, it lays it down") from _MISSING
    message = _CLASSES[what]()
    message.update(fields)
    message["attrs"] = [list(attribute) for attribute in attributes]
    message["header"] = {"type": kind, "flags": flags, "sequence_number": 0, "pid": 0}
    try:
        message.encode()
    except (OSError, ValueError, TypeError) as error:
        raise LinkFailed(f"cannot write {dict(attributes)} into a {what} message: {error}") from error
    return bytearray(message.data)
