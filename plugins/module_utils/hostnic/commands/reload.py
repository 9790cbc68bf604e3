# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent reload`: what `systemctl reload qingagent` runs, since it can tell what a signal cannot."""

from __future__ import annotations

import argparse
import typing as t

from .command import JSON, OK, Command, Terminal, ask, asks
from .output import document, table


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    answer = ask(arguments, "reload")
    terminal.out.write(document(answer) if arguments.output == JSON else "".join(_told(answer)))
    return OK


def _told(answer: dict[str, t.Any]) -> t.Iterator[str]:
    changed = [(one["setting"], _shown(one["was"]), _shown(one["now"])) for one in answer["reloaded"]]
    if changed:
        yield table(("SETTING", "WAS", "NOW"), changed)
    for one in answer["needs_restart"]:
        yield (
            f"{one['setting']} stays {_shown(one['now'])} until a restart, which makes it {_shown(one['wanted'])}: "
            f"{one['why']}\n"
        )
    if not changed and not answer["needs_restart"]:
        yield "no setting has changed\n"
    yield f"the access file has {'changed' if answer['access_file'] == 'changed' else 'not changed'}\n"


def _shown(value: t.Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


_ABOUT: t.Final = (
    "Has the agent read its configuration and access file again, as SIGHUP does. Prints what counts now, and what "
    "needs a restart and why. A file that cannot be used changes nothing."
)
COMMAND = Command("reload", "have the agent read its configuration again", _run, asks, _ABOUT)
