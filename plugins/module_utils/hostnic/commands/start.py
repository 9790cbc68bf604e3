# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent start`: the agent itself, in the foreground."""

from __future__ import annotations

import argparse
import typing as t
from dataclasses import fields
from pathlib import Path

from .. import config, guarded, probed
from ..agent import logs
from . import spelling
from .command import OK, Command, Terminal

DESCRIPTION: t.Final = (
    "QingCloud container networking agent is a daemon process which allocates and recollects nics resources."
)


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
    from ..agent import service  # half of all that there is to load: every other command does without

    def configured() -> tuple[config.Settings, dict[str, str]]:
        settings, origins = settings_of(arguments, terminal.environ, terminal.cwd)
        guarded.configuration(origins)
        return settings, origins

    def read() -> tuple[config.Settings, dict[str, str]]:
        """Again, as at the start."""
        settings, origins = configured()
        return measured.fitted(settings, origins), origins

    settings, origins = configured()
    output = logs.set_up(terminal.err, terminal.environ, settings.loglevel)
    measured = probed.read(Path(config.DIRECTORY) / "probe.json")
    fitted = measured.fitted(settings, origins)
    service.run(fitted, origins, config.instance_id(), terminal.environ, measured, read, output)
    return OK


COMMAND = Command("start", "run the agent in the foreground", _run, add_settings, DESCRIPTION)
