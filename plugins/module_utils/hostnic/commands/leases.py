# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent leases`."""

from __future__ import annotations

import argparse

from .command import OK, Command, Terminal, ask, asks
from .output import document


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    terminal.out.write(document(ask(arguments, "leases")))
    return OK


COMMAND = Command("leases", "show which pod has which NIC", _run, asks)
