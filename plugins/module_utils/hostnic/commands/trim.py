# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent trim`."""

from __future__ import annotations

import argparse

from . import ordering
from .command import OK, Command, Terminal, ask, asks, show


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    told = ask(arguments, "trim")
    first = "what nobody needs goes" if told["changed"] else "every NIC is needed: nothing to give back"
    show(arguments, terminal, told, lambda: f"{first}\n{ordering.steps(told)}")
    return OK


COMMAND = Command("trim", "give back the ready NICs that neither pods nor pool-low need", _run, asks)
