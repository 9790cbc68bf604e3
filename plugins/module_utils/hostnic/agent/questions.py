# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line and the Ansible modules may ask a running agent, over the same socket as qingcni."""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict

from ..engine import Engine
from ..errors import NotFound
from ..states import State
from ..wire import Answer, Request
from . import about
from .server import Handler

# The command of `qingagent` and op on the wire ► its help text.
QUESTIONS: t.Final[t.Mapping[str, str]] = {
    "ping": "ask whether the agent answers",
    "pool": "show the table of NICs",
    "leases": "show which pod has which NIC",
    "explain": "show why the pool wants what it wants",
    "release": "let go of an address that is kept for a workload",
}
# Those that need a parameter ► its name.
PARAMETERS: t.Final[t.Mapping[str, str]] = {"release": "address"}
# An op only: the command of this name tells of the package that is active, which another agent may be running still.
VERSION: t.Final = "version"


def handlers(engine: Engine) -> dict[str, Handler]:
    """One for each of `QUESTIONS`, and `VERSION`; every answer is a JSON document."""
    answers: dict[str, t.Callable[[t.Mapping[str, t.Any]], t.Any]] = {
        "ping": lambda _: {"answers": True},
        "pool": lambda _: [asdict(nic) for nic in engine.table.nics()],
        "leases": lambda _: [asdict(lease) for lease in engine.table.leases()],
        "explain": lambda _: engine.reconciler.explain(),
        "release": lambda params: _release(engine, params),
        VERSION: lambda _: about.package(),
    }
    return {op: _handler(answers[op]) for op in (*QUESTIONS, VERSION)}


def _release(engine: Engine, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Raises `NotFound` where this node keeps no such address."""
    address = str(params.get("address", ""))
    if not engine.pool.let_go(address):
        kept = ", ".join(nic.private_ip for nic in engine.table.nics(State.HELD)) or "none"
        raise NotFound(f"this node keeps no address {ascii(address)[1:-1]} for a workload: it keeps {kept}")
    return {"released": address}


def _handler(answer: t.Callable[[t.Mapping[str, t.Any]], t.Any]) -> Handler:
    def handle(request: Request, _: t.Optional[int], __: t.Callable[[], bool]) -> Answer:
        return Answer(request.request_id, 0, json.dumps(answer(request.params)))

    return handle
