# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of the log: for people, for programs, for the journal, and none that brings along what it should not."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import sys
import threading
import time
import typing as t
import warnings
from pathlib import Path

import pytest

from hostnic import context, redact, wire
from hostnic.agent import logs
from hostnic.cni.plugin import Plugin
from hostnic.cni.verbs import Host, Verbs
from hostnic.model import LeaseKey
from tests.support.node import Node

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
    text = f"signed with {SECRET}"  # as those write it who do not know what a logger can do
    log.info(text)


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


# -- one request, from qingcni to the cloud ---------------------------------------------------------------------------


def test_the_log_leads_from_a_request_to_the_calls_made_while_it_waited(written: Written, tmp_path: Path) -> None:
    written.set_up({}, "debug")
    (tmp_path / "node").mkdir()
    with Node(tmp_path / "node", pool_low=0, pool_high=0) as node:
        node.run(5)
        plugin = Plugin(
            Verbs(node.pool, node.kernel, node.clock.now, Host(("vxnet-pods001",), "FailRotate", "eth0")),
            "127.0.0.1:31080", node.clock.now, tuple,
        )  # fmt: skip
        netns = os.open("/proc/self/ns/net", os.O_RDONLY)
        env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/run/netns/x",
               "CNI_PATH": "/x", "CNI_ARGS": "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1"}  # fmt: skip
        stdin = json.dumps({"cniVersion": "1.0.0", "name": "pods", "type": "qingcni"})
        now = node.clock.now()
        request = wire.Request("cni", "9f3a00c0ffee", now + 3600, now, env, stdin)
        asked = threading.Thread(target=plugin.handle, args=(request, netns, lambda: False), daemon=True)
        asked.start()
        until = time.monotonic() + 10
        while not node.pool.waiting() and time.monotonic() < until:
            time.sleep(0.005)
        node.run(10)
        asked.join(10)
        os.close(netns)
    lines = written.lines()
    called = [line for line in lines if "waiting=9f3a00c0ffee" in line and "QingCloud was called" in line]
    assert {"action=CreateNics", "action=AttachNics"} <= {line.split()[5] for line in called}
    (reserved,) = [line for line in lines if "READY > RESERVED" in line]
    assert reserved.endswith("request=9f3a00c0ffee pod=shop/web-1") and " nic=52:54:" in reserved
    (last,) = [line for line in lines if "ADD c1 eth0 done in" in line]
    assert last.endswith("request=9f3a00c0ffee pod=shop/web-1")
    assert not [line for line in lines if "request=" in line and "request=9f3a00c0ffee" not in line]


def test_a_nic_s_pod_is_told_by_its_lease_where_no_call_names_it(written: Written, tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    with Node(tmp_path / "node") as node:
        node.run(10)
        key = LeaseKey("net", "c1", "eth0")
        args = {"K8S_POD_NAMESPACE": "shop", "K8S_POD_NAME": "web-1"}
        node.pool.acquire(key, args, node.clock.now(), lambda: False)
        node.pool.commit(key, 1, 1)
        node.pool.release(key, returned=True)
    lines = [line for line in written.lines() if "IN_USE" in line]
    assert [line.split(" pod=")[1] for line in lines] == ["shop/web-1"] * 2
    assert [line.partition("table: ")[2].partition(" nic=")[0] for line in lines] == [
        "RESERVED > IN_USE", "IN_USE > QUARANTINE",
    ]  # fmt: skip
