# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent look`."""

from __future__ import annotations

import argparse

from .command import OK, Command, Terminal, ask, asks, show


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    told = ask(arguments, "look")
    show(arguments, terminal, told, lambda: "the agent looks at the cloud as soon as it may\n")
    return OK


COMMAND = Command("look", "look at the cloud now", _run, asks)
