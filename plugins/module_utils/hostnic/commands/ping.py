# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent ping`."""

from __future__ import annotations

import argparse

from .command import OK, Command, Terminal, ask, asks, show


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    show(arguments, terminal, ask(arguments, "ping"), lambda: "the agent answers\n")
    return OK


COMMAND = Command("ping", "ask whether the agent answers", _run, asks)
