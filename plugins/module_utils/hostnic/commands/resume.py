# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent resume`."""

from __future__ import annotations

import argparse

from .command import OK, Command, Terminal, ask, asks
from .output import document


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    terminal.out.write(document(ask(arguments, "resume")))
    return OK


COMMAND = Command("resume", "end a drain", _run, asks)
