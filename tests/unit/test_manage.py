# SPDX-License-Identifier: GPL-3.0-or-later
"""Health, metrics and introspection over real connections: who is answered, and what cannot be done to the agent."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import threading
import time
import typing as t

import pytest

from hostnic.agent.manage import Maker, Manage, Page, pages
from hostnic.errors import HostnicError, PoolEmpty
from tests.support.cni import eventually

SPECIMEN = {"nics": [{"nic_id": "52:54:00:00:00:01"}]}


class Bench:
    """A server whose agent is the test's: `ended` threads, `reason` for not serving ADDs."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.reason: t.Optional[HostnicError] = None
        self.servers: list[Manage] = []

    def pages(self) -> dict[str, Maker]:
        shown = {"nics": lambda: SPECIMEN["nics"], "broken": lambda: 1 // 0}
        return pages(lambda: b"up 1\n", "text/x-metrics", lambda: self.ended, lambda: self.reason, shown)

    def serve(self, address: str = "127.0.0.1:0", **options: t.Any) -> Manage:
        server = Manage(address, self.pages(), **options)
        self.servers.append(server)
        server.start()
        return server


@pytest.fixture
def bench() -> t.Iterator[Bench]:
    made = Bench()
    yield made
    for server in made.servers:
        server.stop()


def get(server: Manage, path: str, method: str = "GET", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers


def raw(server: Manage, data: bytes) -> bytes:
    """All that comes back until the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(65536):
                received += data
        return received


# -- what is there -----------------------------------------------------------------------------------------------------


def test_the_index_names_what_is_there_and_all_of_it_answers(bench: Bench) -> None:
    server = bench.serve()
    status, text, __ = get(server, "/")
    assert (status, text.split()) == (200, ["/metrics", "/healthz", "/readyz", "/v1/nics", "/v1/broken"])
    assert get(server, "/metrics")[:2] == (200, "up 1\n")
    assert get(server, "/metrics")[2]["Content-Type"] == "text/x-metrics"
    assert json.loads(get(server, "/v1/nics?pretty")[1]) == SPECIMEN["nics"]
    assert get(server, "/nowhere")[0] == 404


def test_alive_as_long_as_all_threads_are(bench: Bench) -> None:
    server = bench.serve()
    assert get(server, "/healthz")[:2] == (200, "alive\n")
    bench.ended = ["reconciler", "spool"]
    assert get(server, "/healthz")[:2] == (503, "ended: reconciler, spool\n")


def test_ready_where_an_add_can_be_served_else_one_line_says_why_not(bench: Bench) -> None:
    server = bench.serve()
    assert get(server, "/readyz")[:2] == (200, "ready\n")
    bench.reason = PoolEmpty("all 3 NICs\nare taken")
    assert get(server, "/readyz")[:2] == (503, "all 3 NICs are taken\n")


def test_a_defect_is_an_answer_and_ends_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    server = bench.serve()
    with caplog.at_level(logging.ERROR, "hostnic.manage"):
        status, text, __ = get(server, "/v1/broken")
    assert (status, text.partition(":")[0]) == (500, "a defect of qingagent")
    assert "ZeroDivisionError" in caplog.text
    assert get(server, "/healthz")[0] == 200


def test_head_is_as_get_without_the_body(bench: Bench) -> None:
    server = bench.serve()
    status, text, headers = get(server, "/v1/nics", "HEAD")
    assert (status, text) == (200, "")
    assert int(headers["Content-Length"]) == len(get(server, "/v1/nics")[1])


# -- who is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "X"])
def test_nothing_but_reading(bench: Bench, method: str) -> None:
    status, __, headers = get(bench.serve(), "/metrics", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("host", ["localhost", "localhost:31081", "127.0.0.1:1", "127.8.0.1", "[::1]:31081"])
def test_who_means_this_host_is_answered(bench: Bench, host: str) -> None:
    assert get(bench.serve(), "/metrics", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "0.0.0.0", "", "[x"]
)
def test_a_name_that_was_rebound_to_here_is_refused(bench: Bench, host: str) -> None:
    assert get(bench.serve(), "/v1/nics", Host=host)[0] == 403


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\n\r\n", 403),
        (b"GET /metrics HTTP/1.0\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 403),
        (b"GET /metrics HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 8192 + b"\r\n\r\n", 431),
        (b"x" * 9000, 431),
    ],
)
def test_odd_requests(bench: Bench, request_: bytes, status: int) -> None:
    assert raw(bench.serve(), request_).startswith(f"HTTP/1.1 {status} ".encode())


# -- what nobody can do to it ------------------------------------------------------------------------------------------


def test_who_is_slow_is_dropped_and_keeps_nobody_waiting(bench: Bench) -> None:
    server = bench.serve(patience=0.5)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(b"GET / HT")
        began = time.monotonic()
        assert get(server, "/healthz")[0] == 200
        assert slow.recv(1) == b""
        assert 0.3 < time.monotonic() - began < 5


def test_who_drips_is_dropped_as_well(bench: Bench) -> None:
    server = bench.serve(patience=0.5)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        until = time.monotonic() + 20
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < until:
                slow.sendall(b"x")
                time.sleep(0.02)


def test_more_connections_than_it_keeps_cost_the_oldest_theirs(bench: Bench) -> None:
    server = bench.serve(patience=600)
    with contextlib.ExitStack() as opened:
        idle = [opened.enter_context(socket.create_connection(("127.0.0.1", server.port), 20)) for __ in range(40)]
        assert get(server, "/healthz")[0] == 200
        assert idle[0].recv(1) == b""


def test_an_answer_that_nobody_takes_is_given_up(bench: Bench) -> None:
    server = Manage("127.0.0.1:0", {"/": lambda: Page(200, bytes(1 << 24))}, patience=0.5)
    bench.servers.append(server)
    server.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as lazy:
        lazy.sendall(b"GET / HTTP/1.0\r\n\r\n")
        time.sleep(0.05)
        received = 0
        eventually(lambda: not server._callers)
        with contextlib.suppress(ConnectionResetError):
            while data := lazy.recv(1 << 20):
                received += len(data)
        assert received < 1 << 24


def test_a_taken_address_is_told_and_taken_once_it_is_free(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        address = f"127.0.0.1:{thief.getsockname()[1]}"
        with caplog.at_level(logging.WARNING, "hostnic.manage"):
            server = bench.serve(address, again=0.05)
            (problem,) = server.problems()
            assert "is taken by another program" in problem.what
            eventually(lambda: server._next_try > time.monotonic())
        assert server.alive()
        assert [record.message for record in caplog.records] == [f"{problem.what}; pods are served all the same"]
    eventually(lambda: server.port)
    assert server.problems() == []
    assert get(server, "/readyz")[0] == 200


def test_stopping_closes_it(bench: Bench) -> None:
    server = bench.serve()
    port = server.port
    bench.servers.remove(server)
    server.stop()
    assert not server.alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    assert "manage" not in {thread.name for thread in threading.enumerate()}
