# SPDX-License-Identifier: GPL-3.0-or-later
"""A module refuses a node that is too old. Runs on Python 3.8 too, to say that it is."""

from __future__ import annotations

import sys
import typing as t

from ..hostnic.errors import HostnicError
from ..hostnic.host import python_problem, systemd_problem

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

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
    problem = python_problem(python)
    if problem:
        raise HostnicError(f"{problem}. Install one and name it in ansible_python_interpreter")


def check_host(systemctl: Systemctl, python: tuple[t.Any, ...] = sys.version_info) -> None:
    """Raise `HostnicError` where the node is too old, with what it has and what it needs."""
    check_python(python)
    status, output = systemctl("--version")
    problem = systemd_problem(output if status == 0 else "")
    if problem:
        raise HostnicError(problem)
