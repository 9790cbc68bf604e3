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


def handlers(engine: Engine) -> dict[str, Handler]:
    """What answers each op but `cni`; every answer is a JSON document."""
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
