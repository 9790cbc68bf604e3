# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the pool, each in one sentence with what to do; and how it stands where nothing is."""

from __future__ import annotations

import typing as t
from collections import Counter

from .engine import Engine
from .errors import HostnicError, PoolEmpty
from .orders import refusal
from .reconcile import GIVING_BACK, LIFT
from .sizing import NO_RELEASES, NO_WRITES
from .states import State
from .troubles import EVERYWHERE

ERROR: t.Final = "error"
WARNING: t.Final = "warning"
STALE: t.Final = 900.0  # s after which a refusal that nobody has met again is history
# What helps where an error does not say so itself.
REMEDIES: t.Final[t.Mapping[str, str]] = {
    "InvalidConfig": "correct the setting, and restart the agent",
    "Denied": "see journalctl -u qingagent",
    "AuthFailed": "check the access file",
    "NotFound": "check vxnet and zone in the agent's settings",
    "VxnetFull": "name another vxnet in `vxnet`, or delete unused NICs",
    "QuotaExceeded": "ask QingCloud for a higher quota",
    "LinkFailed": "see journalctl -u qingagent, and ip -details link",
    "StoreFailed": "make room and check the disk below statedir",
}
_PASSES: t.Final = "wait, it is tried again by itself; if it lasts, see journalctl -u qingagent"

_HELD_BACK: t.Final = {NO_WRITES: "changed in", NO_RELEASES: "given back to"}

Answer = dict[str, t.Any]


def status(engine: Engine, besides: t.Iterable[HostnicError] = ()) -> Answer:
    """JSON-ready: `ok` where no problem is an error; `problems` with errors first, each with `what` and `remedy`.

    `besides`: what is wrong with the agent, though not with its pool.
    """
    explained = engine.reconciler.explain()
    found = [*_problems(engine, explained), *(_of_error(WARNING, "", error) for error in besides)]
    problems = sorted(found, key=lambda one: one["severity"] != ERROR)
    return {
        "ok": not any(one["severity"] == ERROR for one in problems),
        "instance": engine.reconciler.instance_id,
        "nics": dict(Counter(nic.state.value for nic in engine.table.nics())),
        "pods": len(engine.table.leases()),
        "cap": explained["cap"],
        "want": explained["want"],
        "problems": problems,
    }


def _problems(engine: Engine, explained: Answer) -> t.Iterator[Answer]:
    unable = engine.pool.unable()
    drained, level = refusal(engine.table), engine.reconciler.level()
    troubles = engine.pool.troubles.standing()
    told: set[str] = set()
    for vxnet_id, error in sorted(troubles.items()):  # what is so everywhere comes first
        if error.what in told or (level == NO_WRITES and vxnet_id == EVERYWHERE):
            continue  # an operator's own will is said below
        told.add(error.what)
        everywhere = vxnet_id == EVERYWHERE
        where = "" if everywhere or vxnet_id in error.what else f"no new NICs in {vxnet_id}: "
        grave = everywhere and not isinstance(error, PoolEmpty) and (unable is not None or not error.transient)
        yield _of_error(ERROR if grave else WARNING, where, error)
    for action, refused in explained["cloud"].get("refused", {}).items():
        if refused["what"] not in told and refused["ago"] < STALE:
            grave = action not in GIVING_BACK and unable is not None
            yield _problem(
                ERROR if grave and not drained else WARNING,
                refused["what"],
                refused["remedy"],
                refused["kind"],
                action,
                refused["ret_code"],
            )
    if drained:
        yield _of_error(WARNING, "", drained)
    if level:
        what = f"degradation {level} is set: nothing is {_HELD_BACK[level]} the cloud"
        yield _problem(WARNING, what, LIFT, "Busy")
    for nic in engine.table.nics(State.BROKEN):
        what = f"NIC {nic.nic_id} ({nic.private_ip}) is broken: {nic.note or 'nobody knows why'}"
        yield _problem(WARNING, what, "wait until it is back or given back; delete it in the console if it is not", "")


def _of_error(severity: str, where: str, error: HostnicError) -> Answer:
    action, ret_code = error.details.get("action", ""), error.details.get("ret_code")
    return _problem(severity, where + error.what, error.remedy, error.kind, action, ret_code)


def _problem(
    severity: str, what: str, remedy: str, kind: str, action: str = "", ret_code: t.Optional[int] = None
) -> Answer:
    return {
        "severity": severity,
        "what": what,
        "remedy": remedy or REMEDIES.get(kind, _PASSES),
        "kind": kind,
        "action": action,
        "ret_code": ret_code,
    }
