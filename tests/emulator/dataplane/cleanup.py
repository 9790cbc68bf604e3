# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes away what a data plane of some prefix left, in whatever state a killed run left it."""

from __future__ import annotations

import typing as t

from tests.emulator.dataplane import kernel
from tests.emulator.dataplane.names import Names
from tests.emulator.dataplane.netlink import Netlink


def cleanup(prefix: str) -> list[str]:
    """The links and namespaces that were there and are gone; the guests' ends of NICs die with the fabric."""
    known = Names(prefix)
    gone: list[str] = []
    with Netlink() as host:
        if host.index(known.uplink) is not None:
            host.delete(known.uplink)
            gone.append(known.uplink)
    for netns in _ours(known):
        kernel.delete(netns)
        gone.append(netns)
    return gone


def _ours(known: Names) -> t.Iterator[str]:
    return (name for name in kernel.names() if known.is_namespace(name))
