# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent release`."""

from __future__ import annotations

import argparse

from .command import OK, Command, Terminal, ask, asks, show


def _arguments(parser: argparse.ArgumentParser) -> None:
    asks(parser)
    parser.add_argument("address", metavar="address", help="as `qingagent pool` shows it beside HELD")


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    told = ask(arguments, "release", address=arguments.address)
    said = f"{told['released']} is kept for nobody any more: it rests, then any pod may have it\n"
    show(arguments, terminal, told, lambda: said)
    return OK


COMMAND = Command("release", "let go of an address that is kept for a workload", _run, _arguments)
