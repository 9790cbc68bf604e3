# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent look`."""

from __future__ import annotations

import argparse

from .command import OK, Command, Terminal, ask, asks
from .output import document


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    terminal.out.write(document(ask(arguments, "look")))
    return OK


COMMAND = Command("look", "look at the cloud now", _run, asks)
