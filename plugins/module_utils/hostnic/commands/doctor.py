# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent doctor`: looks at node and cloud by itself, so that it helps where no agent runs."""

from __future__ import annotations

import argparse
import logging
import os

from ..errors import HostnicError
from .command import FAILED, FOUND, JSON, OK, WRONG_LINE, Command, Terminal, add_output
from .output import document

ABOUT = (
    "Looks at this node and its cloud and tells what keeps pods from starting or being reached, each with a remedy. "
    "Changes nothing, calls the API about five times, and is done within ten seconds. The exit status is 3 where there "
    "is an error; warnings alone leave it 0."
)


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    from ..doctor import patient, show  # with the client of the cloud's API: no other command needs it
    from ..doctor.examine import examine

    if os.geteuid() != 0:
        raise HostnicError("doctor looks at what only root may see: run it as root")
    logging.getLogger("hostnic").addHandler(logging.NullHandler())  # what it would log is among the findings
    named = getattr(arguments, "config", None)
    report = examine(patient.of_this_node(terminal.cwd / named if named else None, terminal.environ))
    if arguments.output == JSON:
        terminal.out.write(document(report.document()))
    else:
        terminal.out.write(show.text(report, terminal.colour, terminal.width))
    return OK if report.healthy else FOUND


COMMAND = Command(
    "doctor",
    "find what is wrong on this node and in its cloud",
    _run,
    add_output,
    ABOUT,
    (OK, FAILED, WRONG_LINE, FOUND),
)
