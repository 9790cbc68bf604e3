# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node tells about itself, and whether it is new enough. Runs on Python 3.8 too, to say that it is not."""

from __future__ import annotations

import re
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ..hostnic.errors import HostnicError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

OLDEST_PYTHON: t.Final = (3, 9)
_EVERYWHERE: t.Final = "00000000"  # destination and mask in /proc/net/route
OLDEST_SYSTEMD: t.Final = 247  # Debian 11; EL9 has 252

# Runs systemctl with these arguments: (exit status, output); status 127 where there is no systemctl.
Systemctl = t.Callable[..., "tuple[int, str]"]


def systemctl_of(module: AnsibleModule) -> Systemctl:
    """The node's own."""

    def systemctl(*arguments: str) -> tuple[int, str]:
        path = module.get_bin_path("systemctl")
        if path is None:
            return 127, ""
        status, output, errors = module.run_command([path, *arguments])
        return status, output + errors

    return systemctl


def check_python(python: tuple[t.Any, ...] = sys.version_info) -> None:
    """Raise `HostnicError` where Python is too old for the package."""
    if tuple(python[:2]) < OLDEST_PYTHON:
        raise HostnicError(
            f"Python {python[0]}.{python[1]} ({sys.executable}) is too old: the agent needs "
            f"{OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or later. Install one and name it in ansible_python_interpreter"
        )


def check_host(systemctl: Systemctl, python: tuple[t.Any, ...] = sys.version_info) -> None:
    """Raise `HostnicError` where the node is too old, with what it has and what it needs."""
    check_python(python)
    status, output = systemctl("--version")
    match = re.search(r"^systemd (\d+)", output, re.MULTILINE)
    if status != 0 or match is None:
        raise HostnicError("the agent runs under systemd, and this node has none (systemctl --version failed)")
    if int(match.group(1)) < OLDEST_SYSTEMD:
        raise HostnicError(f"systemd {match.group(1)} is too old: the agent's units need {OLDEST_SYSTEMD} or later")


@dataclass(frozen=True)
class Host:
    """Where the node tells about itself."""

    links: Path = Path("/sys/class/net")
    routes: Path = Path("/proc/net/route")

    def macs(self) -> dict[str, str]:
        """Link ► MAC."""
        found = {path.name: path / "address" for path in sorted(self.links.iterdir())}
        return {name: path.read_text(encoding="utf-8").strip().lower() for name, path in found.items() if path.exists()}

    def default_route_links(self) -> list[str]:
        """Links that carry an IPv4 default route."""
        lines = [line.split() for line in self.routes.read_text(encoding="utf-8").splitlines()[1:]]
        return sorted({words[0] for words in lines if len(words) > 7 and words[1] == words[7] == _EVERYWHERE})
