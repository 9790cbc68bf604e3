# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent simulate`: what settings of the pool would do for pods at a given rate, by the pool's own code."""

from __future__ import annotations

import argparse
import logging
import re
import typing as t
from dataclasses import asdict, fields, replace

from .. import config as agent
from ..configuration import values
from ..errors import InvalidConfig
from ..simulation.figures import Advice, Figures, advise, figures
from ..simulation.run import ADD_PATIENCE, Result, Scenario, Step, simulate
from ..simulation.world import VXNET
from . import spelling
from .command import OK, Command, Terminal, add_output, show
from .output import ASCII, chart

POOL: t.Final = ("pool_low", "pool_high", "max_nics", "idle_ttl", "quarantine", "quarantine_min", "reconcile_interval",
                 "attach_chunk", "api_rate")  # fmt: skip
LABELS: t.Final = 12  # columns before a chart
_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|m|h))?")
_PER: t.Final = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_STEP = re.compile(r"([^:+]+)(?::([^+]+))?(?:\+(\d+))?")


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser)
    told = {
        "rate": ("rate", "0.05/s", "how many pods come, such as 0.5/s or 30/m"),
        "profile": ("string", "", "instead of --rate: TIME:RATE, and TIME+COUNT for so many at once, with commas"),
        "lifetime": ("duration", "10m", "how long a pod lives on average"),
        "duration": ("duration", "30m", "how long pods come"),
        "lead-time": ("duration", "3.5s", "how long the cloud takes for an attach or detach job"),
        "call-time": ("duration", "100ms", "how long the API takes for an answer"),
        "target": ("duration", "1s", "how long 99 of 100 pods may wait at most"),
    }
    for name, (kind, default, text) in told.items():
        parser.add_argument(f"--{name}", metavar=kind, default=default, help=text)
    parser.add_argument("--seed", metavar="int", type=int, default=1, help="another one gives other random moments")
    for option in fields(agent.Settings):
        if option.name in POOL:
            key, kind = option.metadata["key"], spelling.KINDS[option.metadata["kind"]]
            text = f"{option.metadata['help']} (default as configured)"
            parser.add_argument(f"--{key}", dest=option.name, metavar=kind, default=argparse.SUPPRESS, help=text)


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    settings, scenario = _settings(arguments, terminal), _scenario(arguments)
    target = _seconds("target", arguments.target)
    log = logging.getLogger("hostnic")
    before, log.disabled = log.level, True
    log.setLevel(logging.CRITICAL)  # what the simulated pool says is not about this machine
    try:
        result = simulate(settings, scenario)
        found = figures(result, scenario)
        advice = advise(settings, scenario, result, found, target)
    finally:
        log.disabled = False
        log.setLevel(before)
    show(
        arguments,
        terminal,
        _document(settings, result, found, advice),
        lambda: "".join(f"{line}\n" for line in _lines(result, found, advice, terminal)),
    )
    return OK


def _settings(arguments: argparse.Namespace, terminal: Terminal) -> agent.Settings:
    """Those of this machine where it has any, with what the flags say, and a vxnet that has room."""
    given = vars(arguments)
    flags = {one.metadata["key"]: given[one.name] for one in fields(agent.Settings) if one.name in given}
    named = given.get("config") or terminal.environ.get(f"{agent.ENVIRONMENT}CONFIG")
    here = terminal.cwd if named or agent.find(terminal.cwd) else agent.DIRECTORY
    settings, __ = agent.load({**flags, "vxnet": VXNET}, terminal.environ, here, given.get("config"))
    return replace(settings, iface="eth0", degradation="")


def _scenario(arguments: argparse.Namespace) -> Scenario:
    profile = _profile(arguments.profile) if arguments.profile else (Step(0.0, _rate(arguments.rate)),)
    return Scenario(
        profile,
        _positive("duration", arguments.duration),
        _positive("lifetime", arguments.lifetime),
        _seconds("lead-time", arguments.lead_time),
        _seconds("call-time", arguments.call_time),
        arguments.seed,
    )


