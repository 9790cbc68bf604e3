# SPDX-License-Identifier: GPL-3.0-or-later
"""The unix socket against those who should not get in. Each test is a row of docs/security.md."""

from __future__ import annotations

import contextlib
import os
import socket
import typing as t
from pathlib import Path

import pytest

from hostnic import wire
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.errors import InvalidConfig
from hostnic.wire import Answer, Request
from tests.support.attempts import NOBODY, SILENCE, attempt, question

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="other users' processes are started")


class Bench:
    def __init__(self, directory: Path, read_timeout: float = 60.0) -> None:
        self.directory = directory / "run"
        self.directory.mkdir(mode=0o700)
        self.path = str(self.directory / "qingagent.sock")
        self.door = UnixDoor(listen_at(self.path), {"ping": self._answer, wire.CNI: self._answer})
        self.server = Server([self.door], lambda: None, read_timeout=read_timeout, max_connections=16)
        self.server.start()
        self.calls = 0

    def _answer(self, request: Request, _netns: t.Optional[int], _cancelled: t.Callable[[], bool]) -> Answer:
        self.calls += 1
        return Answer(request.request_id, 0, "true")

    def open_to_all(self) -> None:
        """As somebody's chmod might leave it."""
        Path(self.path).chmod(0o666)
        for directory in (self.directory, *self.directory.parents):
            directory.chmod(directory.stat().st_mode | 0o011)

    def close(self) -> None:
        self.server.stop(0.0)
        self.door.listener.close()


@pytest.fixture
def bench(tmp_path: Path) -> t.Iterator[Bench]:
    with contextlib.closing(Bench(tmp_path)) as one:
        yield one


def test_another_user_does_not_reach_the_socket(bench: Bench) -> None:
    for directory in bench.directory.parents:
        directory.chmod(directory.stat().st_mode | 0o011)
    assert not attempt(socket.AF_UNIX, bench.path, question("ping"), uid=NOBODY).connected
    bench.directory.chmod(0o755)
    assert not attempt(socket.AF_UNIX, bench.path, question("ping"), uid=NOBODY).connected
    assert attempt(socket.AF_UNIX, bench.path, question("ping")).answer is True


@pytest.mark.parametrize("uid", [NOBODY, 1, 1000])
def test_another_user_who_reaches_it_is_hung_up_on(bench: Bench, uid: int) -> None:
    bench.open_to_all()
    assert attempt(socket.AF_UNIX, bench.path, question("ping"), uid=uid) == SILENCE
    assert attempt(socket.AF_UNIX, bench.path, question(wire.CNI, env={"CNI_COMMAND": "ADD"}), uid=uid) == SILENCE
    assert bench.calls == 0


@pytest.mark.parametrize("length", [wire.MAX_BODY + 1, 2**31, 2**32 - 1])
def test_what_is_too_large_is_not_read(bench: Bench, length: int) -> None:
    data = length.to_bytes(4, "big") + b"{" * 200_000
    assert attempt(socket.AF_UNIX, bench.path, data) == SILENCE
    assert wire.ask(bench.path, "ping") is True


def test_slow_callers_keep_nobody_out(tmp_path: Path) -> None:
    """They fill every place; those who drip are dropped with those who say nothing."""
    with contextlib.closing(Bench(tmp_path, read_timeout=0.5)) as bench:
        slow = []
        for number in range(48):
            slow.append(socket.socket(socket.AF_UNIX))
            slow[-1].connect(bench.path)
            slow[-1].sendall(b"\0\0\0\xff{"[: number % 6])
        assert wire.ask(bench.path, "ping", timeout=15) is True
        for sock in slow:
            sock.close()


def test_a_regular_file_where_the_socket_should_be_is_not_touched(tmp_path: Path) -> None:
    path, link = tmp_path / "qingagent.sock", tmp_path / "link.sock"
    path.write_text("mine")
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(InvalidConfig, match=f"{name} is no socket: move it away"):
            listen_at(str(name))
    assert (path.read_text(), link.is_symlink()) == ("mine", True)
