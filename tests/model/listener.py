# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulator's API behind a plain socket, one call at a time: there is one caller at a time, and many calls."""

from __future__ import annotations

import functools
import http
import socket
import threading

from tests.emulator.http import Answer, Reply, Request


class Listener:
    """One for all runs of a process; `answer` is that of the present run. None as an answer hangs up."""

    def __init__(self) -> None:
        self.answer: Answer = lambda request: None
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.host, self.port = self._socket.getsockname()
        threading.Thread(target=self._serve, name="cloud", daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection, connection.makefile("rb") as lines:
                method, target, _ = lines.readline().decode("ascii").split(" ")
                length = 0
                while (line := lines.readline()) not in (b"\r\n", b""):
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                path, _, query = target.partition("?")
                reply = self.answer(Request(method, path, query, {}, lines.read(length), "127.0.0.1"))
                if reply is not None:
                    connection.sendall(_encoded(reply))


@functools.cache
def listener() -> Listener:
    return Listener()


def _encoded(reply: Reply) -> bytes:
    phrase = http.HTTPStatus(reply.status).phrase
    head = f"HTTP/1.1 {reply.status} {phrase}\r\nContent-Length: {len(reply.body)}\r\nConnection: close\r\n\r\n"
    return head.encode("ascii") + reply.body
