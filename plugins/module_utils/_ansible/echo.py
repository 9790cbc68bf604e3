# SPDX-License-Identifier: GPL-3.0-or-later
"""ICMP echo to many addresses at once, from any network namespace; a node need not have a program for it."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
import typing as t

from ..hostnic.net import netns

INTERVAL: t.Final = 0.2  # s between two requests to one address
PATIENCE: t.Final = 2.0  # s for the last answers

_HEADER: t.Final = struct.Struct(">BBHHH")  # type, code, checksum, identifier, sequence (RFC 792)
_REQUEST: t.Final = 8
_REPLY: t.Final = 0
_BODY: t.Final = bytes(48)  # with the headers 84 bytes, as everybody's


def round_trips(namespace: str, addresses: t.Sequence[str], count: int) -> dict[str, t.Optional[float]]:
    """Address ► milliseconds on average, None where no answer came. `namespace`: a path. Raises `LinkFailed`."""
    with contextlib.closing(netns.once(namespace, _raw_socket)) as channel:
        pings = _Pings(channel, addresses)
        for number in range(count):
            pings.send(number)
            pings.collect(PATIENCE if number == count - 1 else INTERVAL, all_of=number == count - 1)
    return {address: sum(trips) / len(trips) * 1000 if trips else None for address, trips in pings.trips.items()}


class _Pings:
    def __init__(self, channel: socket.socket, addresses: t.Sequence[str]) -> None:
        self.trips: dict[str, list[float]] = {address: [] for address in addresses}
        self._channel = channel
        self._identifier = os.getpid() & 0xFFFF
        self._open: dict[tuple[str, int], float] = {}

    def send(self, number: int) -> None:
        header = _HEADER.pack(_REQUEST, 0, 0, self._identifier, number)
        header = _HEADER.pack(_REQUEST, 0, _checksum(header + _BODY), self._identifier, number)
        for address in self.trips:
            self._open[address, number] = time.monotonic()
            with contextlib.suppress(OSError):  # no way there is no answer
                self._channel.sendto(header + _BODY, (address, 0))

    def collect(self, seconds: float, all_of: bool) -> None:
        """Answers for so long; `all_of`: no longer than until the last one is there."""
        until = time.monotonic() + seconds
        while not (all_of and not self._open):
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._channel], [], [], left)[0]:
                return
            packet, (address, __) = self._channel.recvfrom(2048)
            message = packet[(packet[0] & 15) * 4 :]  # after the IP header
            kind, __, __, identifier, number = _HEADER.unpack_from(message)
            sent = self._open.pop((address, number), None) if (kind, identifier) == (_REPLY, self._identifier) else None
            if sent is not None:
                self.trips[address].append(time.monotonic() - sent)


def _raw_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def _checksum(data: bytes) -> int:
    """Of an even number of bytes (RFC 1071)."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
