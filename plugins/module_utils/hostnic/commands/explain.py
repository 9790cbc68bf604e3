# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent explain`: why the pool wants what it wants, in sentences with numbers."""

from __future__ import annotations

import argparse
import math
import typing as t

from .command import OK, Command, Terminal, ask, asks, show
from .output import count, span

Told = t.Mapping[str, t.Any]


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    told = ask(arguments, "explain")
    show(arguments, terminal, told, lambda: "".join(f"{line}\n" for line in sentences(told)))
    return OK


def sentences(told: Told) -> t.Iterator[str]:
    """The answer of the op `explain`, for people."""
    yield (
        f"The pool wants {count(told['want'], 'NIC')}: {told['used']} for pods that run, {told['waiting']} for pods "
        f"that wait, {told['warm']} warm; at most {told['cap']}."
    )
    ahead = math.ceil(told["rate"] * told["lead_time"])
    yield (
        f"Warm: pods come at {told['rate']:g} a second at most times, and a new NIC takes {told['lead_time']:g} s; so "
        f"{ahead} would be ahead of them{_bent(told, ahead)}."
    )
    places = (
        f"the instance takes {told['limit']}, {told['foreign']} not ours and {told['gateways']} for gateways among them"
    )
    yield f"At most {told['cap']}: {'that is max-nics; ' if _is_capped(told) else ''}{places}."
    yield f"It has {_supply(told)}."
    if told["ordered"]:
        yield f"{count(told['ordered'], 'free NIC')} more are ordered (qingagent warm)."
    if told["bounds"]:
        yield f"Bounded by: {'; '.join(told['bounds'])}."
    yield f"Next: {'; '.join(map(_action, told['actions'])) or 'nothing'}."
    for one in told["blocked"]:
        yield f"No new NICs in {one['vxnet']} for {span(one['for'])}: {one['why']}."
    if told["trouble"]:
        yield f"In the way: {told['trouble']['message']}."
    if not told["proven"]:
        yield "The cloud has not proven yet that this machine is that instance: until then nothing is changed there."
    if told["strangers"]:
        yield f"{count(told['strangers'], 'NIC')} of our name that the journal does not know will be taken in."
    if told["steals"]:
        yield f"{count(told['steals'], 'NIC')} had to serve again before a full rest."
    yield from _cloud(told)


def _bent(told: Told, ahead: int) -> str:
    if told["draining"]:
        return ", and a drain makes that none"
    if told["warm"] == ahead:
        return ""
    return f", and {'pool-low raises' if told['warm'] > ahead else 'pool-high lowers'} that to {told['warm']}"


def _is_capped(told: Told) -> bool:
    return bool(told["cap"] < told["limit"] - told["foreign"] - told["gateways"])


def _supply(told: Told) -> str:
    parts = (
        ("used", "used"), ("ready", "ready"), ("resting", "at rest"), ("inflight", "on their way"),
        ("held", "kept for a workload"), ("broken", "broken"), ("leaving", "on their way out"),
    )  # fmt: skip
    return ", ".join(f"{told[key]} {word}" for key, word in parts if told[key]) or "none"


def _action(action: Told) -> str:
    name = str(action["action"])
    if name == "create":
        return f"create {action['count']} in {action['vxnet_id']}"
    return f"{_WORDS.get(name, name)} {count(len(action['nic_ids']), 'NIC')}"


_WORDS: t.Final = {"letgo": "let go of", "recycle": "end the rest of", "recall": "call back", "unmark": "want again",
                   "mark": "have no use for", "drain": "withdraw"}  # fmt: skip


def _cloud(told: Told) -> t.Iterator[str]:
    cloud = told["cloud"]
    limiter, breaker = cloud.get("limiter"), cloud.get("breaker")
    if limiter:
        pause = f", none for {limiter['pause']:.0f} s" if limiter["pause"] else ""
        yield f"The cloud may be called {limiter['rate']:g} times a second{pause}."
        yield f"Attach jobs run {told['attach_jobs']}."
    if breaker and breaker["state"] != "CLOSED":
        yield f"The API has been away for {span(breaker['away_for'])}: {breaker['last']}."
    for action, one in cloud.get("refused", {}).items():
        yield f"{action} failed {span(one['ago'])} ago: {one['what']}."


_ABOUT: t.Final = (
    "Prints why the pool wants as many NICs as it does: demand, supply, bounds, what is in the way and what comes next."
)
COMMAND = Command("explain", "show why the pool wants what it wants", _run, asks, _ABOUT)
