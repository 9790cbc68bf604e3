# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's log: a sentence for people, key=value fields for programs, no secrets, on stderr.

The journal gets each line with its priority (sd-daemon(3)), so that `journalctl --priority` works; a terminal the time.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import typing as t
from types import TracebackType

from .. import context, redact
from ..cni import loglevel

log = logging.getLogger("hostnic.agent")

FILE: t.Final = "%(levelname)s %(name)s: %(message)s"
TERMINAL: t.Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
JOURNAL: t.Final = "%(name)s: %(message)s"

# syslog's, by the level of logging that they begin at
_PRIORITIES: t.Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG: t.Final = 7
_BARE: t.Final = re.compile(r"[^\s\"=\\]+")


class Lines(logging.Formatter):
    """A record as text, its fields after the sentence; redacted as a whole, traceback included."""

    def __init__(self, form: str) -> None:
        super().__init__(form, "%H:%M:%S")
        self._prioritised = form == JOURNAL

    def format(self, record: logging.LogRecord) -> str:
        text = redact.text(super().format(record))
        if not self._prioritised:
            return text
        # each line is an entry: none may bring a priority of its own
        priority = f"<{priority_of(record.levelno)}>"
        return priority + text.replace("\n", f"\n{priority}")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        fields = {**getattr(record, "fields", {}), **context.current()}
        return " ".join([super().formatMessage(record), *(f"{name}={_shown(value)}" for name, value in fields.items())])


class Output(logging.StreamHandler):  # type: ignore[type-arg]
    """Where the lines go. `level` as in `loglevel.LEVELS`; a network may ask for more or less of its own calls."""

    def __init__(self, stream: t.TextIO, environ: t.Mapping[str, str], level: str) -> None:
        super().__init__(stream)
        self._threshold = loglevel.Threshold(loglevel.LEVELS[level])
        self.addFilter(self._threshold)
        self.setFormatter(Lines(form_of(stream, environ)))

    def set_level(self, level: str) -> None:
        self._threshold.level = loglevel.LEVELS[level]
        logging.getLogger().setLevel(self._threshold.level)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """logging would print the arguments, whatever they are."""
        kind = sys.exc_info()[0]
        try:
            told = f"{record.name}: line {record.lineno} could not be logged: {kind.__name__ if kind else 'unknown'}\n"
            self.stream.write(told)
        except (OSError, ValueError):  # nobody reads
            pass


def set_up(stream: t.TextIO, environ: t.Mapping[str, str], level: str) -> Output:
    """Whatever this process says by `logging`, `warnings` or an exception that nobody caught goes through it."""
    output = Output(stream, environ, level)
    root = logging.getLogger()
    root.handlers[:] = [output]
    output.set_level(level)
    logging.getLogger("hostnic").setLevel(logging.DEBUG)  # the handler decides
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    return output


def form_of(stream: t.TextIO, environ: t.Mapping[str, str]) -> str:
    """systemd names the journal's end by device and inode, since a program may have sent its stderr elsewhere."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return FILE
    if environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}":
        return JOURNAL
    return TERMINAL if stream.isatty() else FILE


def priority_of(level: int) -> int:
    """The journal's number for a level of `logging`."""
    return next((priority for begin, priority in _PRIORITIES if level >= begin), _DEBUG)


def _shown(value: t.Any) -> str:
    if isinstance(value, (list, tuple, set, frozenset)):
        value = ",".join(map(str, value))
    text = str(value)
    return text if _BARE.fullmatch(text) and text.isprintable() else json.dumps(text)


def _uncaught(kind: type[BaseException], error: BaseException, trace: t.Optional[TracebackType]) -> None:
    log.critical("a defect ends this process", exc_info=(kind, error, trace))


def _uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None:
        name = told.thread.name if told.thread else "unknown"
        log.critical("a defect ends the thread %s", name, exc_info=(told.exc_type, told.exc_value, told.exc_traceback))
