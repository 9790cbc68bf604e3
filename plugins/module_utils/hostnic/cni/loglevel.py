# SPDX-License-Identifier: GPL-3.0-or-later
"""A network's own log level: what is said while one of its calls is carried out, whatever the agent's level is."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import typing as t

LEVELS: t.Final[t.Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}

_of_call: contextvars.ContextVar[t.Optional[int]] = contextvars.ContextVar("level of this call", default=None)


@contextlib.contextmanager
def during(level: str) -> t.Iterator[None]:
    """`level` as in `LEVELS`, "" for the agent's own."""
    token = _of_call.set(LEVELS[level] if level else None)
    try:
        yield
    finally:
        _of_call.reset(token)


def wanted(level: int) -> bool:
    """Whether a message of this level would be read: for what is not worked out otherwise."""
    asked = _of_call.get()
    return level >= (logging.getLogger().level if asked is None else asked)


class Threshold(logging.Filter):
    """For a handler: lets through what the call's network asks for, else what `level` asks for."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level

    def filter(self, record: logging.LogRecord) -> bool:
        level = _of_call.get()
        return record.levelno >= (self.level if level is None else level)
