# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command of `qingagent` is made of, and what it may know of the process that it runs in."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .. import wire
from .output import document

OK: t.Final = 0
FAILED: t.Final = 1
WRONG_LINE: t.Final = 2
FOUND: t.Final = 3
INTERRUPTED: t.Final = 130
# Exit status ► what it says; each command's help lists its own.
EXITS: t.Final[t.Mapping[int, str]] = {
    OK: "fine",
    FAILED: "it could not be done: a sentence on stderr says why",
    WRONG_LINE: "the command line is wrong",
    FOUND: "asked, and something is wrong: the output says what",
    INTERRUPTED: "interrupted by ^C",
}
TEXT: t.Final = "text"
JSON: t.Final = "json"


@dataclass(frozen=True)
class Terminal:
    """Streams and surroundings; `tty` where a person reads `out`, who has `width` columns."""

    out: t.TextIO
    err: t.TextIO
    environ: t.MutableMapping[str, str]
    cwd: Path
    tty: bool = False
    width: int = 100
    clock: t.Callable[[], float] = wire.boottime  # the agent's
    wall: t.Callable[[], float] = time.time

    @classmethod
    def of_this_process(cls) -> Terminal:
        columns = shutil.get_terminal_size((cls.width, 24)).columns
        return cls(sys.stdout, sys.stderr, os.environ, Path.cwd(), sys.stdout.isatty(), columns)

    @property
    def colour(self) -> bool:
        """As https://no-color.org wants it."""
        return self.tty and not self.environ.get("NO_COLOR") and self.environ.get("TERM") != "dumb"


def no_arguments(__: argparse.ArgumentParser) -> None:
    """Of a command that takes none of its own."""


@dataclass(frozen=True)
class Command:
    """`help` is one line; `about` says what it prints. `arguments` adds the command's own to its parser.

    `run` returns an exit status of `exits`, and raises `HostnicError` for what could not be done.
    """

    name: str
    help: str
    run: t.Callable[[argparse.Namespace, Terminal], int]
    arguments: t.Callable[[argparse.ArgumentParser], None] = no_arguments
    about: str = ""
    exits: tuple[int, ...] = (OK, FAILED, WRONG_LINE)


def add_output(parser: argparse.ArgumentParser) -> None:
    """`--output`, of every command that shows something."""
    parser.add_argument(
        "--output", choices=(TEXT, JSON), default=TEXT, metavar="string", help="text for people, json for programs"
    )


def add_socket(parser: argparse.ArgumentParser) -> None:
    """`--socket`, of every command that asks the agent."""
    parser.add_argument("--socket", default=wire.SOCKET, metavar="string", help="where the agent listens")


def asks(parser: argparse.ArgumentParser) -> None:
    """The arguments of a command that asks the agent and shows its answer."""
    add_output(parser)
    add_socket(parser)


def ask(arguments: argparse.Namespace, op: str, timeout: float = 10.0, **params: t.Any) -> t.Any:
    """The agent's answer. Raises `HostnicError`."""
    return wire.ask(arguments.socket, op, params, timeout)


def show(arguments: argparse.Namespace, terminal: Terminal, value: t.Any, text: t.Callable[[], str]) -> None:
    """As `--output` asks."""
    terminal.out.write(document(value) if arguments.output == JSON else text())
