# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP between namespaces: 64 KiB down, a pause, 64 KiB up, so that a path that fails after the handshake shows."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import typing as t
from dataclasses import dataclass
from functools import partial

from hostnic.net.netns import once
from tests.lab.wait import until

SIZE: t.Final = 64 * 1024
PATIENCE: t.Final = 20.0  # s for each step of a transfer: several retransmissions on a busy machine
_PAUSE: t.Final = 0.1  # s between the two, in which nobody speaks: part of the traffic, nothing waits for it
_DONE: t.Final = b"done"


@dataclass
class Transfer:
    """`source`: whom the server saw. `error`: what the client ran into; both are "" before and without."""

    source: str = ""
    error: str = "not finished"


@dataclass(frozen=True)
class Listening:
    """`netns` is a path."""

    netns: str
    address: tuple[str, int]


@dataclass(frozen=True)
class Talk:
    """`client`: the path of its namespace. The server listens on one address, so that no other of its machine does."""

    client: str
    server: Listening
    target: tuple[str, int]


def run(talks: t.Mapping[str, Talk], patience: float = PATIENCE) -> dict[str, Transfer]:
    """All at once; each has `patience` seconds for every step that takes a packet."""
    results = {name: Transfer() for name in talks}
    listeners = {
        name: once(talk.server.netns, partial(socket.create_server, talk.server.address))
        for name, talk in talks.items()
    }
    threads = []
    try:
        for name, talk in talks.items():
            listeners[name].settimeout(patience)
            work = ((_serve, (listeners[name], results[name], patience)), (_ask, (talk, results[name], patience)))
            threads += [threading.Thread(target=act, args=arguments, daemon=True) for act, arguments in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for listener in listeners.values():
            listener.close()
    return results


def scatter(
    client: str, target: tuple[str, int], servers: t.Mapping[str, Listening], times: int
) -> set[tuple[str, str]]:
    """Connect so many times, one after the other; which server has answered and whom it saw. Raises OSError."""
    met: set[tuple[str, str]] = set()

    def answer(name: str, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener is shut down in the end
            while True:
                connection, peer = listener.accept()
                with connection:
                    met.add((name, peer[0]))
                    connection.sendall(_DONE)

    with contextlib.ExitStack() as undo:
        for name, server in servers.items():
            listener = undo.enter_context(once(server.netns, partial(socket.create_server, server.address)))
            thread = threading.Thread(target=answer, args=(name, listener), daemon=True)
            thread.start()
            undo.callback(thread.join)
            undo.callback(listener.shutdown, socket.SHUT_RDWR)
        for _ in range(times):
            with once(client, socket.socket) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(target)
                _take(connection, len(_DONE))
    return met


def shout(client: str, target: tuple[str, int], heard: t.Callable[[], bool]) -> None:
    """One UDP datagram after the other, until they were `heard`; nobody answers them."""
    with once(client, partial(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        until(lambda: sender.sendto(b"?", target) and heard(), 10, f"what is sent to {target[0]}")


def _serve(listener: socket.socket, result: Transfer, patience: float) -> None:
    try:
        connection, peer = listener.accept()
        with connection:
            result.source = peer[0]
            connection.settimeout(patience)
            connection.sendall(b"d" * SIZE)
            _take(connection, SIZE)
            connection.sendall(_DONE)
    except OSError:
        return  # the client tells what became of it


def _ask(talk: Talk, result: Transfer, patience: float) -> None:
    try:
        with once(talk.client, socket.socket) as connection:
            connection.settimeout(patience)
            connection.connect(talk.target)
            _take(connection, SIZE)
            time.sleep(_PAUSE)
            connection.sendall(b"u" * SIZE)
            _take(connection, len(_DONE))
        result.error = ""
    except OSError as error:
        result.error = f"{type(error).__name__}: {error}"


def _take(connection: socket.socket, count: int) -> None:
    """Exactly so many bytes; OSError where the other end has none left."""
    while count:
        received = connection.recv(count)
        if not received:
            raise ConnectionError(f"closed {count} bytes early")
        count -= len(received)
