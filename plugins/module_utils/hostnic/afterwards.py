# SPDX-License-Identifier: GPL-3.0-or-later
"""What can wait until the caller has its answer: waking other threads, which compete with the call, counting, logging.

A call that begins to wait for something does not keep it for longer: `now`.
"""

from __future__ import annotations

import contextlib
import contextvars
import typing as t
from functools import partial

Action = t.Callable[[], object]

_later: contextvars.ContextVar[t.Optional[list[Action]]] = contextvars.ContextVar("afterwards", default=None)


def do(action: Action) -> None:
    """At the end of what is `gathered`, in the context of now; at once where nobody gathers. Must not raise."""
    later = _later.get()
    if later is None:
        action()
    else:
        later.append(partial(contextvars.copy_context().run, action))


def now() -> None:
    """This call is about to wait: what it has gathered is done first."""
    later = _later.get()
    while later:
        later.pop(0)()


@contextlib.contextmanager
def gathered() -> t.Iterator[None]:
    """A call of this thread's, up to its answer. Its actions are carried out at the end, in their order."""
    later: list[Action] = []
    token = _later.set(later)
    try:
        yield
    finally:
        now()
        _later.reset(token)
