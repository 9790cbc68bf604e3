# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent ping`."""

from __future__ import annotations

import argparse

from .command import OK, Command, Terminal, ask, asks
from .output import document


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    terminal.out.write(document(ask(arguments, "ping")))
    return OK


COMMAND = Command("ping", "ask whether the agent answers", _run, asks)
