# SPDX-License-Identifier: GPL-3.0-or-later
"""The TCP port against those who should not get in. Each test is a row of docs/security.md."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest

from hostnic import wire
from hostnic.agent import questions, tcp
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.cni import netns
from hostnic.config import Settings, check
from hostnic.errors import HostnicError, InvalidConfig
from hostnic.wire import Answer, Request
from tests.support.attempts import NOBODY, SILENCE, Attempt, attempt, question
from tests.support.cni import eventually
from tests.support.node import Node

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="other users' processes are started")

ADD = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0"}


class Bench:
    """An agent's two doors, in front of handlers that write down what came through."""

    def __init__(self, directory: Path) -> None:
        self.run = directory / "run"
        self.run.mkdir(mode=0o700)
        self.socket = str(self.run / "qingagent.sock")
        self.calls: list[tuple[str, t.Optional[int]]] = []
        self.now = 1000.0
        self.servers: list[Server] = []

    def serve(self, **options: t.Any) -> None:
        handlers: dict[str, tcp.Handler] = dict.fromkeys((wire.CNI, "ping", "pool", "drain", "release"), self._answer)
        listener = tcp.listen("127.0.0.1:0")
        self.where = f"127.0.0.1:{listener.getsockname()[1]}"
        self.token = tcp.new_token(str(self.run))
        self.door = tcp.TcpDoor(listener, handlers, self.token, clock=lambda: self.now)
        self.servers.append(Server([UnixDoor(listen_at(self.socket), handlers), self.door], lambda: None, **options))
        self.servers[-1].start()

    def _answer(self, request: Request, netns: t.Optional[int], _cancelled: t.Callable[[], bool]) -> Answer:
        self.calls.append((request.op, None if netns is None else os.fstat(netns).st_ino))
        return Answer(request.request_id, 0, json.dumps({"netns_error": request.netns_error}))

    def ask(self, op: str, token: t.Any = None, uid: int = 0, **changes: t.Any) -> Attempt:
        return attempt(socket.AF_INET, self.where, question(op, token, **changes), uid=uid)

    def add(self, path: str) -> t.Any:
        """What an ADD for this netns is told."""
        request = Request(wire.CNI, "r", wire.boottime() + 20, env={**ADD, "CNI_NETNS": path})
        return json.loads(wire.call(self.where, request, 20, self.token).stdout)


@pytest.fixture
def bench(tmp_path: Path) -> t.Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    for server in one.servers:
        server.stop(0.0)
        for door in server._doors:
            door.listener.close()


def test_root_of_this_host_with_the_token_may_look(bench: Bench) -> None:
    bench.serve()
    assert bench.ask("pool", bench.token).answer == {"netns_error": ""}
    assert wire.ask(bench.where, "ping", token=bench.token) == {"netns_error": ""}
    assert [op for op, __ in bench.calls] == ["pool", "ping"]


@pytest.mark.parametrize("kind", ["none", "empty", "wrong", "one letter off", "a beginning", "a number", "a list"])
def test_without_the_token_nothing_is_said(bench: Bench, kind: str) -> None:
    bench.serve()
    token = bench.token
    other = "0" if token[-1] != "0" else "1"
    given = {
        "none": None, "empty": "", "wrong": "x" * len(token), "one letter off": token[:-1] + other,
        "a beginning": token[:8], "a number": 0, "a list": [token],
    }[kind]  # fmt: skip
    assert bench.ask("pool", given) == SILENCE
    assert bench.calls == []


def test_without_the_token_not_even_the_protocol_is_told(bench: Bench) -> None:
    bench.serve()
    assert bench.ask("pool", protocol=9) == SILENCE
    assert bench.ask("pool", bench.token, protocol=9).got != b""


def test_another_user_is_hung_up_on_with_the_right_token(bench: Bench) -> None:
    bench.serve()
    assert bench.ask("pool", bench.token, uid=NOBODY) == SILENCE
    assert bench.calls == []


