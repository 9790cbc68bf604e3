# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings below /proc/sys/net; what is seen there depends on the namespace of the thread that looks."""

from __future__ import annotations

import logging
import os
import typing as t
from pathlib import Path

from ..errors import LinkFailed

log = logging.getLogger("hostnic.net")

_ROOT: t.Final = Path("/proc/sys/net")
_REDIRECTS: t.Final = str(_ROOT / "ipv4/conf/all/accept_redirects")

# a gateway NIC answers and asks with its own address only; its replies may have come in by another link
GATEWAY_LINK: t.Final = {"rp_filter": "2", "arp_ignore": "1", "arp_announce": "2", "send_redirects": "0"}


def read(key: str) -> str:
    """`key` is a path below /proc/sys/net, so that links may have dots in their names."""
    try:
        return (_ROOT / key).read_text().strip()
    except OSError as error:
        raise LinkFailed(f"cannot read net/{key}: {error.strerror}", errno=error.errno) from error


def ensure(key: str, value: str) -> bool:
    """Whether it had to be changed; what is right is not written: /proc may be read-only where nothing is to do."""
    if read(key) == value:
        return False
    try:
        (_ROOT / key).write_text(value)
    except OSError as error:
        raise LinkFailed(
            f"cannot set net/{key} to {value}: {error.strerror}; a sandboxed agent needs ReadWritePaths=/proc/sys/net",
            errno=error.errno,
        ) from error
    log.info("net/%s is %s now", key, value)
    return True


def forward() -> None:
    """Let the host forward IPv4. First of all, since this resets conf.*.forwarding and conf.all.accept_redirects."""
    ensure("ipv4/ip_forward", "1")


def gateway_link(name: str) -> None:
    """Make a link of this namespace fit to be pods' gateway."""
    for key, value in GATEWAY_LINK.items():
        ensure(f"ipv4/conf/{name}/{key}", value)


def no_ipv6() -> None:
    """Links that come into this namespace get no IPv6 address."""
    for scope in ("all", "default"):
        if (_ROOT / "ipv6").exists():
            ensure(f"ipv6/conf/{scope}/disable_ipv6", "1")


def no_redirects() -> None:
    """In a pod: the kernel follows redirects where either `all` or the link allows it; the link's comes by netlink.

    A pod without this works, so a refusal is only logged.
    """
    try:
        descriptor = os.open(_REDIRECTS, os.O_WRONLY | os.O_CLOEXEC)  # in the way of each ADD: no path, no text file
        try:
            os.write(descriptor, b"0")
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("a pod goes on accepting ICMP redirects: %s", error.strerror)
