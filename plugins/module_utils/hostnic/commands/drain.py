# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent drain`."""

from __future__ import annotations

import argparse
import typing as t

from . import ordering
from .command import OK, Command, Terminal, ask, asks, show
from .output import count


def _arguments(parser: argparse.ArgumentParser) -> None:
    asks(parser)
    parser.add_argument("--evict", action="store_true", help="take the NICs of pods too: they lose their network")
    ordering.add_wait(parser, "no NIC is left")


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    ordering.seconds(arguments)
    told = ask(arguments, "drain", evict=arguments.evict)
    show(arguments, terminal, told, lambda: _said(told, arguments.evict))
    if arguments.wait:
        ordering.wait(arguments, terminal, lambda nics: f"{ordering.of_states(nics)} left" if nics else "")
    return OK


def _said(told: t.Mapping[str, t.Any], evict: bool) -> str:
    used = len([nic for nic in told["before"] if nic["state"] in ("IN_USE", "RESERVED")])
    first = "this node is drained from now on" if told["changed"] else "this node was drained already"
    pods = f"; {count(used, 'NIC')} of pods {'go too' if evict else 'stay until they end'}" if used else ""
    return f"{first}: no pod starts until `qingagent resume`{pods}\n{ordering.steps(told)}"


_ABOUT: t.Final = (
    "Gives back all NICs that no pod uses, and starts no pod, until `qingagent resume`; a restart does not end it. "
    "Prints what is done at once; with --wait returns when no NIC is left."
)
_HELP: t.Final = "give back all NICs that no pod uses, and start no pod, until resume"
COMMAND = Command("drain", _HELP, _run, _arguments, _ABOUT)
