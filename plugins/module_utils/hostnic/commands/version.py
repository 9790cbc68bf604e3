# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent version`: of the package that this command comes from, which the agent need not run yet."""

from __future__ import annotations

import argparse

from ..agent import about
from .command import OK, Command, Terminal


def _run(__: argparse.Namespace, terminal: Terminal) -> int:
    told = about.package()
    text = f"qingagent {told['version'] or 'not installed'} {told['digest']}".rstrip()
    terminal.out.write(f"{text}\n")
    return OK


COMMAND = Command("version", "show the version and the digest of the package", _run)
