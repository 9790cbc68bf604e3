# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/qingagent.md, drawn from the commands themselves: what they say of themselves, and what they print.

The agent that answers is the real one before an emulated cloud, in emulated time, so that it prints the same each time.
"""

from __future__ import annotations

import io
import os
import tempfile
import typing as t
from dataclasses import fields
from pathlib import Path

from hostnic.agent import questions
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.cloud.build import connect
from hostnic.cloud.limiter import RateLimiter
from hostnic.cloud.qingcloud import QingCloud
from hostnic.commands import cli, help, start
from hostnic.commands.command import EXITS, Terminal
from hostnic.config import Settings
from tests.support.node import Node

WIDTH: t.Final = 100
# Command ► its words. Those that differ from machine to machine are not among them.
SAMPLES: t.Final[t.Mapping[str, tuple[str, ...]]] = {
    "status": (),
    "pool": (),
    "leases": (),
    "explain": (),
    "warm": ("6",),
    "trim": (),
    "drain": (),
    "resume": (),
    "simulate": ("--profile", "0s:3/m,5m+10", "--lifetime", "3m", "--duration", "10m", "--pool-low", "2"),
}


def page() -> str:
    lines = [
        "# The command `qingagent`",
        "",
        "Drawn by `python -m tests.docs commands` from the command itself, compared by `tests/unit/test_docs.py`.",
        "`--config` and `--loglevel` may stand before or after the command; `-h` at each says the same as this page.",
        "",
        "Whatever shows something shows it for people, and with `--output json` for programs: documents whose keys",
        "stay. Commands that ask the agent take `--socket` where it listens elsewhere. They need root.",
        "",
        "| exit status | means |",
        "|---|---|",
        *(f"| {status} | {text} |" for status, text in EXITS.items()),
    ]
    with tempfile.TemporaryDirectory() as directory:
        printed = _printed(Path(directory))
    for one in cli.COMMANDS:
        about = one.about or f"{one.help[:1].upper()}{one.help[1:]}."
        exits = ", ".join(map(str, one.exits))
        called = " ".join(("qingagent", one.name, *_words(one)))
        lines += ["", f"## {one.name}", "", about, "", f"`{called}`; exit status {exits}."]
        if one.name in printed:
            called = " ".join(("qingagent", one.name, *SAMPLES[one.name]))
            lines += ["", f"`{called}` prints, for example:", "", "```text", printed[one.name].rstrip("\n"), "```"]
        if _flags(one):
            lines += ["", "| flag | meaning |", "|---|---|", *(_row(flag) for flag in _flags(one))]
    return "\n".join(lines) + "\n"


def _actions(one: t.Any) -> list[t.Any]:
    return help.of_command(one).actions()


def _words(one: t.Any) -> list[str]:
    return [str(action.metavar) for action in _actions(one) if not action.option_strings]


def _flags(one: t.Any) -> list[t.Any]:
    common = {*help.GLOBALS, "help", "output", "socket"}
    if one.name == "config":
        common |= {option.name for option in fields(Settings)}
    return [action for action in _actions(one) if action.option_strings and action.dest not in common]


def _row(action: t.Any) -> str:
    flag, __, told = help.line(action).strip().partition("   ")
    return f"| `{flag}` | {told.strip().replace('<', '&lt;')} |"


class Shown(Node):
    """Called as often as an agent at shipped defaults."""

    def _connect(self) -> QingCloud:
        limiter = RateLimiter(5.0, 5, self.clock.now, self.emulator.advance)
        return connect(self.settings, limiter=limiter, sleep=lambda seconds: None)


def _printed(directory: Path) -> dict[str, str]:
    """Command ► what it prints."""
    found: dict[str, str] = {}
    with Shown(directory, max_nics=20) as node:
        node.run(10)
        for number in (1, 2):
            node.add(f"5f2b6c9e0{number}d4", number)
        node.run(90)
        path = str(directory / "sock")
        server = Server([UnixDoor(listen_at(path), questions.handlers(node.engine), os.getuid())], node.pool.poke)
        server.start()
        try:
            for name, words in SAMPLES.items():
                asks = [] if name == "simulate" else ["--socket", path]
                found[name] = _run(directory, [name, *words, *asks], node.clock.now)
        finally:
            server.stop(5)
    return found


def _run(directory: Path, words: t.Sequence[str], clock: t.Callable[[], float]) -> str:
    out = io.StringIO()
    later = questions.STARTED + 7500
    terminal = Terminal(out, io.StringIO(), {}, directory, width=WIDTH, clock=clock, wall=lambda: later)
    arguments = help.parser(start.DESCRIPTION, cli.COMMANDS).parse(words)
    arguments.chosen.run(arguments, terminal)
    return out.getvalue()
