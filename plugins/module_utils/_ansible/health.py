# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a node's agent and plugin work, and whether the agent still has what one before it had."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from ..hostnic import wire
from ..hostnic.errors import HostnicError
from ..hostnic.model import LeaseKey
from ..hostnic.states import LEAVING, State

Records = t.Sequence[t.Mapping[str, t.Any]]
# As `command.run`.
Runner = t.Callable[[t.Sequence[str], t.Mapping[str, str], str], "tuple[int, str, str]"]

PAUSE: t.Final = 0.5  # s between looks
# The agent could not be reached, answered in a foreign tongue, or has a defect; below are its own words on the pool.
_WORST: t.Final = 100
_CONF: t.Final = '{"cniVersion": "1.1.0", "name": "health", "type": "qingcni"}'
_IN_A_POD: t.Final = (State.RESERVED, State.IN_USE)


@dataclass(frozen=True)
class Health:
    """One look. `version` is empty for an agent that cannot tell, from before agents could."""

    version: dict[str, t.Any] = field(default_factory=dict)
    pool: Records = ()
    leases: Records = ()
    problems: t.Sequence[str] = ()


def look(
    socket: str,
    plugins: t.Sequence[str],
    run: Runner,
    digest: t.Optional[str] = None,
    before: t.Optional[t.Mapping[str, t.Any]] = None,
) -> Health:
    """`digest`: the version that has to be running; `before`: the result of an earlier look. Never raises."""
    problems = [problem for plugin in plugins for problem in _trouble(plugin, run)]
    try:
        version = _version(socket)
        # leases first: a pod that ends in between leaves a lease without a NIC in use, which is no loss
        leases = wire.ask(socket, "leases")
        pool = wire.ask(socket, "pool")
    except HostnicError as error:
        return Health(problems=[*problems, error.message])
    running = version.get("digest", "")
    if digest and running != digest:
        problems.append(f"the agent that answers is version {running or 'unknown'} and not {digest}")
    if before:
        problems += lost(before["pool"], before["leases"], pool, leases)
    return Health(version, pool, leases, problems)


def settle(
    check: t.Callable[[], Health],
    patience: float,
    steady: float,
    clock: t.Callable[[], float],
    sleep: t.Callable[[float], None],
) -> Health:
    """Until one process has been well for `steady` seconds; the last look at the end of `patience` seconds."""
    until = clock() + patience
    since, process = clock(), None
    while True:
        health = check()
        now = clock()
        if health.problems or health.version.get("pid") != process:
            since, process = now, health.version.get("pid")
        if (not health.problems and now - since >= steady) or now >= until:
            return health
        sleep(PAUSE)


def lost(pool: Records, leases: Records, pool_after: Records, leases_after: Records) -> list[str]:
    """What was there before and is not any more, though no pod's start or end explains it."""
    there = {nic["nic_id"]: nic for nic in pool_after}
    leased = {nic["nic_id"] for nic in leases_after}
    holders = {_attachment(lease): lease["nic_id"] for lease in leases_after}
    broken_before = {nic["nic_id"] for nic in pool if nic["state"] == State.BROKEN}
    found = []
    for nic in pool:
        name = f"NIC {nic['nic_id']} ({nic['private_ip']}, {nic['state']} before)"
        now = there.get(nic["nic_id"])
        if now is None:
            if not nic["doomed"] and nic["state"] not in LEAVING:
                found.append(f"{name} is gone from the agent's table")
        elif now["state"] == State.BROKEN and nic["nic_id"] not in broken_before:
            found.append(f"{name} is BROKEN now: {now['note'] or 'nobody says why'}")
        elif now["state"] in _IN_A_POD and nic["nic_id"] not in leased:
            found.append(f"{name} is {now['state']} now, and no lease says whose")
    for lease in leases:
        holds = holders.get(_attachment(lease), lease["nic_id"])
        if holds != lease["nic_id"]:
            found.append(f"{_attachment(lease)} held NIC {lease['nic_id']} and has a lease of {holds} now")
    return found


def _trouble(plugin: str, run: Runner) -> t.Iterator[str]:
    """VERSION is the executable's own answer; STATUS goes all the way to the agent."""
    status, said, trouble = run([plugin], {"CNI_COMMAND": "VERSION"}, _CONF)
    if status or not _object(said).get("supportedVersions"):
        yield f"{plugin} does not answer VERSION (exit status {status}): {said.strip() or trouble.strip()}"
        return
    status, said, trouble = run([plugin], {"CNI_COMMAND": "STATUS", "CNI_PATH": plugin.rpartition("/")[0]}, _CONF)
    code = _object(said).get("code")
    if status and (not isinstance(code, int) or code >= _WORST):
        reason = _object(said).get("msg") or said.strip() or trouble.strip()
        yield f"{plugin} and the agent do not understand each other: {reason}"


def _version(socket: str) -> dict[str, t.Any]:
    try:
        return dict(wire.ask(socket, "version"))
    except HostnicError as error:
        if error.transient:
            raise
        wire.ask(socket, "ping")  # it answers, but does not know that question
        return {}


def _object(text: str) -> dict[str, t.Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _attachment(lease: t.Mapping[str, t.Any]) -> str:
    return str(LeaseKey(lease["network"], lease["container_id"], lease["ifname"]))
