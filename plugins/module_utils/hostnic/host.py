# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine tells about itself, and whether it is new enough. Runs on Python 3.8 too, to say that it is not."""

from __future__ import annotations

import re
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

OLDEST_PYTHON: t.Final = (3, 9)
OLDEST_SYSTEMD: t.Final = 247  # Debian 11; EL9 has 252
_EVERYWHERE: t.Final = "00000000"  # destination and mask in /proc/net/route


def python_problem(python: tuple[t.Any, ...] = sys.version_info) -> str:
    """Why the package cannot run on this Python; "" where it can."""
    if tuple(python[:2]) >= OLDEST_PYTHON:
        return ""
    return (
        f"Python {python[0]}.{python[1]} ({sys.executable}) is too old: the agent needs "
        f"{OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or later"
    )


def systemd_problem(told: str) -> str:
    """The same of systemd, in the words of `systemctl --version`; those of no systemd are a problem too."""
    match = re.search(r"^systemd (\d+)", told, re.MULTILINE)
    if match is None:
        return "the agent runs under systemd, and this node has none (systemctl --version failed)"
    if int(match.group(1)) < OLDEST_SYSTEMD:
        return f"systemd {match.group(1)} is too old: the agent's units need {OLDEST_SYSTEMD} or later"
    return ""


class OwnLink(t.NamedTuple):
    """`doubt`: what speaks against it, "" for nothing; `better`: the link that carries the default route, if any."""

    there: bool
    doubt: str = ""
    better: str = ""


@dataclass(frozen=True)
class Host:
    """Where the machine tells about its links."""

    links: Path = Path("/sys/class/net")
    routes: Path = Path("/proc/net/route")

    def macs(self) -> dict[str, str]:
        """Link ► MAC."""
        found = {path.name: path / "address" for path in sorted(self.links.iterdir())}
        return {name: path.read_text(encoding="utf-8").strip().lower() for name, path in found.items() if path.exists()}

    def route_rows(self) -> list[list[str]]:
        """The words of each IPv4 route of the main table: link, destination, gateway, …, mask is the eighth."""
        lines = [line.split() for line in self.routes.read_text(encoding="utf-8").splitlines()[1:]]
        return [words for words in lines if len(words) > 7]

    def own_link(self, name: str) -> OwnLink:
        """Of the link that is said to be the host's own."""
        links, routed = self.macs(), self.default_route_links()
        better = routed[0] if routed else ""
        if name not in links:
            return OwnLink(False, f"iface {name} is no link of this machine", better)
        if routed and name not in routed:
            return OwnLink(
                True, f"the default route goes by {better}, not by iface {name}; neither is ever touched", better
            )
        return OwnLink(True)

    def default_route_links(self) -> list[str]:
        """Links that carry an IPv4 default route."""
        return sorted({words[0] for words in self.route_rows() if words[1] == words[7] == _EVERYWHERE})
