# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP server that answers calls of the API by a script, and a client of it."""

from __future__ import annotations

import heapq
import itertools
import ssl
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote

import pytest

from hostnic import errors
from hostnic.cloud.breaker import Breaker
from hostnic.cloud.connection import Connection
from hostnic.cloud.credentials import Access, Key
from hostnic.cloud.keys import FixedKeys
from hostnic.cloud.limiter import RateLimiter

KEY = Key("QYACCESSKEYIDEXAMPLE", "SECRETACCESSKEY")
OK = b'{"action":"XResponse","ret_code":0,"answer":42}'


class Time:
    """A clock of our own. Sleeping is what makes it pass; `slept` are the pauses."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Crowd:
    """Threads on a clock of our own, one of them running at a time; who sleeps hands over to the next to wake.

    `late` tells by how many seconds a sleeper wakes too late.
    """

    def __init__(self, late: t.Callable[[], float] = lambda: 0.0) -> None:
        self.now = 0.0
        self._late = late
        self._changed = threading.Condition()
        self._asleep: list[tuple[float, int]] = []
        self._serials = itertools.count()
        self._turn = -1
        self.failures: list[BaseException] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._changed:
            serial = next(self._serials)
            heapq.heappush(self._asleep, (self.now + seconds + self._late(), serial))
            self._hand_over()
            self._wait(serial)

    def run(self, jobs: t.Sequence[tuple[float, t.Callable[[], object]]]) -> None:
        """Each job from its moment on, until all are done; then the first exception is raised, if there was any."""
        threads = []
        for moment, job in jobs:
            serial = next(self._serials)
            heapq.heappush(self._asleep, (moment, serial))
            threads.append(threading.Thread(target=self._work, args=(serial, job), daemon=True))
        for thread in threads:
            thread.start()
        with self._changed:
            self._hand_over()
        for thread in threads:
            thread.join(60)
        if self.failures:
            raise self.failures[0]

    def _work(self, serial: int, job: t.Callable[[], object]) -> None:
        with self._changed:
            self._wait(serial)
        try:
            job()
        except BaseException as error:
            self.failures.append(error)
        with self._changed:
            self._hand_over()

    def _wait(self, serial: int) -> None:
        if not self._changed.wait_for(lambda: self._turn == serial, 60):
            raise TimeoutError

    def _hand_over(self) -> None:
        if self._asleep:
            moment, self._turn = heapq.heappop(self._asleep)
            self.now = max(self.now, moment)
        self._changed.notify_all()


class ScriptedApi:
    """Answers requests by the script, the last line of it again and again; keeps what was asked."""

    def __init__(self, context: t.Optional[ssl.SSLContext] = None) -> None:
        self.script: list[t.Any] = [OK]
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.over = threading.Event()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # noqa: N802
                path, __, query = self.path.partition("?")
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                api.asked.append((self.command, unquote(path), dict(parse_qsl(query or body, keep_blank_values=True))))
                line = api.script.pop(0) if len(api.script) > 1 else api.script[0]
                line(self) if callable(line) else api.reply(self, line)

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: t.Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: t.Any, client_address: t.Any) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def reply(self, handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, length: int = 0) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(length or len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        if length:
            handler.close_connection = True

    def stall(self, handler: BaseHTTPRequestHandler) -> None:
        self.over.wait(20)
        handler.close_connection = True

    def hang_up(self, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


def connection(
    api_port: int,
    *,
    key: Key = KEY,
    limiter: t.Optional[RateLimiter] = None,
    breaker: t.Optional[Breaker] = None,
    **changes: t.Any,
) -> Connection:
    facts = {"host": "127.0.0.1", "protocol": "http", "timeout": 5.0, "key": key, "port": api_port, **changes}
    limiter = limiter or RateLimiter(1e6, 1000)
    return Connection(Access(**facts), FixedKeys(key), limiter, zone="pek3a", breaker=breaker)


def failing(link: Connection, action: str = "CreateNics") -> errors.HostnicError:
    with pytest.raises(errors.HostnicError) as caught:
        link.call(action, {"count": 1})
    error = caught.value
    assert error.details["action"] == action
    assert {"ret_code", "message"} <= set(error.details)
    assert KEY.secret not in repr(error.details) + error.message
    return error
