# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent warm`."""

from __future__ import annotations

import argparse
import typing as t

from . import ordering
from .command import OK, Command, Terminal, ask, asks, show
from .output import count

_FREE: t.Final = ("READY", "QUARANTINE")


def _arguments(parser: argparse.ArgumentParser) -> None:
    asks(parser)
    parser.add_argument("--vxnet", default="", metavar="string", help="count NICs of this vxnet only")
    ordering.add_wait(parser, "they are there")
    parser.add_argument("size", metavar="size", type=int, help="how many free NICs")


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    ordering.seconds(arguments)
    size, vxnet = arguments.size, arguments.vxnet
    told = ask(arguments, "warm", size=size, vxnet=vxnet)
    missing = f"{told['missing']} are to be made" if told["missing"] else "all of them are there or on their way"
    where = f" in {vxnet}" if vxnet else ""
    show(arguments, terminal, told, lambda: f"{count(size, 'free NIC')}{where}: {missing}\n{ordering.steps(told)}")

    def lacking(nics: list[ordering.Told]) -> str:
        pool = [one for one in nics if one["purpose"] == "pool" and vxnet in ("", one["vxnet_id"])]
        free = [one for one in pool if one["state"] in _FREE]
        return f"{len(free)} of {size} are free" if len(free) < size else ""

    if arguments.wait:
        ordering.wait(arguments, terminal, lacking)
    return OK


_ABOUT: t.Final = (
    "Has at least so many free NICs made and kept for prewarm-ttl, before a rush of pods. Prints how many are to be "
    "made; with --wait returns when they are there."
)
COMMAND = Command("warm", "have so many free NICs, kept as pre-warmed ones", _run, _arguments, _ABOUT)
