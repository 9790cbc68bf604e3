# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `qingagent`: the rim where errors become an exit status and a sentence on stderr."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import typing as t
from dataclasses import fields
from pathlib import Path

from .. import config, probed, wire
from ..cni import loglevel
from ..errors import HostnicError
from ..net import named
from . import about, questions, service

log = logging.getLogger("hostnic.agent")

DESCRIPTION: t.Final = (
    "QingCloud container networking agent is a daemon process which allocates and recollects nics resources."
)
CONFIGURATION: t.Final = Path("/etc/qingagent")
LOG_FORMAT: t.Final = "%(levelname)s %(name)s: %(message)s"


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    """Exit status 0, 1 for an error that was told on stderr, 2 for a wrong command line."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except HostnicError as error:
        sys.stderr.write(f"qingagent: {error.message}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", metavar="string", help="config file (default is ./QingAgent.yaml)")
    common.add_argument("--loglevel", metavar="string", default=argparse.SUPPRESS, help="debug, info, warn or error")
    parser = argparse.ArgumentParser(prog="qingagent", description=DESCRIPTION)
    commands = parser.add_subparsers(metavar="command", required=True)

    start = commands.add_parser("start", parents=[common], help="run the agent in the foreground")
    for option in fields(config.Settings):
        key = option.metadata["key"]
        if key != "loglevel":
            shown = ",".join(option.default) if isinstance(option.default, tuple) else option.default
            text = f"{option.metadata['help']} (default {shown})"
            start.add_argument(f"--{key}", dest=option.name, metavar=option.metadata["kind"],
                               default=argparse.SUPPRESS, help=text)  # fmt: skip
    start.set_defaults(run=_start)

    parking = commands.add_parser("parking", parents=[common], help="make the netns in which ready NICs wait")
    parking.set_defaults(run=_parking)
    commands.add_parser("version", help="print the version and the digest of the package").set_defaults(run=_version)
    for name, text in questions.QUESTIONS.items():
        question = commands.add_parser(name, help=text)
        question.add_argument(
            "--socket", default=wire.SOCKET, metavar="string", help=f"where the agent listens (default {wire.SOCKET})"
        )
        if name in questions.PARAMETERS:
            metavar, kind = questions.PARAMETERS[name]
            question.add_argument("parameter", metavar=metavar, type=kind)
        question.set_defaults(run=_ask, question=name, parameter="")
    return parser


def _start(arguments: argparse.Namespace) -> None:
    names = {option.name: option.metadata["key"] for option in fields(config.Settings)}
    flags = {names[name]: value for name, value in vars(arguments).items() if name in names}
    settings, origins = config.load(flags, os.environ, Path.cwd(), arguments.config)
    _log(loglevel.LEVELS[settings.loglevel])
    measured = probed.read(CONFIGURATION / "probe.json")
    service.run(measured.fitted(settings, origins), origins, config.instance_id(), os.environ, measured)


def _log(level: int) -> None:
    """The handler decides, since a network may ask for more or less than the agent's level."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(loglevel.Threshold(level))
    logging.basicConfig(level=level, format=LOG_FORMAT, handlers=[handler])
    logging.getLogger("hostnic").setLevel(logging.DEBUG)


def _parking(arguments: argparse.Namespace) -> None:
    named.make(service.PARKING)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=LOG_FORMAT)
    try:
        settings, __ = config.load({}, os.environ, CONFIGURATION, arguments.config)
        service.guard_early(settings.statedir)
    except HostnicError as error:  # the netns stands, and the agent guards the NICs once it runs
        log.warning("network managers are not told of pods' NICs yet: %s", error.message)


def _version(__: argparse.Namespace) -> None:
    told = about.package()
    text = f"qingagent {told['version'] or 'not installed'} {told['digest']}".rstrip()
    sys.stdout.write(f"{text}\n")


def _ask(arguments: argparse.Namespace) -> None:
    parameter, __ = questions.PARAMETERS.get(arguments.question, ("", str))
    params = {parameter: arguments.parameter} if parameter else {}
    answer = json.dumps(wire.ask(arguments.socket, arguments.question, params), indent=2)
    sys.stdout.write(f"{answer}\n")
