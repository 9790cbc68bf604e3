# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent pool`."""

from __future__ import annotations

import argparse

from .command import OK, Command, Terminal, ask, asks
from .output import document


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    terminal.out.write(document(ask(arguments, "pool")))
    return OK


COMMAND = Command("pool", "show the table of NICs", _run, asks)
