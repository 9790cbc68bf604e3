# SPDX-License-Identifier: GPL-3.0-or-later
"""A thin netlink socket: many messages in one send, one verdict each, dumps read again when they were disturbed."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import socket
import struct
import threading
import typing as t
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import LinkFailed
from .netns import Envoy

log = logging.getLogger("hostnic.net")

# <linux/netlink.h>
REQUEST: t.Final = 0x1
ACK: t.Final = 0x4
DUMP: t.Final = 0x300
REPLACE: t.Final = 0x100
EXCL: t.Final = 0x200
CREATE: t.Final = 0x400
APPEND: t.Final = 0x800
NETFILTER: t.Final = 12
_SOL_NETLINK: t.Final = 270
_CAP_ACK: t.Final = 10
_EXT_ACK: t.Final = 11
_ERROR: t.Final = 2
_DONE: t.Final = 3
_DUMP_INTERRUPTED: t.Final = 0x10
_ACK_TLVS: t.Final = 0x200
_ACK_MESSAGE: t.Final = 1
_HEADER: t.Final = struct.Struct("=IHHII")
_ATTRIBUTE: t.Final = struct.Struct("=HH")

# the kernel works inside send(): an answer that is not there after this never comes
_PATIENCE: t.Final = struct.pack("@ll", 10, 0)
_RECEIVE: t.Final = 1 << 16
_DUMP_ATTEMPTS: t.Final = 10


@dataclass(frozen=True)
class Request:
    """An encoded message; `purpose` ends the sentence "cannot ..."; errors in `tolerate` are as good as success."""

    data: bytes
    purpose: str
    tolerate: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Message:
    """What the kernel sent: the type and what follows the header."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def messages(data: bytes) -> t.Iterator[Message]:
    """The messages of one datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            raise LinkFailed("the kernel's answer is cut off", errno=errno.EBADMSG)
        yield Message(kind, flags, sequence, data[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> list[tuple[int, bytes]]:
    """(type without flags, value) of each attribute from `offset` on."""
    found = []
    last = len(data) - _ATTRIBUTE.size
    while offset <= last:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        found.append((kind & 0x3FFF, data[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return found


class Netlink:
    """A socket of the namespace in which it was made. One conversation at a time; not for two threads at once."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._sequence = itertools.count(1)
        try:
            self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
            self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def send(self, *requests: Request) -> None:
        """All of them in one send; each gets its verdict. `LinkFailed` of the first that was refused.

        The kernel goes on after a refusal: the later messages of the same send have been tried as well.
        """
        stamped = [self._stamped(request) for request in requests]
        waiting = {sequence: request for (sequence, _data), request in zip(stamped, requests)}
        self._transmit(b"".join(data for _sequence, data in stamped))
        refusals: list[LinkFailed] = []
        while waiting:
            for message in self._receive():
                request = waiting.pop(message.sequence, None) if message.kind == _ERROR else None
                if request is not None:
                    refusals += _refusal(message, request)
        if refusals:
            raise refusals[0]

    def ask(self, request: Request) -> t.Optional[bytes]:
        """The body of the one answer to a request without ACK; None where the kernel answers `tolerate`."""
        sequence, data = self._stamped(request)
        self._transmit(data)
        while True:
            for message in self._receive():
                if message.sequence != sequence:
                    continue
                if message.kind != _ERROR:
                    return message.body
                for refusal in _refusal(message, request):
                    raise refusal
                return None

    def dump(self, request: Request) -> list[bytes]:
        """The bodies of a whole dump; empty where the kernel answers `tolerate`."""
        for _attempt in range(_DUMP_ATTEMPTS):
            bodies = self._dump_once(request)
            if bodies is not None:
                return bodies
        raise LinkFailed(f"cannot {request.purpose}: it changes faster than it can be read", errno=errno.EINTR)

    def _dump_once(self, request: Request) -> t.Optional[list[bytes]]:
        sequence, data = self._stamped(request)
        self._transmit(data)
        bodies: list[bytes] = []
        disturbed = False
        while True:
            for message in self._receive():
                if message.sequence != sequence:
                    continue
                disturbed = disturbed or bool(message.flags & _DUMP_INTERRUPTED)
                if message.kind not in (_ERROR, _DONE):
                    bodies.append(message.body)
                    continue
                for refusal in _refusal(message, request):
                    raise refusal
                return None if disturbed else bodies

    def _stamped(self, request: Request) -> tuple[int, bytes]:
        """The message with a sequence number of its own."""
        sequence = next(self._sequence)
        return sequence, request.data[:8] + struct.pack("=I", sequence) + request.data[12:]

    def _transmit(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise LinkFailed(f"cannot talk to the kernel: {error.strerror}", errno=error.errno) from error

    def _receive(self) -> t.Iterator[Message]:
        try:
            return messages(self._socket.recv(_RECEIVE))
        except OSError as error:
            raise LinkFailed(f"no answer from the kernel: {error.strerror}", errno=error.errno) from error


def _refusal(message: Message, request: Request) -> list[LinkFailed]:
    """The error in a verdict (NLMSG_ERROR, or NLMSG_DONE of a dump) with the kernel's own explanation, or nothing."""
    if len(message.body) < 4:
        return []
    code = -struct.unpack_from("=i", message.body)[0]
    if code <= 0 or code in request.tolerate:
        return []
    told = ""
    if message.flags & _ACK_TLVS and message.kind == _ERROR:
        for kind, value in attributes(message.body, 4 + _HEADER.size):
            if kind == _ACK_MESSAGE:
                told = f" ({value.rstrip(bytes(1)).decode(errors='replace')})"
    return [LinkFailed(f"cannot {request.purpose}: {os.strerror(code)}{told}", errno=code)]


class Sockets:
    """Idle sockets of one namespace, lent to one thread at a time; a disturbed one is not used again.

    The last one back is the first one out, so there are as many as there are threads at once.
    """

    def __init__(self, envoy: Envoy, descriptor: int, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._envoy = envoy
        self._descriptor = descriptor
        self._protocol = protocol
        self._idle: deque[Netlink] = deque()
        self._closing = threading.Event()

    @contextmanager
    def lend(self) -> t.Iterator[Netlink]:
        """A socket for a conversation."""
        try:
            channel = self._idle.pop()
        except IndexError:
            channel = self._open()
        try:
            yield channel
        except LinkFailed as error:
            # a refusal leaves nothing unread; silence may be followed by a late answer
            self._take_back(channel, sound=error.details.get("errno") not in (errno.EAGAIN, errno.ENOBUFS, None))
            raise
        except BaseException:
            channel.close()
            raise
        self._take_back(channel, sound=True)

    def close(self) -> None:
        """Sockets that are lent are closed when they come back."""
        self._closing.set()
        while self._idle:
            self._idle.pop().close()

    def _open(self) -> Netlink:
        try:
            return self._envoy.visit(self._descriptor, lambda: Netlink(self._protocol))
        except OSError as error:
            raise LinkFailed(f"cannot open a netlink socket: {error.strerror}", errno=error.errno) from error

    def _take_back(self, channel: Netlink, sound: bool) -> None:
        if sound and not self._closing.is_set():
            self._idle.append(channel)
        else:
            channel.close()