def test_another_user_cannot_read_the_token(bench: Bench) -> None:
    bench.serve()
    bench.run.chmod(0o755)
    for above in bench.run.parents:
        above.chmod(above.stat().st_mode | 0o011)
    token = bench.run / tcp.TOKEN
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    done = subprocess.run(["cat", token], user=NOBODY, capture_output=True, text=True, check=False)
    assert (done.stdout, "Permission denied" in done.stderr) == ("", True)


def test_guessing_is_paused_soon(bench: Bench) -> None:
    bench.serve()
    for __ in range(tcp.STRIKES):
        assert bench.ask("pool", "a guess") == SILENCE
    assert bench.ask("pool", bench.token) == SILENCE
    bench.now += tcp.PENALTY
    assert bench.ask("pool", bench.token).answer
    assert wire.ask(bench.socket, "ping")


def test_knocking_does_not_fill_the_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.serve()
    for __ in range(4):
        bench.ask("pool", uid=NOBODY)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


@pytest.mark.parametrize("op", ["drain", "release", "look"])
def test_nothing_can_be_ordered(bench: Bench, op: str) -> None:
    bench.serve()
    assert "does not know" in bench.ask(op, bench.token).answer["msg"]
    assert bench.calls == []


@pytest.mark.parametrize("verb", ["CHECK", "GC", "STATUS", ""])
def test_of_cni_only_add_and_del(bench: Bench, verb: str) -> None:
    bench.serve()
    request = Request(wire.CNI, "r", wire.boottime() + 20, env={**ADD, "CNI_COMMAND": verb})
    answer = wire.call(bench.where, request, 20, bench.token)
    assert "ADD and DEL" in json.loads(answer.stdout)["msg"]
    assert bench.calls == []


def test_a_netns_by_a_process_is_opened_by_the_agent(bench: Bench) -> None:
    bench.serve()
    assert bench.add(f"/proc/{os.getpid()}/ns/net") == {"netns_error": ""}
    assert bench.calls == [(wire.CNI, Path("/proc/self/ns/net").stat().st_ino)]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow", "/run/netns/../../etc/shadow", "/run/netns/..", "/run/netns/", "/run/netns/a/b", "run/netns/a",
        "/proc/self/ns/net", "/proc/1/root/etc/shadow", "/proc/1/ns/mnt", "/proc/1/../1/ns/net", "/proc/1/ns/net/",
        "/run/netns/a\nb/../c", "/dev/zero",
    ],
)  # fmt: skip
def test_no_other_path_is_opened(bench: Bench, path: str) -> None:
    bench.serve()
    assert "below /run/netns" in bench.add(path)["netns_error"]
    assert bench.calls == [(wire.CNI, None)]


