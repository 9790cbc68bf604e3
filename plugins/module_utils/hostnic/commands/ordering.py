# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands that order something have in common: what they say, and waiting for it to be carried out."""

from __future__ import annotations

import argparse
import time
import typing as t
from collections import Counter

from ..configuration import values
from ..errors import InvalidConfig, Timeout
from .command import Terminal, ask
from .output import count, span

POLL: t.Final = 1.0  # s
Told = t.Mapping[str, t.Any]


def add_wait(parser: argparse.ArgumentParser, what: str) -> None:
    """`--wait` and `--timeout`."""
    parser.add_argument("--wait", action="store_true", help=f"wait until {what}, and show how far it is")
    parser.add_argument("--timeout", default="10m", metavar="duration", help="how long to wait at most")


def steps(told: Told) -> str:
    """What is done at once, and what bounds and stands in the way of the rest."""
    counts: Counter[str] = Counter()
    for action in told["actions"]:
        counts[action["action"]] += action.get("count") or len(action.get("nic_ids", ()))
    now = ", ".join(f"{name} {count(number, 'NIC')}" for name, number in counts.items())
    said = f"at once: {now}\n" if now else ""
    if told["trouble"]:
        said += f"in the way: {told['trouble']['message']}\n"
    return said


def seconds(arguments: argparse.Namespace) -> float:
    """Raises `InvalidConfig`."""
    found = values.duration(arguments.timeout)
    if found is None:
        raise InvalidConfig(f"--timeout {arguments.timeout!r} is no duration", remedy="write it like 90s or 10m")
    return found


def wait(
    arguments: argparse.Namespace,
    terminal: Terminal,
    missing: t.Callable[[list[Told]], str],
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], object] = time.sleep,
) -> None:
    """Until nothing is `missing` from the table of NICs. Raises `Timeout` with what still is."""
    patience = seconds(arguments)
    started, shown = clock(), ""
    while True:
        left = missing(ask(arguments, "pool"))
        if not left:
            terminal.err.write("\n" if shown and terminal.tty else "")
            return
        if clock() - started >= patience:
            terminal.err.write("\n" if shown and terminal.tty else "")
            raise Timeout(f"after {span(patience)}: {left}", remedy="see qingagent status, and wait longer (--timeout)")
        if terminal.tty:
            terminal.err.write(f"\r\x1b[K{left}, for {span(clock() - started)}")
        elif left != shown:
            terminal.err.write(f"{left}\n")
        terminal.err.flush()
        shown = left
        sleep(POLL)


def of_states(nics: t.Iterable[Told]) -> str:
    """`3 IN_USE, 1 DETACHING`."""
    found = Counter(str(nic["state"]) for nic in nics)
    return ", ".join(f"{number} {state}" for state, number in sorted(found.items()))
