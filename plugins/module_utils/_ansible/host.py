# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a node is new enough for the agent. Runs on nodes that are not, so nothing newer than Python 3.8 here."""

from __future__ import annotations

import re
import sys
import typing as t

from ..hostnic.errors import HostnicError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

OLDEST_PYTHON: t.Final = (3, 9)
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
