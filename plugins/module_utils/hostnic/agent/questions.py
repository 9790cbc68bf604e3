# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line and the Ansible modules may ask a running agent, over the same socket as qingcni."""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict

from ..engine import Engine
from ..wire import Answer, Request
from .server import Handler

# The command of `qingagent` and op on the wire ► its help text.
QUESTIONS: t.Final[t.Mapping[str, str]] = {
    "ping": "ask whether the agent answers",
    "pool": "show the table of NICs",
    "leases": "show which pod has which NIC",
    "explain": "show why the pool wants what it wants",
}


def handlers(engine: Engine) -> dict[str, Handler]:
    """One for each of `QUESTIONS`; every answer is a JSON document."""
    answers: dict[str, t.Callable[[], t.Any]] = {
        "ping": lambda: {"answers": True},
        "pool": lambda: [asdict(nic) for nic in engine.table.nics()],
        "leases": lambda: [asdict(lease) for lease in engine.table.leases()],
        "explain": engine.reconciler.explain,
    }
    return {op: _handler(answers[op]) for op in QUESTIONS}


def _handler(answer: t.Callable[[], t.Any]) -> Handler:
    def handle(request: Request, _: t.Optional[int], __: t.Callable[[], bool]) -> Answer:
        return Answer(request.request_id, 0, json.dumps(answer()))

    return handle
