# SPDX-License-Identifier: GPL-3.0-or-later
"""The port Guard: keeps network managers and udev off our NICs, told before these appear.

Nobody may configure, rename or re-MAC a NIC between its hot-plug and its parking. Its MAC is known from CreateNics, so
runtime files name it before AttachNics. They are volatile on purpose: after a reboot the agent writes them anew.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("hostnic.net")

_MAC: t.Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_TIMEOUT: t.Final = 10.0
_HEAD: t.Final = "# Written by qingagent: these NICs belong to pods. Gone after a reboot; do not edit.\n"

# Runs a command; returns "" or what went wrong.
Runner = t.Callable[[t.Sequence[str]], str]


@dataclass(frozen=True)
class _Manager:
    """`sign`: what shows that it is installed or running; `alive`: what shows that it has to be told of new files."""

    name: str
    sign: str
    files: dict[str, t.Callable[[t.Sequence[str]], str]]
    alive: str
    reload: tuple[str, ...]


def _network(key: str) -> t.Callable[[t.Sequence[str]], str]:
    return lambda macs: f"{_HEAD}[Match]\n{_lines(key, macs)}\n[Link]\nUnmanaged=yes\n"


def _link(key: str) -> t.Callable[[t.Sequence[str]], str]:
    policies = "NamePolicy=keep\nAlternativeNamesPolicy=\nMACAddressPolicy=none\n"
    return lambda macs: f"{_HEAD}[Match]\n{_lines(key, macs)}\n[Link]\n{policies}"


def _network_manager(macs: t.Sequence[str]) -> str:
    # A section of its own adds to the administrator's files; `unmanaged-devices` would be replaced by theirs.
    devices = ";".join(f"mac:{mac}" for mac in macs)
    return f"{_HEAD}[device-qingcni]\nmatch-device={devices}\nmanaged=0\n"


def _lines(key: str, macs: t.Sequence[str]) -> str:
    return "".join(f"{key}={mac}\n" for mac in macs)


# Keys within one [Match] are joined by "and", so a NIC whose MAC a container has changed needs a second file.
_MANAGERS: t.Final = (
    _Manager(
        name="systemd-networkd",
        sign="run/systemd/system",
        files={
            "run/systemd/network/05-qingcni.network": _network("MACAddress"),
            "run/systemd/network/05-qingcni-permanent.network": _network("PermanentMACAddress"),
        },
        alive="run/systemd/netif/state",
        reload=("networkctl", "reload"),
    ),
    _Manager(
        name="udev",
        sign="run/systemd/system",
        files={
            "run/systemd/network/05-qingcni.link": _link("MACAddress"),
            "run/systemd/network/05-qingcni-permanent.link": _link("PermanentMACAddress"),
        },
        alive="run/udev/control",
        reload=("udevadm", "control", "--reload"),
    ),
    _Manager(
        name="NetworkManager",
        sign="run/NetworkManager",
        files={"run/NetworkManager/conf.d/05-qingcni.conf": _network_manager},
        alive="run/NetworkManager",
        reload=("nmcli", "general", "reload", "conf"),
    ),
)
