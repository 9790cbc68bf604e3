# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent warm`."""

from __future__ import annotations

import argparse

from .command import OK, Command, Terminal, ask, asks
from .output import document


def _arguments(parser: argparse.ArgumentParser) -> None:
    asks(parser)
    parser.add_argument("size", metavar="size", type=int)


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    terminal.out.write(document(ask(arguments, "warm", size=arguments.size)))
    return OK


COMMAND = Command("warm", "have so many free NICs, kept as pre-warmed ones", _run, _arguments)
