# SPDX-License-Identifier: GPL-3.0-or-later
"""A threaded HTTP/1.1 server with keep-alive, which can also hang up instead of answering."""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import sys
import threading
import time
import typing as t
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_log = logging.getLogger(__name__)
_LOOK = 0.5  # s between looks at whether to end: each wakes a processor, which the nodes have too


@dataclass(frozen=True)
class Request:
    """``path`` is as requested, without the query; ``headers`` have lower-case names."""

    method: str
    path: str
    query: str
    headers: t.Mapping[str, str]
    body: bytes
    peer: str


@dataclass(frozen=True)
class Reply:
    body: bytes
    status: int = 200
    content_type: str = "application/json; charset=utf-8"
    ahead: float = 0.0  # seconds, of the Date header


Answer = t.Callable[[Request], t.Optional[Reply]]


class HttpService:
    """Listens from the start; serves between ``start`` and ``stop``. ``answer`` returns None to hang up."""

    def __init__(self, address: str, answer: Answer) -> None:
        host, __, port = address.rpartition(":")
        self._server = _Server((host, int(port)), answer)
        self._host, self._port = host, int(self._server.server_address[1])
        self.address = f"{host}:{self._port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": _LOOK}, name="emulator-http", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            ending = threading.Thread(target=self._server.shutdown)
            ending.start()
            with contextlib.suppress(OSError):  # it looks when somebody knocks, too
                socket.create_connection((self._host, self._port), _LOOK).close()
            ending.join()
            self._thread.join()
        self._server.server_close()
        self._server.hang_up_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    block_on_close = False

    def __init__(self, address: tuple[str, int], answer: Answer) -> None:
        self.answer = answer
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: t.Any, client_address: t.Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: t.Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up_all(self) -> None:
        """Kept-alive connections would outlive the server."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def server_bind(self) -> None:
        """Without looking the address up in the DNS, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A client that went away is not worth a traceback."""
        if not isinstance(sys.exc_info()[1], OSError):
            _log.exception("request from %s", client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536
    server: _Server
    _ahead = 0.0

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        path, __, query = self.path.partition("?")
        request = Request(
            self.command,
            path,
            query,
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length) if length else b"",
            self.client_address[0],
        )
        reply = self.server.answer(request)
        if reply is None:
            self.close_connection = True
            return
        self._ahead = reply.ahead
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(time.time() + self._ahead if timestamp is None else timestamp)

    def log_message(self, format: str, *args: t.Any) -> None:
        """Quiet: the counters say what was called."""
