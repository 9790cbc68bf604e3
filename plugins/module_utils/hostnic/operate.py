# SPDX-License-Identifier: GPL-3.0-or-later
"""What people order of a pool, with the answer that they get: for the agent's socket, and for modules without an agent.

Each takes `check`: only tell what would be done. An answer is JSON-ready: the table before, what is done at once and
why, and whether that is anything at all.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from .engine import Engine
from .errors import InvalidConfig, NotFound
from .model import POOL, Nic
from .orders import check_open
from .states import LEAVING, State

Answer = dict[str, t.Any]


def warm(engine: Engine, size: t.Any, vxnet: t.Any = "", check: bool = False) -> Answer:
    """At least so many free NICs in that vxnet, "" for any, kept for prewarm-ttl. `missing`: how many are to be made.

    Raises `InvalidConfig`, and `Busy` where the node is drained.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InvalidConfig(f"size {ascii(size)} is no number of NICs: say 0 or more")
    if not isinstance(vxnet, str):
        raise InvalidConfig(f"vxnet {ascii(vxnet)} is no vxnet: leave it out, or name one")
    check_open(engine.table)
    missing = max(0, size - engine.reconciler.free(vxnet))
    answer = _answer(engine, ordered={**engine.orders.ordered(), vxnet: size})
    answer.update(missing=missing, changed=bool(missing or answer["actions"]))
    if answer["changed"] and not check:
        engine.orders.warm(vxnet, size)
    return answer


def trim(engine: Engine, check: bool = False) -> Answer:
    """Every ready NIC that neither pods nor the warm pool need goes, pre-warmed ones too."""
    return _give_back(engine, [nic.nic_id for nic in engine.reconciler.idle()], check)


def give_back(engine: Engine, nics: t.Any, check: bool = False) -> Answer:
    """Exactly these go. Raises `InvalidConfig` or `NotFound` that names the first that may not, and none goes."""
    if not isinstance(nics, list) or not all(isinstance(nic_id, str) for nic_id in nics):
        raise InvalidConfig("nics is no list of NICs: name them by their ids")
    nic_ids = [nic_id.lower() for nic_id in nics]
    for nic_id in nic_ids:
        _check_idle(engine, nic_id)
    return _give_back(engine, nic_ids, check)


def drain(engine: Engine, check: bool = False) -> Answer:
    """All that no pod uses goes, and no pod starts, until `resume`."""
    answer = _answer(engine, draining=True)
    answer["changed"] = not engine.orders.draining
    if answer["changed"] and not check:
        engine.orders.drain()
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
    answer = _answer(engine, unwanted=engine.orders.unwanted() | frozenset(nic_ids))
    answer["changed"] = bool(answer["actions"])
    if answer["changed"] and not check:
        engine.orders.give_back(nic_ids)
    return answer


def _answer(engine: Engine, **wished: t.Any) -> Answer:
    decided = engine.reconciler.preview(**wished)
    return {
        "before": [asdict(nic) for nic in engine.table.nics()],
        "actions": decided["actions"],
        "bounds": list(decided["bounds"]),
    }


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
