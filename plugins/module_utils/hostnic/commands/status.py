# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent status`: what is wrong and what to do, a line each; else that all is well."""

from __future__ import annotations

import argparse
import typing as t

from .command import FOUND, OK, Command, Terminal, ask, asks, show
from .output import count, span, table

_RED, _YELLOW, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[0m"


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    told = ask(arguments, "status")
    show(arguments, terminal, told, lambda: "".join(_lines(told, terminal.colour, terminal.wall())))
    return OK if told["ok"] else FOUND


def _lines(told: dict[str, t.Any], colour: bool, now: float) -> t.Iterator[str]:
    nics = told["nics"]
    for problem in told["problems"]:
        severity = problem["severity"]
        painted = f"{_RED if severity == 'error' else _YELLOW}{severity}{_PLAIN}" if colour else severity
        yield f"{painted}: {problem['what']}: {problem['remedy']}\n"
    if not told["problems"]:
        room = max(0, told["cap"] - told["pods"])
        ready = count(nics.get("READY", 0), "NIC")
        yield f"all is well: {ready} ready, {count(told['pods'], 'pod')}, room for {room} more\n"
    states = ", ".join(f"{number} {state}" for state, number in sorted(nics.items())) or "none"
    rows = [
        ("instance", told["instance"]),
        ("agent", f"{told['version'] or 'not installed'}, for {span(now - told['ready_since'])}"),
        ("NICs", states),
        ("wanted", f"{told['want']} of at most {told['cap']}"),
        ("pods", told["pods"]),
    ]
    yield "\n" + table(("", ""), rows).partition("\n")[2]


_ABOUT: t.Final = (
    "Prints a line for each thing that is wrong, with what to do, errors first; else that all is well. Then a few "
    "facts. A warning alone is no failure."
)
COMMAND = Command("status", "show what is wrong and what to do", _run, asks, _ABOUT, (0, 1, 2, FOUND))
