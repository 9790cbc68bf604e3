# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent resume`."""

from __future__ import annotations

import argparse

from . import ordering
from .command import OK, Command, Terminal, ask, asks, show


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    told = ask(arguments, "resume")
    first = "pods start again" if told["changed"] else "this node is not drained"
    show(arguments, terminal, told, lambda: f"{first}\n{ordering.steps(told)}")
    return OK


COMMAND = Command("resume", "end a drain", _run, asks)
