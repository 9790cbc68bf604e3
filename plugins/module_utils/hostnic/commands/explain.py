# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent explain`."""

from __future__ import annotations

import argparse

from .command import OK, Command, Terminal, ask, asks
from .output import document


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    terminal.out.write(document(ask(arguments, "explain")))
    return OK


COMMAND = Command("explain", "show why the pool wants what it wants", _run, asks)
