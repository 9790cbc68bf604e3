# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line and the Ansible modules may ask a running agent, over the same socket as qingcni."""

from __future__ import annotations

import json
import time
import typing as t
from functools import partial
from types import MappingProxyType

from .. import context, operate, redact, status
from ..engine import Engine
from ..errors import HostnicError
from ..operate import Params
from ..wire import Answer, Request
from . import about
from .door import Handler

More = t.Mapping[str, t.Callable[[Params], t.Any]]
_NOTHING: t.Final[More] = MappingProxyType({})
STARTED: t.Final = time.time()
# What manageaddr shows below /v1/ ► the op, of those that change nothing.
SHOWN: t.Final[t.Mapping[str, str]] = {
    "nics": "pool",
    "leases": "leases",
    "plan": "explain",
    "status": "status",
    "version": "version",
    "settings": "settings",
}


def handlers(engine: Engine, more: More = _NOTHING) -> dict[str, Handler]:
    """What answers each op but `cni`; every answer is a JSON document. `more`: what only the whole agent can answer."""
    return {op: _handler(answer) for op, answer in _answers(engine, more).items()}


def shown(engine: Engine, more: More = _NOTHING) -> dict[str, t.Callable[[], t.Any]]:
    """What `manage` shows: the same answers as the socket gives."""
    answers = _answers(engine, more)
    return {name: partial(answers[op], {}) for name, op in SHOWN.items() if op in answers}


def whole_status(engine: Engine, besides: t.Iterable[HostnicError] = ()) -> dict[str, t.Any]:
    """Of pool and agent. `besides`: see `status.status`."""
    return {**status.status(engine, besides), "version": about.package()["version"], "ready_since": STARTED}


def _answers(engine: Engine, more: More) -> dict[str, t.Callable[[Params], t.Any]]:
    answers: dict[str, t.Callable[[Params], t.Any]] = {
        "ping": lambda __: {"answers": True},
        **operate.answers(engine),
        "status": lambda __: whole_status(engine),
        "version": lambda __: about.package(),
        **more,
    }
    return {op: partial(_without_secrets, answer) for op, answer in answers.items()}


def _without_secrets(answer: t.Callable[[Params], t.Any], params: Params) -> t.Any:
    return redact.value(answer(params))


def _handler(answer: t.Callable[[Params], t.Any]) -> Handler:
    def handle(request: Request, _netns: t.Optional[int], _cancelled: t.Callable[[], bool]) -> Answer:
        with context.about(request=request.request_id):
            return Answer(request.request_id, 0, json.dumps(answer(request.params)))

    return handle
