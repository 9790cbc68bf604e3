# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent parking`: what the unit qingagent-netns.service runs, before the host's network managers start."""

from __future__ import annotations

import argparse
import logging

from .. import config
from ..agent import service
from ..errors import HostnicError
from ..net import named
from .command import OK, Command, Terminal
from .start import LOG_FORMAT

log = logging.getLogger("hostnic.agent")


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    named.make(service.PARKING)
    logging.basicConfig(stream=terminal.err, level=logging.INFO, format=LOG_FORMAT)
    try:
        named_file = getattr(arguments, "config", None)
        settings, __ = config.load({}, terminal.environ, config.DIRECTORY, named_file)
        service.guard_early(settings.statedir)
    except HostnicError as error:  # the netns stands, and the agent guards the NICs once it runs
        log.warning("network managers are not told of pods' NICs yet: %s", error.message)
    return OK


COMMAND = Command("parking", "make the netns in which ready NICs wait", _run)
