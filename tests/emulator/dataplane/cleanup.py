# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes away what a data plane of some prefix left, in whatever state a killed run left it."""

from __future__ import annotations

import typing as t

from tests.emulator.dataplane import kernel
from tests.emulator.dataplane.names import Names
from tests.emulator.dataplane.netlink import NICS_GROUP, Netlink


def cleanup(prefix: str) -> list[str]:
    """The links and namespaces that were there and are gone; the guests' ends of NICs go too."""
    known = Names(prefix)
    gone: list[str] = []
    with Netlink() as host:
        if host.index(known.uplink) is not None:
            host.delete(known.uplink)
            gone.append(known.uplink)
    for netns in _ours(known):
        _delete_nics(netns)
        kernel.delete(netns)
        gone.append(netns)
    return gone


def _delete_nics(netns: str) -> None:
    """Both ends, before this returns: left to the kernel, a dying guest's end would keep its name for a while."""
    try:
        with Netlink(netns) as links:
            links.delete_group(NICS_GROUP)
    except OSError:  # a file that is no namespace any more
        return


def _ours(known: Names) -> t.Iterator[str]:
    return (name for name in kernel.names() if known.is_namespace(name))
