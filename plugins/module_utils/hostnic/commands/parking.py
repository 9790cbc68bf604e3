# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent parking`: what the unit qingagent-netns.service runs, before the host's network managers start."""

from __future__ import annotations

import argparse
import logging

from .. import config
from ..agent import logs
from ..errors import HostnicError
from ..net import links, named
from .command import OK, Command, Terminal

log = logging.getLogger("hostnic.agent")


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    from ..agent import service  # as in `start`

    named.make(links.PARKING)
    logs.set_up(terminal.err, terminal.environ, "info")
    try:
        named_file = getattr(arguments, "config", None)
        settings, __ = config.load({}, terminal.environ, config.DIRECTORY, named_file)
        service.guard_early(settings.statedir)
    except HostnicError as error:  # the netns stands, and the agent guards the NICs once it runs
        log.warning("network managers are not told of pods' NICs yet: %s", error.message)
    return OK


COMMAND = Command("parking", "make the netns in which ready NICs wait", _run)
