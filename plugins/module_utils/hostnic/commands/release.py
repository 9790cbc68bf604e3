# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent release`."""

from __future__ import annotations

import argparse

from .command import OK, Command, Terminal, ask, asks
from .output import document


def _arguments(parser: argparse.ArgumentParser) -> None:
    asks(parser)
    parser.add_argument("address", metavar="address")


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    terminal.out.write(document(ask(arguments, "release", address=arguments.address)))
    return OK


COMMAND = Command("release", "let go of an address that is kept for a workload", _run, _arguments)
