# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent drain`."""

from __future__ import annotations

import argparse

from .command import OK, Command, Terminal, ask, asks
from .output import document


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    terminal.out.write(document(ask(arguments, "drain")))
    return OK


COMMAND = Command("drain", "give back all NICs that no pod uses, and start no pod, until resume", _run, asks)