def _profile(text: str) -> tuple[Step, ...]:
    """`0s:0.1/s, 10m:2/s, 15m+30`: what a step does not say stays as it was."""
    steps: list[Step] = []
    for part in text.split(","):
        found = _STEP.fullmatch(part.strip())
        if not found:
            raise InvalidConfig(f"--profile: {part.strip()!r} is no step", remedy="write it like 10m:2/s or 10m+30")
        rate = _rate(found.group(2)) if found.group(2) else steps[-1].rate if steps else 0.0
        steps.append(Step(_seconds("profile", found.group(1)), rate, int(found.group(3) or 0)))
    return tuple(sorted(steps, key=lambda step: step.since))


def _rate(text: str) -> float:
    found = _RATE.fullmatch(text.strip())
    if not found:
        raise InvalidConfig(f"{text.strip()!r} is no rate of pods", remedy="write it like 0.5/s, 30/m or 100/h")
    return float(found.group(1)) / _PER[found.group(2)]


def _seconds(flag: str, text: str) -> float:
    found = values.duration(text)
    if found is None:
        raise InvalidConfig(f"--{flag}: {text!r} is no duration", remedy="write it like 90s, 10m or 500ms")
    return found


def _positive(flag: str, text: str) -> float:
    found = _seconds(flag, text)
    if not found:
        raise InvalidConfig(f"--{flag} is 0", remedy="write it like 10m")
    return found


def _document(settings: agent.Settings, result: Result, found: Figures, advice: Advice) -> dict[str, t.Any]:
    keys = {one.name: one.metadata["key"] for one in fields(settings)}
    finite = {name: value if value != float("inf") else None for name, value in asdict(found).items()}
    return {
        **finite,
        "settings": {keys[name]: getattr(settings, name) for name in POOL},
        "samples": [sample._asdict() for sample in result.samples],
        "advice": advice.sentence,
        "advised": dict(advice.settings),
    }


def _lines(result: Result, found: Figures, advice: Advice, terminal: Terminal) -> t.Iterator[str]:
    samples = result.samples
    yield f"{'pods':<{LABELS}}{found.pods}, of which {found.at_once:.1%} got their NIC at once"
    shares = (("half", found.median), ("95 of 100", found.p95), ("99 of 100", found.p99))
    waits = ", ".join(f"{share} {_waited(seconds)}" for share, seconds in shares)
    yield f"{'waiting':<{LABELS}}{waits}; the longest {found.longest:.1f} s"
    if found.refused:
        yield f"{'':<{LABELS}}{found.refused} gave up: no NIC came in {ADD_PATIENCE:g} s"
    yield f"{'NICs':<{LABELS}}at most {found.peak} of {found.cap}; {found.idle:.1f} without a pod on average"
    yield f"{'API calls':<{LABELS}}{found.calls_a_minute:.1f} a minute, at most {found.most_calls} in one"
    unicode = (getattr(terminal.out, "encoding", None) or "utf-8").lower().startswith("utf")
    for label, series in (
        ("running", [sample.running for sample in samples]),
        ("warm target", [sample.warm for sample in samples]),
        ("ready", [sample.ready for sample in samples]),
    ):
        drawn = chart(series, max(20, terminal.width - LABELS - 12), *(() if unicode else (ASCII,)))
        yield f"{label:<{LABELS}}{drawn}  {min(series)}..{max(series)}"
    yield advice.sentence


def _waited(seconds: float) -> str:
    return "longer than a pod does" if seconds == float("inf") else f"up to {seconds:.1f} s"


_ABOUT: t.Final = (
    "Prints how long pods would wait, how many NICs they would take, how the warm target would go and how often the "
    "API would be called, were pods to come like that; and which settings do better. The pool's own code runs "
    "against a cloud in memory, in time that costs nothing; the same command prints the same. Nothing of this machine "
    "is touched."
)
COMMAND = Command("simulate", "show what settings would do for so many pods", _run, _arguments, _ABOUT)
