# SPDX-License-Identifier: GPL-3.0-or-later
"""What people ask and order of a pool, and what they are told: by the agent's socket, and by modules without an agent.

An order takes `check`: only tell what would be done. Its answer is JSON-ready: the table before, what is done at once,
what bounds and troubles stand in the way, and whether anything changes at all.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from .engine import Engine
from .errors import Busy, InvalidConfig, NotFound
from .model import POOL, Nic
from .orders import check_open
from .states import LEAVING, State

Answer = dict[str, t.Any]
Params = t.Mapping[str, t.Any]


def answers(engine: Engine) -> dict[str, t.Callable[[Params], t.Any]]:
    """Op on the wire ► what answers its parameters, in what JSON can say."""
    return {
        "pool": lambda __: [asdict(nic) for nic in engine.table.nics()],
        "leases": lambda __: [asdict(lease) for lease in engine.table.leases()],
        "explain": lambda __: engine.reconciler.explain(),
        "release": lambda params: release(engine, str(params.get("address", ""))),
        "warm": lambda params: warm(engine, params.get("size"), params.get("vxnet", ""), _flag(params, "check")),
        "trim": lambda params: trim(engine, _flag(params, "check")),
        "drain": lambda params: drain(engine, _flag(params, "check"), _flag(params, "evict")),
        "resume": lambda params: resume(engine, _flag(params, "check")),
        "give_back": lambda params: give_back(engine, params.get("nics"), _flag(params, "check")),
        "look": lambda __: look(engine),
    }


def release(engine: Engine, address: str) -> Answer:
    """An address that is kept for a workload is anybody's. Raises `NotFound` where this node keeps no such address."""
    if not engine.pool.let_go(address):
        kept = ", ".join(nic.private_ip for nic in engine.table.nics(State.HELD)) or "none"
        raise NotFound(f"this node keeps no address {ascii(address)[1:-1]} for a workload: it keeps {kept}")
    return {"released": address}


def warm(engine: Engine, size: t.Any, vxnet: t.Any = "", check: bool = False) -> Answer:
    """At least so many free NICs in that vxnet, "" for any, kept for prewarm-ttl. `missing`: how many are to be made.

    Raises `InvalidConfig`, and `Busy` where the node is drained.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InvalidConfig(f"size {ascii(size)} is no number of NICs: say 0 or more")
    if not isinstance(vxnet, str):
        raise InvalidConfig(f"vxnet {ascii(vxnet)} is no vxnet: leave it out, or name one")
    check_open(engine.table)
    _check_level(engine, "made", ("L0",))
    missing = max(0, size - engine.reconciler.free(vxnet))
    standing = engine.orders.ordered()
    answer = _answer(engine, (vxnet,) if vxnet else (), ordered={**standing, vxnet: size})
    under_way = standing.get(vxnet, 0) >= size
    answer.update(missing=missing, changed=not under_way and bool(missing or answer["actions"]))
    if answer["changed"] and not check:
        engine.orders.warm(vxnet, size)
    return answer


def trim(engine: Engine, check: bool = False) -> Answer:
    """Every ready NIC that neither pods nor the warm pool need goes, pre-warmed ones too. Raises `Busy`."""
    return _give_back(engine, [nic.nic_id for nic in engine.reconciler.idle()], check)


def give_back(engine: Engine, nics: t.Any, check: bool = False) -> Answer:
    """Exactly these go. Raises `InvalidConfig` or `NotFound` that names the first that may not, and none goes."""
    if not isinstance(nics, list) or not all(isinstance(nic_id, str) for nic_id in nics):
        raise InvalidConfig("nics is no list of NICs: name them by their ids")
    nic_ids = [nic_id.lower() for nic_id in nics]
    for nic_id in nic_ids:
        _check_idle(engine, nic_id)
    return _give_back(engine, nic_ids, check)


def drain(engine: Engine, check: bool = False, evict: bool = False) -> Answer:
    """All that no pod uses goes, and no pod starts, until `resume`. `evict`: what pods use goes as well.

    Raises `LinkFailed` where a pod's NIC cannot be taken from it.
    """
    answer = _answer(engine, draining=True)
    pods = bool(engine.table.leases())
    answer["changed"] = not engine.orders.draining or (evict and pods)
    if check:
        return answer
    if not engine.orders.draining:
        engine.orders.drain()
    if evict and pods:
        engine.survey.evict()
    return answer


def resume(engine: Engine, check: bool = False) -> Answer:
    """The pool grows to its size again, and pods start."""
    answer = _answer(engine, draining=False)
    answer["changed"] = engine.orders.draining
    if answer["changed"] and not check:
        engine.orders.resume()
    return answer


def look(engine: Engine) -> Answer:
    """At the cloud, as soon as it may be asked."""
    engine.orders.look()
    return {"looks": True}


def _give_back(engine: Engine, nic_ids: t.Sequence[str], check: bool) -> Answer:
    _check_level(engine, "given back", ("L0", "L1"))
    answer = _answer(engine, unwanted=engine.orders.unwanted() | frozenset(nic_ids))
    answer["changed"] = bool(answer["actions"])
    if answer["changed"] and not check:
        engine.orders.give_back(nic_ids)
    return answer


def _answer(engine: Engine, vxnets: tuple[str, ...] = (), **wished: t.Any) -> Answer:
    """`vxnets`: whose troubles count, none for the agent's."""
    decided = engine.reconciler.preview(**wished)
    trouble = engine.pool.trouble(vxnets)
    return {
        "before": [asdict(nic) for nic in engine.table.nics()],
        "actions": decided["actions"],
        "bounds": list(decided["bounds"]),
        "trouble": trouble.facts() if trouble else None,
    }


def _flag(params: Params, name: str) -> bool:
    """Raises `InvalidConfig`: what was meant must not be guessed."""
    value = params.get(name, False)
    if not isinstance(value, bool):
        raise InvalidConfig(f"{name} {ascii(value)} is neither true nor false")
    return value


def _check_level(engine: Engine, what: str, levels: t.Sequence[str]) -> None:
    """Raises `Busy` where an operator holds the agent still."""
    level = engine.reconciler.level()
    if level in levels:
        raise Busy(f"degradation {level} is set, and nothing is {what}: take it back first")


def _check_idle(engine: Engine, nic_id: str) -> None:
    """One that is on its way out already is no error."""
    nic = engine.table.nic(nic_id)
    if nic is None:
        raise NotFound(f"this node's pool has no NIC {ascii(nic_id)[1:-1]}: see qingagent pool")
    lease = engine.table.lease_of(nic_id)
    if lease:
        raise InvalidConfig(f"NIC {nic_id} is used by {lease.attachment}: delete that pod first")
    idle = nic.purpose == POOL and not nic.keep and nic.state in (State.READY, State.DETACHED, *LEAVING)
    if not idle:
        raise InvalidConfig(f"NIC {nic_id} is {_what(nic)} and not idle: name READY ones of qingagent pool")


def _what(nic: Nic) -> str:
    return nic.state.value if nic.purpose == POOL else "a gateway NIC"
