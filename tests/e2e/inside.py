# SPDX-License-Identifier: GPL-3.0-or-later
"""The inside of a pod: its netns, seen with the node's programs."""

from __future__ import annotations

import abc
import json
import subprocess
import typing as t
from pathlib import Path

from tests.lab.lab import Node


class Inside(abc.ABC):
    """`netns` is a path on the node, with a name below /run/netns."""

    node: Node

    @property
    @abc.abstractmethod
    def netns(self) -> str: ...

    def run(self, argv: t.Sequence[str], check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.node.run(["ip", "netns", "exec", Path(self.netns).name, *argv], check=check)

    def ip(self, *words: str) -> t.Any:
        return json.loads(self.run(["ip", "-json", *words]).stdout or "[]")

    def pings(self, address: str, *words: str) -> bool:
        argv = ["ping", "-c", "2", "-i", "0.2", "-W", "2", *words, address]
        return self.run(argv, check=False).returncode == 0

    def mac(self, ifname: str = "eth0") -> str:
        (link,) = self.ip("link", "show", "dev", ifname)
        return str(link["address"])

    def address(self, ifname: str = "eth0") -> str:
        """Its IPv4 address, without the prefix length."""
        (link,) = self.ip("addr", "show", "dev", ifname)
        (address,) = [info["local"] for info in link["addr_info"] if info["family"] == "inet"]
        return str(address)

    def names(self) -> set[str]:
        """Of the interfaces."""
        return {link["ifname"] for link in self.ip("link")}

    def routes(self, *words: str) -> set[tuple[str, str, str]]:
        """(destination, gateway, interface), of the main table unless `words` say otherwise."""
        shown = self.ip("route", "show", *words)
        return {(route["dst"], route.get("gateway", ""), route["dev"]) for route in shown}
