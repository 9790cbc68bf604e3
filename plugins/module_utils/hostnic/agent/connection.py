# SPDX-License-Identifier: GPL-3.0-or-later
"""One caller: its socket, the request that it sends, the descriptor beside it, and whether it is still there."""

from __future__ import annotations

import array
import contextlib
import logging
import os
import resource
import select
import socket
import threading
import time
import typing as t

from .. import wire
from .door import Door, Peer

log = logging.getLogger("hostnic.server")

_DESCRIPTOR: t.Final = array.array("i").itemsize
# An answer fits into the socket's buffer as good as always; a caller that does not read it has gone astray.
_SEND_PATIENCE: t.Final = 5.0
_SPARE_DESCRIPTORS: t.Final = 200  # for the store, netlink, the API


def room_for_connections() -> int:
    """How many this process can hold at once: each has a socket and a netns."""
    soft, __ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(4096, (soft - _SPARE_DESCRIPTORS) // 2))


class HungUpEarly(Exception):
    """The caller closed before its request was complete."""


class Connection:
    """Read by the server's thread, answered by a worker."""

    def __init__(self, sock: socket.socket, door: Door, peer: Peer, read_by: float) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.door = door
        self.peer = peer
        self.read_by = read_by
        self.netns: t.Optional[int] = None
        self.request: t.Optional[wire.Request] = None
        self.answered = False
        self._frame = wire.Frame(door.largest)
        self._cancelled = threading.Event()

    def read(self) -> t.Optional[wire.Request]:
        """What has arrived; the request once it is complete.

        Raises `WireError` for bytes that are none, `Unwelcome` for a caller who may not, `HungUpEarly` at their end.
        """
        try:
            data, control, flags, __ = self.sock.recvmsg(
                65536, socket.CMSG_LEN(_DESCRIPTOR), socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
            )
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise HungUpEarly from error
        self._keep_descriptors(control)
        if flags & socket.MSG_CTRUNC:
            raise wire.WireError("more than one descriptor")
        if not data:
            raise HungUpEarly
        body = self._frame.feed(data)
        if body is not None:
            message = wire.decode_object(body)
            self.door.admit(self.peer, message)
            self.request = wire.request_of(message)
        return self.request

    def cancel(self) -> None:
        """The caller is gone, or the agent goes."""
        self._cancelled.set()

    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def send(self, answer: wire.Answer) -> None:
        """The whole answer; only logs where the caller does not take it."""
        try:
            left = memoryview(wire.encode_answer(answer))
        except wire.WireError as error:
            log.error("the answer to %s is dropped: %s", self.peer.words, error)
            return
        until = time.monotonic() + _SEND_PATIENCE
        self.answered = True  # before the last byte: whoever has it may close at once
        try:
            while left:
                try:
                    left = left[self.sock.send(left, socket.MSG_NOSIGNAL) :]
                except (BlockingIOError, InterruptedError):
                    self._wait_for_room(until)
        except OSError as error:
            log.info("%s did not take its answer: %s", self.peer.words, error)

    def close(self) -> None:
        """Close socket and descriptor; nothing may be called afterwards."""
        if self.netns is not None:
            os.close(self.netns)
            self.netns = None
        self.sock.close()

    def _wait_for_room(self, until: float) -> None:
        left = until - time.monotonic()
        poll = select.poll()
        poll.register(self.sock, select.POLLOUT)
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError("the caller does not read")

    def _keep_descriptors(self, control: t.Iterable[tuple[int, int, bytes]]) -> None:
        received = array.array("i")
        for level, kind, data in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                received.frombytes(data[: len(data) - len(data) % _DESCRIPTOR])
        for descriptor in received:
            if self.netns is None:
                self.netns = descriptor
            else:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
                raise wire.WireError("more than one descriptor")
