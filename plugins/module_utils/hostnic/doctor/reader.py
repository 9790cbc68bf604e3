# SPDX-License-Identifier: GPL-3.0-or-later
"""All that checks may know of the machine: files, programs and namespaces, read and never changed."""

from __future__ import annotations

import ipaddress
import os
import stat
import struct
import typing as t
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..errors import LinkFailed
from ..host import Host
from ..net import host_findings, netns
from ..net.devices import everything
from ..net.links import PARKING
from ..net.netlink import Netlink
from .finding import CannotTell

PATIENCE: t.Final = 5.0  # s that a program may take: less than a check has

# Runs a command; what it printed. `FileNotFoundError` without that program, `LinkFailed` where it failed.
Runner = t.Callable[[t.Sequence[str]], str]


def run(command: t.Sequence[str]) -> str:
    return host_findings.run(command, PATIENCE)


@dataclass(frozen=True)
class Space:
    """Of a file system: bytes and files that may still be written; `files` None where they are not counted."""

    bytes: int
    files: t.Optional[int]


class Route(t.NamedTuple):
    link: str
    network: ipaddress.IPv4Network
    by_router: bool


def space(path: Path) -> Space:
    """Where `path` is, or would be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    found = os.statvfs(path)
    return Space(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def parked(path: str = PARKING) -> dict[str, int]:
    """MAC ► MTU of the links in the parking namespace. Raises `LinkFailed`; `errno` in its details."""
    with closing(netns.once(path, Netlink)) as channel:
        return {device.identity: device.mtu for device in everything(channel) if device.may_be_a_nic}


class Reader:
    """`root`, `run`, `parked` and `space` are for tests."""

    def __init__(
        self,
        root: Path = Path("/"),
        run: Runner = run,
        parked: t.Callable[[], t.Mapping[str, int]] = parked,
        space: t.Callable[[Path], Space] = space,
    ) -> None:
        self.root = root
        self.run = run
        self.parked = parked
        self.space = space
        self.host = Host(root / "sys/class/net", root / "proc/net/route")

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str:
        """Raises `CannotTell`."""
        try:
            return self.at(path).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise CannotTell(f"{path} cannot be read: {error.strerror}") from error

    def files(self, directory: str, pattern: str = "*") -> list[Path]:
        """By name; none where there is no such directory."""
        return sorted(path for path in self.at(directory).glob(pattern) if path.is_file())

    def shown(self, path: Path) -> str:
        """As a person names it."""
        return f"/{path.relative_to(self.root)}"

    def sysctl(self, key: str) -> str:
        """`key` is a path below /proc/sys/net. Raises `CannotTell`."""
        return self.text(f"/proc/sys/net/{key}").strip()

    def number(self, key: str) -> int:
        """A sysctl. Raises `CannotTell`."""
        try:
            return int(self.sysctl(key))
        except ValueError:
            raise CannotTell(f"net/{key} is no number") from None

    def routes(self) -> list[Route]:
        """The IPv4 ones of the main table."""
        return [
            Route(
                words[0], ipaddress.IPv4Network(f"{_address(words[1])}/{_address(words[7])}"), bool(int(words[2], 16))
            )
            for words in self.host.route_rows()
        ]

    def mtu(self, link: str) -> int:
        """Raises `CannotTell`."""
        return int(self.text(f"/sys/class/net/{link}/mtu"))

    def output(self, command: t.Sequence[str]) -> t.Optional[str]:
        """None where the program is not there or failed."""
        try:
            return self.run(command)
        except (FileNotFoundError, LinkFailed):
            return None

    def mode(self, path: str) -> t.Optional[int]:
        """Of the file or directory itself; None where there is none. Raises `CannotTell`."""
        try:
            return stat.S_IMODE(self.at(path).lstat().st_mode)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CannotTell(f"{path} cannot be looked at: {error.strerror}") from error


def _address(word: str) -> ipaddress.IPv4Address:
    """The kernel prints the four bytes as one number of this machine's order."""
    return ipaddress.IPv4Address(struct.pack("=I", int(word, 16)))
