# SPDX-License-Identifier: GPL-3.0-or-later
"""What the present work is about: fields that every line of the log carries while it is done, down to cloud calls."""

from __future__ import annotations

import contextlib
import contextvars
import typing as t
from types import MappingProxyType

Fields = t.Mapping[str, t.Any]

_about: contextvars.ContextVar[Fields] = contextvars.ContextVar("fields of this work", default=MappingProxyType({}))


@contextlib.contextmanager
def about(**named: t.Any) -> t.Iterator[None]:
    """These beside those of the work around it; what is empty is left out."""
    token = _about.set({**_about.get(), **{name: value for name, value in named.items() if value}})
    try:
        yield
    finally:
        _about.reset(token)


def current() -> Fields:
    return _about.get()


def fields(**named: t.Any) -> dict[str, Fields]:
    """For one line: `log.info("…", extra=fields(nic=…))`."""
    return {"fields": named}
