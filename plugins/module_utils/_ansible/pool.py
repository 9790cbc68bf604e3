# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's pool as modules reach it: by the agent's socket, or without an agent in this process. Orders and waiting."""

from __future__ import annotations

import json
import os
import time
import typing as t
from collections import Counter
from types import MappingProxyType

from ..hostnic import wire
from ..hostnic.errors import Denied, HostnicError, InvalidConfig, Timeout
from ..hostnic.model import LeaseKey
from ..hostnic.states import LEAVING

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ..hostnic.engine import Engine

Row = t.Mapping[str, t.Any]  # a NIC or a lease, as the agent tells it

POLL: t.Final = 0.5  # s between looks at the pool
GRACE: t.Final = 3.0  # s in which a trouble may turn out to be one of the past
ARGUMENTS: t.Final[t.Mapping[str, t.Any]] = {
    "socket": {"type": "path", "default": wire.SOCKET},
    "configuration": {"type": "path", "default": "/etc/qingagent"},
    "instance_id_path": {"type": "path", "default": "/etc/qingcloud/instance-id"},
}
# State ► the op that orders it.
OPS: t.Final = {"warmed": "warm", "trimmed": "trim", "drained": "drain", "resumed": "resume", "absent": "drain"}

_PODS: t.Final = ("RESERVED", "IN_USE", "BROKEN")  # BROKEN: perhaps


class Pool(t.Protocol):
    """`via`: "agent" or "journal"."""

    via: str

    def ask(self, op: str, **params: t.Any) -> t.Any:
        """As `wire.ask`."""

    def rest(self) -> None:
        """Until something may have changed."""

    def close(self) -> None:
        """Once."""


class ByAgent:
    """See `Pool`."""

    via = "agent"

    def __init__(self, socket: str) -> None:
        self._socket = socket

    def ask(self, op: str, **params: t.Any) -> t.Any:
        try:
            return wire.ask(self._socket, op, params)
        except HostnicError as error:
            refusal = error.details.get("answer")
            if not isinstance(refusal, dict):
                raise
            kind = str(refusal.get("details", "")).partition(";")[0]
            raise _Told({"kind": kind or error.kind, "message": error.message}) from error

    def rest(self) -> None:
        time.sleep(POLL)

    def close(self) -> None:
        """The agent goes on."""


class ByEngine:
    """See `Pool`. Each rest is a round of the reconciler, with which everything happens."""

    via = "journal"

    def __init__(self, engine: Engine) -> None:
        from ..hostnic import operate  # once the packages are there: it imports what needs them

        self._engine = engine
        self._answers = operate.answers(engine)

    def ask(self, op: str, **params: t.Any) -> t.Any:
        return json.loads(json.dumps(self._answers[op](params)))

    def rest(self) -> None:
        self._engine.wake.clear()
        self._engine.wake.wait(min(POLL, self._engine.reconciler.step()))

    def close(self) -> None:
        self._engine.close()


def reach(module: AnsibleModule, works: bool) -> Pool:
    """By the agent where its socket is, else `works` in this process, or only tells what the journal says.

    Raises `Unreachable` where the agent does not answer: it may be about to, and two must not work on one pool; and
    `Denied` for users who may not even see the socket.
    """
    wanted = module.params
    if _stands(wanted["socket"]):
        pool = ByAgent(wanted["socket"])
        pool.ask("ping")
        return pool
    from . import packages

    packages.use(module)
    from . import offline

    return ByEngine(offline.engine(wanted["configuration"], wanted["instance_id_path"], works))


def order(pool: Pool, wanted: Row, check: bool, clock: t.Callable[[], float] = time.monotonic) -> dict[str, t.Any]:
    """The module's result, once the pool is in the state that is wanted, unless `wait` is false.

    Raises what the cloud refuses, and `Timeout` with what is left and why.
    """
    state, params = wanted["state"], _params(wanted)
    leases = pool.ask("leases")
    _check(pool, wanted, leases)
    if state == "absent" and not check:
        pool.ask("look")  # what is not in the journal yet goes too
    told = pool.ask(OPS[state], check=check, **params)
    strangers = pool.ask("explain")["strangers"]
    if check or not wanted["wait"]:
        after = _foreseen(wanted, told)
    else:
        _wait(pool, wanted, told, params, clock)
        after = _summary(pool.ask("pool"), told["before"])
    result = {
        "changed": told["changed"] or (state == "absent" and (bool(told["before"]) or strangers > 0)),
        "via": pool.via,
        "plan": {"actions": told["actions"], "bounds": told["bounds"]},
        "diff": {"before": _summary(told["before"], told["before"]), "after": after},
    }
    if OPS[state] == "drain":
        there = _staying(wanted, told) if check else pool.ask("pool")
        result["left"] = _left(there, leases if check else pool.ask("leases"))
    return result


