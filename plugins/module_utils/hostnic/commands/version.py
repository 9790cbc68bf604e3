# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent version`: of the package that this command comes from, and of the running agent where that is another."""

from __future__ import annotations

import argparse
import typing as t

from ..agent import about
from ..errors import HostnicError
from .command import OK, Command, Terminal, ask, asks, show

PATIENCE: t.Final = 2.0  # s that the agent has to tell its own


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    mine = about.package()
    running: t.Optional[dict[str, t.Any]]
    try:
        running = ask(arguments, "version", PATIENCE)
    except HostnicError:  # it need not run
        running = None
    show(arguments, terminal, {**mine, "running": running}, lambda: _said(mine, running))
    return OK


def _said(mine: t.Mapping[str, t.Any], running: t.Optional[t.Mapping[str, t.Any]]) -> str:
    said = f"{_named('qingagent', mine)}\n"
    if running and (running["version"], running["digest"]) != (mine["version"], mine["digest"]):
        said += f"{_named('the agent that runs is', running)}: systemctl restart qingagent\n"
    return said


def _named(what: str, told: t.Mapping[str, t.Any]) -> str:
    return f"{what} {told['version'] or 'not installed'} {told['digest']}".rstrip()


_ABOUT: t.Final = (
    "Prints the version of the collection and the digest of the package that this command comes from; and those of the "
    "running agent where they are others."
)
COMMAND = Command("version", "show the version and the digest of the package", _run, asks, _ABOUT)
