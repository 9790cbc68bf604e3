# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `qingagent`: the rim where errors become an exit status and a sentence on stderr."""

from __future__ import annotations

import os
import sys
import typing as t

from ..errors import HostnicError
from . import (
    completion,
    config,
    doctor,
    drain,
    explain,
    help,
    leases,
    look,
    parking,
    ping,
    pool,
    release,
    reload,
    resume,
    simulate,
    start,
    status,
    stop,
    support_bundle,
    trim,
    version,
    warm,
)
from .command import FAILED, INTERRUPTED, Command, Terminal

COMMANDS: t.Final[tuple[Command, ...]] = (
    start.COMMAND,
    stop.COMMAND,
    version.COMMAND,
    status.COMMAND,
    pool.COMMAND,
    leases.COMMAND,
    explain.COMMAND,
    doctor.COMMAND,
    release.COMMAND,
    drain.COMMAND,
    resume.COMMAND,
    warm.COMMAND,
    trim.COMMAND,
    look.COMMAND,
    reload.COMMAND,
    config.COMMAND,
    simulate.COMMAND,
    ping.COMMAND,
    support_bundle.COMMAND,
    completion.command(lambda: COMMANDS),
    parking.COMMAND,
)


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    """Exit status as in `command.EXITS`."""
    try:
        arguments = help.parser(start.DESCRIPTION, COMMANDS).parse(argv)
        terminal = Terminal.of_this_process()
        status: int = arguments.chosen.run(arguments, terminal)
        terminal.out.flush()
        return status
    except SystemExit as over:  # help was shown, or the command line is wrong
        if not isinstance(over.code, int):
            raise
        return over.code
    except HostnicError as error:
        sys.stderr.write(f"qingagent: {error.message}\n")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read this has seen enough, and nothing more is to be flushed to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