# -- inside ------------------------------------------------------------------------------------------------------------


def _stands(socket: str) -> bool:
    try:
        os.lstat(socket)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Denied(f"cannot see {socket} ({error.strerror}): this needs root, set become") from error
    return True


def _left(nics: t.Sequence[Row], leases: t.Sequence[Row]) -> list[dict[str, t.Any]]:
    """These NICs, each with why it is there."""
    holders = {lease["nic_id"]: lease for lease in leases}
    shown = ("nic_id", "vxnet_id", "private_ip", "purpose", "state")
    return [{**{name: nic[name] for name in shown}, "why": _why(nic, holders.get(nic["nic_id"]))} for nic in nics]


def _staying(wanted: Row, told: Row) -> list[Row]:
    """The NICs that are there now and once the order is carried out, if nothing else happens meanwhile."""
    before: list[Row] = told["before"]
    if OPS[wanted["state"]] == "drain":
        needed = set() if _is_to_be_empty(wanted) else _beside_pods(before)
        return [nic for nic in before if nic["nic_id"] in needed]
    going = {nic_id for action in told["actions"] if action["action"] == "drain" for nic_id in action["nic_ids"]}
    return [nic for nic in before if nic["nic_id"] not in going]


def _foreseen(wanted: Row, told: Row) -> str:
    """What `_summary` will say then."""
    made = Counter({one["vxnet_id"]: one["count"] for one in told["actions"] if one["action"] == "create"})
    return _summary(_staying(wanted, told), told["before"], made)


def _params(wanted: Row) -> dict[str, t.Any]:
    if wanted["state"] == "warmed":
        return {"size": wanted["size"], "vxnet": wanted["vxnet"] or ""}
    return {"evict": True} if wanted["state"] == "absent" and wanted["force"] else {}


def _check(pool: Pool, wanted: Row, leases: t.Sequence[Row]) -> None:
    """Raises what can be told before anything is ordered."""
    if wanted["state"] == "absent" and leases and not wanted["force"]:
        first = ", ".join(map(_holder, leases[:3]))
        more = f" and {len(leases) - 3} more" if len(leases) > 3 else ""
        raise Denied(f"pods have NICs of this node: {first}{more}: delete them first, or evict them with force")
    if wanted["state"] == "warmed":
        told = pool.ask("explain")
        most = told["cap"] - told["used"] - told["held"] - told["broken"]
        if wanted["size"] > most:
            others = f"pods use {told['used']}, {told['held']} are kept for workloads, {told['broken']} are broken"
            said = f"size {wanted['size']} is more than the {most} free NICs that this node may have"
            raise InvalidConfig(f"{said}: of {told['cap']} NICs {others}")


def _wait(pool: Pool, wanted: Row, told: Row, params: Row, clock: t.Callable[[], float]) -> None:
    state, began = wanted["state"], clock()
    again = params if params.get("evict") else {**params, "check": True}  # an ADD may have been under way
    while True:
        what = _missing(pool, wanted, told)
        if not what:
            return
        trouble = pool.ask(OPS[state], **again)["trouble"]
        passed = clock() - began
        if passed >= GRACE and trouble and not trouble["transient"]:
            raise _Told(trouble)
        if passed >= wanted["wait_timeout"]:
            held = "; ".join(bound for bound in told["bounds"] if bound.startswith("degradation"))
            why = f" ({trouble['message']})" if trouble else f" ({held})" if held else ""
            raise Timeout(f"the pool is not {state} after {wanted['wait_timeout']} s: {what}{why}", **_said(trouble))
        pool.rest()


