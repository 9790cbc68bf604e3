# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent config`: the effective settings and where each is from; or whether a file can be used."""

from __future__ import annotations

import argparse
import typing as t
from dataclasses import fields
from pathlib import Path

from .. import config as agent
from .. import probed
from ..cloud import credentials
from ..errors import HostnicError
from ..redact import MASK
from . import spelling
from .command import OK, Command, Terminal, add_output, add_socket, ask, show
from .output import table
from .start import add_settings, settings_of

Row = tuple[str, t.Any, str, str]  # key, value, where it is from, as it is written


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser)
    add_socket(parser)
    parser.add_argument("--running", action="store_true", help="what the agent that runs has, as it has been told")
    parser.add_argument("--check", default="", metavar="file", help="only say whether this file can be used")
    add_settings(parser)


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    if arguments.check:
        agent.load({}, {}, terminal.cwd, arguments.check)
        terminal.out.write(f"{arguments.check} can be used\n")
        return OK
    rows = _running(arguments) if arguments.running else _here(arguments, terminal)
    show(
        arguments,
        terminal,
        {key: {"value": value, "from": origin} for key, value, origin, __ in rows},
        lambda: table(("KEY", "VALUE", "FROM"), [(key, written, origin) for key, __, origin, written in rows]),
    )
    return OK


def _running(arguments: argparse.Namespace) -> list[Row]:
    kinds = {option.metadata["key"]: option.metadata["kind"] for option in fields(agent.Settings)}
    told = ask(arguments, "settings")
    return [(key, one["value"], one["origin"], spelling.written(kinds[key], one["value"])) for key, one in told.items()]


def _here(arguments: argparse.Namespace, terminal: Terminal) -> list[Row]:
    named = getattr(arguments, "config", None) or terminal.environ.get(f"{agent.ENVIRONMENT}CONFIG")
    here = named or agent.find(terminal.cwd)
    settings, origins = settings_of(arguments, terminal.environ, terminal.cwd if here else Path(agent.DIRECTORY))
    measured = Path(agent.DIRECTORY, "probe.json")
    fitted = probed.read(measured).fitted(settings, origins)
    told = {one.metadata["key"]: str(measured) for one in fields(settings)
            if getattr(fitted, one.name) != getattr(settings, one.name)}  # fmt: skip
    return [*_settings(fitted, {**origins, **told}), *_access(settings.access_file)]


def _settings(settings: agent.Settings, origins: t.Mapping[str, str]) -> t.Iterator[Row]:
    for option in fields(settings):
        key, value = option.metadata["key"], getattr(settings, option.name)
        shown = list(value) if isinstance(value, tuple) else value
        yield key, shown, origins[key], spelling.written(option.metadata["kind"], value)


def _access(path: str) -> t.Iterator[Row]:
    """What the access file says, with the secret masked; why it cannot be used where it cannot."""
    try:
        access = credentials.read_access(path)
    except HostnicError as error:
        yield "access", None, path, error.message
        return
    key = access.key
    told = {
        "qy_access_key_id": f"{key.access_key_id[:4]}…" if key else "",
        "qy_secret_access_key": MASK if key else "",
        "host": access.host,
        "port": access.port,
        "protocol": access.protocol,
        "uri": access.uri,
    }
    for name, value in told.items():
        yield name, value, access.source, str(value)


_ABOUT: t.Final = (
    "Prints every setting as `qingagent start` would have it here, and where it is from: a flag, a variable, a file or "
    "the default; then what the access file says, secrets masked. Without a file in the working directory it takes "
    "that of the service. With --running it asks the agent for its own; with --check it only says whether a file can "
    "be used."
)
COMMAND = Command("config", "show the effective settings and where each is from", _run, _arguments, _ABOUT)
