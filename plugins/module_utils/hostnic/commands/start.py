# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent start`: the agent itself, in the foreground."""

from __future__ import annotations

import argparse
import logging
import typing as t
from dataclasses import fields
from pathlib import Path

from .. import config, probed
from ..agent import service
from ..cni import loglevel
from . import spelling
from .command import OK, Command, Terminal

DESCRIPTION: t.Final = (
    "QingCloud container networking agent is a daemon process which allocates and recollects nics resources."
)
LOG_FORMAT: t.Final = "%(levelname)s %(name)s: %(message)s"


def add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting; those that are not given are not among what is parsed."""
    for option in fields(config.Settings):
        key = option.metadata["key"]
        if key != "loglevel":
            parser.add_argument(
                f"--{key}",
                dest=option.name,
                metavar=spelling.KINDS[option.metadata["kind"]],
                action="append" if option.metadata["kind"] == "list" else "store",
                default=argparse.SUPPRESS,
                help=option.metadata["help"] + spelling.default(option),
            )


def settings_of(
    arguments: argparse.Namespace, environ: t.Mapping[str, str], cwd: Path
) -> tuple[config.Settings, dict[str, str]]:
    """The settings that the agent would run with here, and where each is from. Raises `InvalidConfig`."""
    given = vars(arguments)
    flags = {one.metadata["key"]: given[one.name] for one in fields(config.Settings) if one.name in given}
    return config.load(flags, environ, cwd, given.get("config"))


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    settings, origins = settings_of(arguments, terminal.environ, terminal.cwd)
    _log(loglevel.LEVELS[settings.loglevel], terminal.err)
    measured = probed.read(Path(config.DIRECTORY) / "probe.json")
    service.run(measured.fitted(settings, origins), origins, config.instance_id(), terminal.environ, measured)
    return OK


def _log(level: int, stream: t.TextIO) -> None:
    """The handler decides, since a network may ask for more or less than the agent's level."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(loglevel.Threshold(level))
    logging.basicConfig(level=level, format=LOG_FORMAT, handlers=[handler])
    logging.getLogger("hostnic").setLevel(logging.DEBUG)


COMMAND = Command("start", "run the agent in the foreground", _run, add_settings, DESCRIPTION)
