# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent trim`."""

from __future__ import annotations

import argparse

from .command import OK, Command, Terminal, ask, asks
from .output import document


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    terminal.out.write(document(ask(arguments, "trim")))
    return OK


COMMAND = Command("trim", "give back the ready NICs that neither pods nor pool-low need", _run, asks)
