# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the time of an ADD goes, from exec to exit, paced, on a real node.

The agent tells it itself: at the log level `debug`, which these calls' network asks for, it says of each call how long
its phases took; at any other level that costs one comparison. What the agent cannot know comes from beside it: from
exec until the agent has read what the launcher wrote (`exec`), and from the agent's last word until exit (`answer`).

    exec       the launcher starts, reads the configuration and writes the call, which the agent reads
    wire       the pod's netns is opened, and the call travels to a thread of the agent
    queue      the call is checked, other calls for the same pod are waited for
    reserve    a NIC is chosen, and its reservation is in the journal
    gateway    the pod's routes are laid out
    turn       other pods' moves are waited for
    move       the kernel moves the link into the pod
    configure  address, up, routes
    commit     the journal, and the result
    answer     the result travels to qingcni, which is there by now, is printed, and the interpreter ends

These calls' lines in the log make them slower by what it takes to write them; no bar is held against them.

Then what the kernel does meanwhile: the stacks of the agent's threads that are inside a message to netlink (`stacks`).
"""

from __future__ import annotations

import json
import re
import statistics
import time
import typing as t
from contextlib import ExitStack
from dataclasses import asdict

from tests.bench import contenders
from tests.bench.contenders import Places, Remote
from tests.bench.figures import Measured, Setting, Spread
from tests.e2e.cluster import Cluster
from tests.lab.lab import Node

CALLS, QUICK_CALLS = 100, 25
NICS: t.Final = 12
PHASES: t.Final = ("exec", "wire", "queue", "reserve", "gateway", "turn", "move", "configure", "commit", "answer")
_FIELD: t.Final = re.compile(r"(\w+)=(\S+)")


def measure(setting: Setting) -> Measured:
    """No figure of its own: raw data for the page."""
    cluster = Cluster(setting.lab())
    node = cluster.nodes[0]
    with ExitStack() as stack:
        stack.enter_context(contenders.warm(cluster, {node.name: NICS}))
        places = stack.enter_context(Places(node))
        caller = stack.enter_context(Remote(node))
        ours = places.ours(logLevel="debug")
        count = QUICK_CALLS if setting.quick else CALLS

        def add(name: str) -> dict[str, t.Any]:
            pauses = [setting.dice.uniform(*contenders.PAUSE) for __ in range(2)]
            steps = [ours.step(verb, name, places.pods()[0], pause=one) for verb, one in zip(("ADD", "DEL"), pauses)]
            return caller.row(*steps)[0]

        since = time.time()
        calls = {name: add(name) for name in (f"phases-{number}" for number in range(count))}
        told = _told(node, since)
        agent = node.run(["systemctl", "show", "--property=MainPID", "--value", "qingagent.service"]).stdout.strip()
        watcher = contenders.start(node, "stacks", agent)
        for number in range(count):
            add(f"stacks-{number}")
        stacks = json.loads(contenders.end(watcher))
    taken = [_phases(call, told[name]) for name, call in calls.items() if name in told]
    if len(taken) < len(calls):
        setting.tell(f"the log has {len(taken)} of {len(calls)} calls")
    samples = {phase: [one[phase] for one in taken] for phase in PHASES}
    whole = [round(sum(one.values()), 3) for one in taken]
    means = {phase: round(statistics.fmean(values), 3) for phase, values in samples.items()}
    spreads = {phase: asdict(Spread.of(values, "ms")) for phase, values in samples.items()}
    raw = {
        "unit": "ms",
        "means": means,
        "spreads": spreads,
        "whole": asdict(Spread.of(whole, "ms")),
        "samples": samples,
        "stacks": stacks,
    }
    return Measured((), raw, str(NICS))


def _told(node: Node, since: float) -> dict[str, dict[str, float]]:
    """Container ► what the agent said of its ADD."""
    argv = ["journalctl", "--unit=qingagent.service", "--output=cat", f"--since=@{since:.0f}", "--no-pager"]
    found = {}
    for line in node.run(argv).stdout.splitlines():
        words = re.search(r"ADD (\S+) \S+, phase by phase", line)
        if words:
            found[words[1]] = {name: float(value) for name, value in _FIELD.findall(line) if _is_number(value)}
    return found


def _phases(call: t.Mapping[str, t.Any], told: t.Mapping[str, float]) -> dict[str, float]:
    """In ms; they add up to what the caller saw."""
    inside = {phase: told.get(phase, 0.0) for phase in PHASES[2:-1]}
    began = (told["asked_at"] - call["began"]) * 1000
    answer = call["seconds"] * 1000 - began - sum(inside.values())
    inside["queue"] -= told["wire"]
    taken = {"exec": began, "wire": told["wire"], **inside, "answer": answer}
    return {phase: round(taken[phase], 3) for phase in PHASES}


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+\.\d+", text) is not None
