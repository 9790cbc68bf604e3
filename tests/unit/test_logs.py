# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of the log: for people, for programs, for the journal, and none that brings along what it should not."""

from __future__ import annotations

import io
import logging
import os
import pty
import sys
import threading
import typing as t
import warnings
from pathlib import Path

import pytest

from hostnic import context, redact
from hostnic.agent import logs

log = logging.getLogger("hostnic.test")


class Written:
    """The log set up on a file; everything as it was afterwards."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w+")
        status = os.fstat(self.file.fileno())
        self.journal = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        self.output = self.set_up({}, "info")

    def set_up(self, environ: t.Mapping[str, str], level: str) -> logs.Output:
        self.output = logs.set_up(self.file, environ, level)
        return self.output

    def lines(self) -> list[str]:
        self.file.flush()
        self.file.seek(0)
        return self.file.read().splitlines()


@pytest.fixture
def written(tmp_path: Path) -> t.Iterator[Written]:
    root, ours = logging.getLogger(), logging.getLogger("hostnic")
    before = (root.handlers[:], root.level, ours.level, sys.excepthook, threading.excepthook)
    yield Written(tmp_path / "log")
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])
    sys.excepthook, threading.excepthook = before[3:]
    logging.captureWarnings(False)


def test_a_file_gets_the_level_as_a_word(written: Written) -> None:
    log.info("it is so")
    assert written.lines() == ["INFO hostnic.test: it is so"]


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_the_journal_gets_the_level_as_a_priority(written: Written, level: str, priority: int) -> None:
    written.set_up(written.journal, "debug")
    getattr(log, level)("it is so")
    assert written.lines() == [f"<{priority}>hostnic.test: it is so"]


def test_a_journal_that_stderr_does_not_lead_to_is_none(written: Written) -> None:
    written.set_up({"JOURNAL_STREAM": "8:1"}, "info")
    log.info("it is so")
    assert written.lines() == ["INFO hostnic.test: it is so"]


def test_no_line_brings_a_priority_of_its_own(written: Written) -> None:
    written.set_up(written.journal, "info")
    log.info("said by\n<0>an outsider")
    assert written.lines() == ["<6>hostnic.test: said by", "<6><0>an outsider"]


def test_a_terminal_gets_the_time() -> None:
    ours, theirs = pty.openpty()
    try:
        with os.fdopen(theirs, "w") as terminal:
            assert logs.form_of(terminal, {}) == logs.TERMINAL
    finally:
        os.close(ours)
    assert logs.form_of(io.StringIO(), {}) == logs.FILE


def test_fields_stand_after_the_sentence_and_before_a_traceback(written: Written) -> None:
    with context.about(request="9f", pod="default/web-1", nothing=""):
        try:
            raise ValueError("broken")
        except ValueError:
            log.exception("a defect", extra=context.fields(nic="52:54:00:00:00:01", why='so "they" say', empty=""))
    log.info("afterwards")
    lines = written.lines()
    assert lines[0] == (
        'ERROR hostnic.test: a defect nic=52:54:00:00:00:01 why="so \\"they\\" say" empty="" request=9f '
        "pod=default/web-1"
    )
    assert lines[1].startswith("Traceback") and lines[-2:] == ["ValueError: broken", "INFO hostnic.test: afterwards"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [("a b", '"a b"'), ("a=b", '"a=b"'), ("a\nrequest=x", '"a\\nrequest=x"'), (["a", "b"], "a,b"), (1.5, "1.5"),
     ("\udcff", '"\\udcff"')],
)  # fmt: skip
def test_a_value_is_one_word_or_quoted(written: Written, value: t.Any, shown: str) -> None:
    log.info("it", extra=context.fields(x=value))
    assert written.lines() == [f"INFO hostnic.test: it x={shown}"]


def test_the_level_can_change_and_so_do_other_libraries_loggers(written: Written) -> None:
    other = logging.getLogger("some.library")
    log.debug("not said")
    written.output.set_level("debug")
    log.debug("said")
    other.debug("said too")
    written.output.set_level("error")
    log.warning("not said")
    other.warning("not said")
    assert written.lines() == ["DEBUG hostnic.test: said", "DEBUG some.library: said too"]


# -- secrets ----------------------------------------------------------------------------------------------------------

SECRET = "PlantedSecretOfTestLogs0123456789"


def _raise() -> None:
    raise ValueError(f"signed with {SECRET}")


def message() -> None:
    log.info(f"signed with {SECRET}")


def argument() -> None:
    log.info("signed with %s", SECRET)


def argument_of_a_mapping() -> None:
    log.info("signed with %(key)s", {"key": SECRET})


def field() -> None:
    log.info("signed", extra=context.fields(by=SECRET))


def field_of_the_work() -> None:
    with context.about(by=SECRET):
        log.info("signed")


def exception() -> None:
    try:
        _raise()
    except ValueError as error:
        log.warning("%s", error)


def traceback() -> None:
    try:
        _raise()
    except ValueError:
        log.exception("a defect")


def chained_traceback() -> None:
    try:
        try:
            _raise()
        except ValueError as error:
            raise RuntimeError("and then") from error
    except RuntimeError:
        log.exception("a defect")


def stack() -> None:
    log.info("here %s", SECRET, stack_info=True)


def line_that_cannot_be_made() -> None:
    log.info("%d calls", SECRET)


def other_library() -> None:
    logging.getLogger("some.library").warning("query: signature=%s&key=%s", "abcdef", SECRET)


def warning() -> None:
    warnings.warn(f"do not use {SECRET}", stacklevel=1)


def thread() -> None:
    one = threading.Thread(target=_raise)
    one.start()
    one.join()


def main_thread() -> None:
    try:
        _raise()
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)


@pytest.mark.parametrize(
    "way",
    [message, argument, argument_of_a_mapping, field, field_of_the_work, exception, traceback, chained_traceback,
     stack, line_that_cannot_be_made, other_library, warning, thread, main_thread],
    ids=lambda way: way.__name__,
)  # fmt: skip
@pytest.mark.parametrize("where", ["file", "journal"])
def test_secrets_do_not_get_into_the_log(
    written: Written, way: t.Callable[[], None], where: str, capfd: pytest.CaptureFixture[str]
) -> None:
    written.set_up(written.journal if where == "journal" else {}, "debug")
    redact.learn(SECRET)
    way()
    said = "\n".join(written.lines())
    assert said and SECRET[:12] not in said + "".join(capfd.readouterr())
    assert "***" in said or way is line_that_cannot_be_made