def _missing(pool: Pool, wanted: Row, told: Row) -> str:
    """What the pool lacks of the state that is wanted, "" once it is there."""
    nics = pool.ask("pool")
    state = wanted["state"]
    if state == "warmed":
        ready = [n for n in nics if n["state"] in ("READY", "QUARANTINE") and n["purpose"] == "pool" and not n["keep"]]
        there = len([nic for nic in ready if wanted["vxnet"] in (None, nic["vxnet_id"])])
        return "" if there >= wanted["size"] else f"{there} of {wanted['size']} NICs are free"
    if state == "resumed":
        told = pool.ask("explain")
        lacking = told["grow"] + told["inflight"]
        return f"{lacking} NICs are on their way" if lacking else ""
    if state == "trimmed":
        named = {nic_id for action in told["actions"] for nic_id in action.get("nic_ids", ())}
        over = [n for n in nics if n["state"] in LEAVING or (n["nic_id"] in named and n["state"] == "READY")]
    else:
        over = nics if _is_to_be_empty(wanted) else [nic for nic in nics if nic["nic_id"] not in _beside_pods(nics)]
        told = pool.ask("explain")
        if state == "absent" and not over and (told["look_wanted"] or told["strangers"] or told["inflight"]):
            return "the cloud has yet to be looked at"
    said = [f"{one['nic_id']} {one['state']} ({one['why']})" for one in _left(over, pool.ask("leases"))]
    return f"left are {'; '.join(said)}" if said else ""


def _is_to_be_empty(wanted: Row) -> bool:
    return wanted["state"] == "absent" or bool(wanted["empty"])


def _beside_pods(nics: t.Sequence[Row]) -> set[str]:
    """NICs of pods, and gateway NICs that they need."""
    vxnets = {nic["vxnet_id"] for nic in nics if nic["state"] in _PODS}
    needed = [n for n in nics if n["state"] in _PODS or (n["state"] == "GATEWAY" and n["vxnet_id"] in vxnets)]
    return {nic["nic_id"] for nic in needed}


_NONE: t.Final[t.Mapping[str, int]] = MappingProxyType({})


def _summary(nics: t.Sequence[Row], before: t.Sequence[Row], made: t.Mapping[str, int] = _NONE) -> str:
    """A line for each NIC; new ones are counted, since nobody knows their ids in advance."""
    known = {nic["nic_id"] for nic in before}
    new = Counter(nic["vxnet_id"] for nic in nics if nic["nic_id"] not in known)
    new.update(made)
    old = [f"{n['nic_id']} {n['vxnet_id']} {n['private_ip']} {_use(n)}" for n in nics if n["nic_id"] in known]
    return "".join(f"{line}\n" for line in (*sorted(old), *(f"new in {one}: {new[one]}" for one in sorted(new))))


def _use(nic: Row) -> str:
    if nic["purpose"] != "pool":
        return "gateway"
    if nic["state"] == "BROKEN":
        return "broken"
    return "pod" if nic["state"] in _PODS else "kept" if nic["state"] == "HELD" else "free"


def _why(nic: Row, lease: t.Optional[Row]) -> str:
    if lease:
        return f"used by {_holder(lease)}"
    if nic["purpose"] != "pool":
        return "pods of its vxnet reach the host's services by it"
    usual = {
        "READY": "ready for a pod",
        "QUARANTINE": "rests, since a pod has just released it",
        "BROKEN": "its link has yet to be found",
        "HELD": f"kept for {nic['workload']}",
        **dict.fromkeys(LEAVING, "on its way out"),
    }
    return nic["note"] or usual.get(nic["state"], "on its way")


def _holder(lease: Row) -> str:
    """A pod's name where the runtime gave one, else the attachment."""
    name, space = lease["args"].get("K8S_POD_NAME"), lease["args"].get("K8S_POD_NAMESPACE")
    attachment = LeaseKey(lease["network"], lease["container_id"], lease["ifname"])
    return f"{space}/{name}" if name and space else str(attachment)


def _said(trouble: t.Optional[Row]) -> dict[str, t.Any]:
    return {name: trouble[name] for name in ("action", "ret_code") if name in trouble} if trouble else {}


class _Told(HostnicError):
    """An error that the agent tells, in its own words and by its own kind."""

    def __init__(self, told: Row) -> None:
        super().__init__(told["message"], **_said(told))
        self._kind = told["kind"]

    @property
    def kind(self) -> str:
        return str(self._kind)