def test_a_fifo_holds_nobody_up(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not below /run/netns, where each `ip` of this machine would wait for its writer."""
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(netns, "NAMED", re.compile(re.escape(str(tmp_path / "fifo"))))
    bench.serve()
    assert bench.add(str(tmp_path / "fifo")) == {"netns_error": ""}  # that it is no netns is seen by CNI


def test_what_is_too_large_is_not_read(bench: Bench) -> None:
    bench.serve(read_timeout=60.0)  # whoever waits for the rest does not end in time
    data = (tcp.LARGEST + 1).to_bytes(4, "big") + b"{" * 100_000
    assert attempt(socket.AF_INET, bench.where, data) == SILENCE
    assert wire.ask(bench.where, "ping", token=bench.token)


def test_slow_callers_keep_nobody_out(bench: Bench) -> None:
    bench.serve(read_timeout=2.0)
    address, inside, silent, most = bench.door.listener.getsockname(), bench.servers[0]._connections, [], 0
    for number in range(tcp.ROOM + 8):
        silent.append(socket.create_connection(address))
        silent[-1].sendall(b"\0\0"[: number % 3])
        most = max(most, len(inside))
    eventually(lambda: max(most, len(inside)) >= tcp.ROOM)
    assert wire.ask(bench.socket, "ping")
    assert max(most, len(inside) - 1) <= tcp.ROOM  # the last one there is the question's
    assert wire.ask(bench.where, "ping", token=bench.token, timeout=20)
    for sock in silent:
        sock.close()
    eventually(lambda: not inside)


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_a_browser_gets_nothing(bench: Bench, verb: str) -> None:
    bench.serve()
    body = question("pool")
    data = f"{verb} / HTTP/1.1\r\nHost: rebound.example\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    assert attempt(socket.AF_INET, bench.where, data) == SILENCE
    assert bench.calls == []


@pytest.mark.parametrize("address", ["0.0.0.0:31080", "[::]:31080", "10.1.2.3:31080", "node1.example:31080"])
def test_an_address_that_others_reach_is_refused(address: str) -> None:
    with pytest.raises(InvalidConfig, match=r"bindaddr .* others .* use 127\.0\.0\.1"):
        check(Settings(vxnet=("vxnet-pods001",), bindaddr=address))


def test_a_port_that_is_taken_costs_no_more_than_the_port(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        closed: list[HostnicError] = []
        assert tcp.doors(Settings(bindaddr=f"127.0.0.1:{port}", rundir=str(bench.run)), {}, closed.append) == []
    assert f"cannot listen on bindaddr 127.0.0.1:{port}" in caplog.text
    assert [error.remedy for error in closed] == ["free the port, or set another one, and restart qingagent"]
    assert not (bench.run / tcp.TOKEN).exists()
    with Node(bench.run) as node:
        told = questions.whole_status(node.engine, closed)
    assert [one["severity"] for one in told["problems"] if "bindaddr" in one["what"]] == ["warning"]


# -- the token's file -------------------------------------------------------------------------------------------------


def test_each_start_has_a_token_of_its_own(bench: Bench) -> None:
    before = os.umask(0)
    try:
        tokens = [tcp.new_token(str(bench.run)) for __ in range(3)]
    finally:
        os.umask(before)
    assert len(set(tokens)) == 3
    assert [len(bytes.fromhex(token)) for token in tokens] == [32] * 3
    (file,) = bench.run.iterdir()
    assert (file.read_text().strip(), stat.S_IMODE(file.stat().st_mode)) == (tokens[-1], 0o600)


def test_a_planted_token_is_replaced_and_not_followed(bench: Bench, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("as it was")
    (bench.run / tcp.TOKEN).symlink_to(target)
    token = tcp.new_token(str(bench.run))
    assert target.read_text() == "as it was"
    assert (bench.run / tcp.TOKEN).read_text() == f"{token}\n"
    assert not (bench.run / tcp.TOKEN).is_symlink()


def test_a_directory_in_the_tokens_place_closes_the_port_alone(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    (bench.run / tcp.TOKEN).mkdir()
    (bench.run / tcp.TOKEN / "full").touch()
    assert tcp.doors(Settings(bindaddr="127.0.0.1:0", rundir=str(bench.run)), {}, print) == []
    assert f"cannot write {bench.run / tcp.TOKEN}" in caplog.text
    assert [path.name for path in bench.run.iterdir()] == [tcp.TOKEN]


@pytest.mark.parametrize("how", ["a link", "another's", "open to others", "below what is open to others"])
def test_no_token_is_written_where_others_may_write(bench: Bench, tmp_path: Path, how: str) -> None:
    run = bench.run
    if how == "a link":
        run = tmp_path / "link"
        run.symlink_to(bench.run)
    elif how == "another's":
        os.chown(run, NOBODY, NOBODY)
    elif how == "open to others":
        run.chmod(0o777)
    else:
        tmp_path.chmod(0o777)
    with pytest.raises(HostnicError, match="symbolic link|belongs to uid 65534|may be written by others"):
        tcp.new_token(str(run))
    assert list(bench.run.iterdir()) == []
