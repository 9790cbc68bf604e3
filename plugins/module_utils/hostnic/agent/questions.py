# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line and the Ansible modules may ask a running agent, over the same socket as qingcni."""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict

from .. import operate
from ..engine import Engine
from ..errors import InvalidConfig, NotFound
from ..states import State
from ..wire import Answer, Request
from . import about
from .server import Handler

# The command of `qingagent`, which is the op on the wire ► its help text.
QUESTIONS: t.Final[t.Mapping[str, str]] = {
    "ping": "ask whether the agent answers",
    "pool": "show the table of NICs",
    "leases": "show which pod has which NIC",
    "explain": "show why the pool wants what it wants",
    "release": "let go of an address that is kept for a workload",
    "warm": "have so many free NICs, kept as pre-warmed ones",
    "trim": "give back the ready NICs that neither pods nor pool-low need",
    "drain": "give back all NICs that no pod uses, and start no pod, until resume",
    "resume": "end a drain",
    "look": "look at the cloud now",
}
# Those that need a parameter ► its name, and its type.
PARAMETERS: t.Final[t.Mapping[str, tuple[str, t.Callable[[str], t.Any]]]] = {
    "release": ("address", str),
    "warm": ("size", int),
}
Params = t.Mapping[str, t.Any]


def handlers(engine: Engine) -> dict[str, Handler]:
    """One for each of `QUESTIONS`, and for modules `give_back` and `version`; every answer is a JSON document.

    The command `version` tells of its own package, which the agent need not run yet.
    """
    answers: dict[str, t.Callable[[Params], t.Any]] = {
        "ping": lambda _: {"answers": True},
        "pool": lambda _: [asdict(nic) for nic in engine.table.nics()],
        "leases": lambda _: [asdict(lease) for lease in engine.table.leases()],
        "explain": lambda _: engine.reconciler.explain(),
        "release": lambda params: _release(engine, params),
        "warm": lambda params: operate.warm(engine, params.get("size"), params.get("vxnet", ""), _check(params)),
        "trim": lambda params: operate.trim(engine, _check(params)),
        "drain": lambda params: operate.drain(engine, _check(params)),
        "resume": lambda params: operate.resume(engine, _check(params)),
        "give_back": lambda params: operate.give_back(engine, params.get("nics"), _check(params)),
        "look": lambda _: operate.look(engine),
        "version": lambda _: about.package(),
    }
    return {op: _handler(answer) for op, answer in answers.items()}


def _check(params: Params) -> bool:
    """Whether only to tell. Raises `InvalidConfig`: what was meant must not be guessed."""
    check = params.get("check", False)
    if not isinstance(check, bool):
        raise InvalidConfig(f"check {ascii(check)} is neither true nor false")
    return check


def _release(engine: Engine, params: Params) -> dict[str, t.Any]:
    """Raises `NotFound` where this node keeps no such address."""
    address = str(params.get("address", ""))
    if not engine.pool.let_go(address):
        kept = ", ".join(nic.private_ip for nic in engine.table.nics(State.HELD)) or "none"
        raise NotFound(f"this node keeps no address {ascii(address)[1:-1]} for a workload: it keeps {kept}")
    return {"released": address}


def _handler(answer: t.Callable[[Params], t.Any]) -> Handler:
    def handle(request: Request, _: t.Optional[int], __: t.Callable[[], bool]) -> Answer:
        return Answer(request.request_id, 0, json.dumps(answer(request.params)))

    return handle
