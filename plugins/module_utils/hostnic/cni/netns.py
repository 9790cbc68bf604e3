# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a descriptor is a pod's network namespace."""

from __future__ import annotations

import fcntl
import os
import re
import typing as t
from dataclasses import dataclass

from . import spec
from .spec import CniError

# linux/nsfs.h, linux/sched.h
_NS_GET_NSTYPE: t.Final = 0xB703
_CLONE_NEWNET: t.Final = 0x40000000

# As ip-netns(8) and the runtimes name them; nothing below is a link.
NAMED: t.Final = re.compile(r"/(?:var/)?run/netns/(?!\.{1,2}$)[^/\0]+")

Identity = tuple[int, int]  # device and inode


@dataclass(frozen=True)
class Netns:
    """A pod's network namespace: an open descriptor and its inode."""

    descriptor: int
    inode: int


def own() -> Identity:
    """The host's: that of this process' first thread, wherever helper threads are."""
    return _identity(os.stat("/proc/self/ns/net"))  # noqa: PTH116 (for each call)


def reserved(parking: str) -> t.Callable[[], frozenset[Identity]]:
    """Those that no pod may have: the host's, and where ready NICs wait, as they are now."""

    def now() -> frozenset[Identity]:
        try:
            return frozenset((own(), _identity(os.stat(parking))))  # noqa: PTH116
        except OSError:  # no parking place, no NICs in it
            return frozenset((own(),))

    return now


def opened(path: str, root: str = "") -> int:
    """A descriptor of what `NAMED` knows. Whether it is a pod's netns, `inode` tells. Raises OSError.

    `root`: /proc/PID/root of a process whose view of the path counts.
    """
    if not NAMED.fullmatch(path):
        raise FileNotFoundError(f"{ascii(path)} is no name below /run/netns")
    return os.open(root + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)


def inode(netns: int, ours: t.Collection[Identity]) -> int:
    """The inode of a pod's netns. Raises `CniError` (8) where the descriptor is none, or one of `ours`."""
    try:
        is_netns = fcntl.ioctl(netns, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        is_netns = False
    if not is_netns:
        raise CniError(spec.BAD_NETNS, "CNI_NETNS is not a network namespace")
    found = identity(netns)
    if found in ours:
        raise CniError(spec.BAD_NETNS, "plugin's netns and netns from CNI_NETNS should not be the same")
    return found[1]


def identity(descriptor: int) -> Identity:
    return _identity(os.fstat(descriptor))


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino
