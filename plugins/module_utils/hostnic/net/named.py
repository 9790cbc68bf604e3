# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a named network namespace, as `ip netns add` does."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from ..errors import LinkFailed
from . import netns, sysctl


def make(path: str) -> bool:
    """Whether it had to be made; IPv6 is off inside. The calling process is left in the new namespace.

    For a process of its own, outside of any sandbox: what a sandboxed one mounts dies with it.
    """
    if _stands(path):
        return False
    try:
        from pyroute2 import netns as pyroute2_netns  # type: ignore[import-untyped]
    except ImportError:
        raise LinkFailed(
            "the Python package pyroute2 is missing: run the hostnic_install module on this node"
        ) from None
    try:
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()  # an empty file that a mount has left
        netns.unshare()
        # not its `create`: that has a child do it within 2 s, and leaves this process where it was, on the host
        pyroute2_netns.attach(path, os.getpid())
    except OSError as error:
        raise LinkFailed(f"cannot make the network namespace {path}: {error.strerror}", errno=error.errno) from error
    sysctl.no_ipv6()
    return True


def _stands(path: str) -> bool:
    try:
        netns.once(path, lambda: None)
    except LinkFailed as error:
        if error.details.get("errno") in (errno.ENOENT, errno.ENOTTY, errno.EINVAL):
            return False
        raise
    return True
