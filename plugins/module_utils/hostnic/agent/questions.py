# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line and the Ansible modules may ask a running agent, over the same socket as qingcni."""

from __future__ import annotations

import json
import typing as t

from .. import operate
from ..engine import Engine
from ..operate import Params
from ..wire import Answer, Request
from . import about
from .door import Handler

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


def handlers(engine: Engine) -> dict[str, Handler]:
    """One for each of `QUESTIONS`, and for modules `give_back` and `version`; every answer is a JSON document.

    The command `version` tells of its own package, which the agent need not run yet.
    """
    answers: dict[str, t.Callable[[Params], t.Any]] = {
        "ping": lambda __: {"answers": True},
        **operate.answers(engine),
        "version": lambda __: about.package(),
    }
    return {op: _handler(answer) for op, answer in answers.items()}


def _handler(answer: t.Callable[[Params], t.Any]) -> Handler:
    def handle(request: Request, _netns: t.Optional[int], _cancelled: t.Callable[[], bool]) -> Answer:
        return Answer(request.request_id, 0, json.dumps(answer(request.params)))

    return handle
