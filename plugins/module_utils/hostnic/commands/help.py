# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line's grammar and its help, in the original's shape: `Usage:`, `Flags:`, `Global Flags:`."""

from __future__ import annotations

import argparse
import difflib
import textwrap
import typing as t

from .command import EXITS, Command

PROGRAM: t.Final = "qingagent"
WIDTH: t.Final = 110
QUOTED: t.Final = ("string", "file")  # the types whose default is shown in quotes
GLOBALS: t.Final = ("config", "loglevel")


class Parser(argparse.ArgumentParser):
    """Of the program, and with `command` of one command."""

    def __init__(self, command: t.Optional[Command] = None, description: str = "") -> None:
        prog = f"{PROGRAM} {command.name}" if command else PROGRAM
        super().__init__(prog=prog, description=description, add_help=False, allow_abbrev=False)
        self.command = command
        self.commands: list[Command] = []
        self.add_argument("-h", "--help", action="help", default=argparse.SUPPRESS, help=f"help for {prog.split()[-1]}")
        # suppressed: what stands before the command must not be undone by what does not stand after it
        suppressed = argparse.SUPPRESS
        self.add_argument("--config", metavar="string", default=suppressed,
                          help="config file (default is ./QingAgent.yaml)")  # fmt: skip
        self.add_argument("--loglevel", metavar="string", default=suppressed,
                          help='debug, info, warn or error (default "info")')  # fmt: skip

    def format_help(self) -> str:
        """The whole page."""
        flags = [action for action in self._actions if action.option_strings]
        own = sorted((one for one in flags if one.dest not in GLOBALS), key=_name)
        common = sorted((one for one in flags if one.dest in GLOBALS), key=_name)
        parts = [textwrap.fill(self.description or "", WIDTH) + "\n"]
        if self.command is None:
            width = max(len(command.name) for command in self.commands)
            lines = "".join(f"  {command.name.ljust(width)}   {command.help}\n" for command in self.commands)
            parts += [f"Usage:\n  {PROGRAM} [command]\n", f"Available Commands:\n{lines}"]
            parts += [f"Flags:\n{_flags(own + common)}"]
            parts += [f'Use "{PROGRAM} [command] --help" for more information about a command.\n']
            return "\n".join(parts)
        words = "".join(f" {action.metavar}" for action in self._actions if not action.option_strings)
        parts += [
            f"Usage:\n  {self.prog}{words} [flags]\n",
            f"Flags:\n{_flags(own)}",
            f"Global Flags:\n{_flags(common)}",
        ]
        exits = "".join(f"  {status}   {EXITS[status]}\n" for status in self.command.exits)
        return "\n".join([*parts, f"Exit Status:\n{exits}"])

    def actions(self) -> list[argparse.Action]:
        """Flags and words that it takes."""
        return list(self._actions)

    def error(self, message: str) -> t.NoReturn:
        """A wrong command line: one sentence, and where to look."""
        self.exit(2, f"{self.prog}: {message}: see {self.prog} -h\n")

    def parse(self, argv: t.Optional[t.Sequence[str]]) -> argparse.Namespace:
        """Raises `SystemExit` for a wrong command line, and after `-h`."""
        arguments, unknown = self.parse_known_args(argv)
        if unknown:
            self.error(f"{' '.join(unknown)} is not known here")
        return arguments


def parser(description: str, commands: t.Sequence[Command]) -> Parser:
    """Of the whole program; the chosen command is `chosen` of what it parses."""
    program = Parser(description=description)
    program.commands = list(commands)
    program.add_argument("chosen", metavar="command", action=_Choose, commands=commands, nargs=argparse.PARSER)
    return program


class _Choose(argparse.Action):
    """The command's own parser reads what follows its name."""

    def __init__(self, *, commands: t.Sequence[Command], **keywords: t.Any) -> None:
        super().__init__(**keywords)
        self._commands = {command.name: command for command in commands}

    def __call__(self, parser_: argparse.ArgumentParser, namespace: argparse.Namespace, values: t.Any,
                 __: t.Optional[str] = None) -> None:  # fmt: skip
        name, *rest = values
        if name not in self._commands:
            nearest = difflib.get_close_matches(name, self._commands, n=1, cutoff=0.5)
            parser_.error(f"unknown command {name!r}" + (f", did you mean {nearest[0]}?" if nearest else ""))
        command = self._commands[name]
        namespace.chosen = command
        for key, value in vars(of_command(command).parse(rest)).items():
            setattr(namespace, key, value)


def of_command(command: Command) -> Parser:
    """The parser of one command."""
    found = Parser(command, command.about or f"{command.help[:1].upper()}{command.help[1:]}.")
    command.arguments(found)
    return found


def _name(action: argparse.Action) -> str:
    return action.option_strings[-1].lstrip("-")


def line(action: argparse.Action) -> str:
    """`--flag type   text (default X)`."""
    return _flags([action]).rstrip("\n")


def _flags(actions: t.Sequence[argparse.Action]) -> str:
    """`--flag type   text (default X)`; strings in quotes, and what is empty is not told."""
    named = [(_flag(action), _told(action)) for action in actions]
    width = max(len(flag) for flag, __ in named)
    return "".join(f"{flag.ljust(width)}   {told}\n" for flag, told in named)


def _flag(action: argparse.Action) -> str:
    short = next((name for name in action.option_strings if not name.startswith("--")), "")
    kind = f" {action.metavar}" if action.nargs != 0 and action.metavar else ""
    return f"{'  ' + short + ', ' if short else '      '}{action.option_strings[-1]}{kind}"


def _told(action: argparse.Action) -> str:
    text, default = action.help or "", action.default
    if default in (None, argparse.SUPPRESS, "", False) or action.nargs == 0:
        return text
    return f"{text} (default {shown(default, quoted=action.metavar in QUOTED)})"


def shown(value: t.Any, quoted: bool) -> str:
    """A default as the original showed it: texts in quotes."""
    return f'"{value}"' if quoted else str(value)
