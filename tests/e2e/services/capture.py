# SPDX-License-Identifier: GPL-3.0-or-later
"""What crossed the fabric: every frame as it leaves a NIC or the router's leg, by a packet socket."""

from __future__ import annotations

import socket
import struct
import threading
import typing as t
from dataclasses import dataclass, field

from hostnic.net.netns import once

_ETH_P_ALL: t.Final = 3
_ETH_P_IP: t.Final = 0x0800
_SOL_PACKET: t.Final = 263
_PACKET_STATISTICS: t.Final = 6
_PACKET_IGNORE_OUTGOING: t.Final = 23
_SO_RCVBUFFORCE: t.Final = 33
_BUFFER: t.Final = 256 * 1024 * 1024
_HEADERS: t.Final = 128  # bytes of a frame that are read
_SYN, _ACK = 0x02, 0x10
_REDIRECT: t.Final = 5

Flow = tuple[str, int, str, int]


@dataclass(frozen=True)
class Frame:
    """`port`: the fabric's link it came in by. `flow`: of TCP, else None."""

    port: str
    to_mac: str
    source: str
    destination: str
    flow: t.Optional[Flow] = None
    opens: bool = False
    redirect: bool = False


@dataclass
class Seen:
    """Hops in the order of their first packet."""

    requests: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)


class Capture:
    """Reads frames from `start` to `stop`, in a thread of its own. `netns`: the path of the fabric's namespace."""

    def __init__(self, netns: str) -> None:
        self.frames: list[Frame] = []
        self._socket = once(netns, _tap)
        self._socket.settimeout(0.2)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Once everything that was queued until now has been read; AssertionError where some of it was lost."""
        self._stopping.set()
        self._thread.join()
        _, lost = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self._socket.close()
        if lost:
            raise AssertionError(f"{lost} frames were not captured")

    def _read(self) -> None:
        while True:
            stopping = self._stopping.is_set()
            try:
                raw, address = self._socket.recvfrom(_HEADERS)
            except TimeoutError:
                if stopping:
                    return
                continue
            frame = parse(address[0], raw)
            if frame is not None:
                self.frames.append(frame)


def _tap() -> socket.socket:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    tap.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    return tap


def parse(port: str, raw: bytes) -> t.Optional[Frame]:
    """None for what is neither TCP nor ICMP over IPv4."""
    if len(raw) < 34 or int.from_bytes(raw[12:14], "big") != _ETH_P_IP:
        return None
    length, protocol = (raw[14] & 15) * 4, raw[23]
    source, destination = socket.inet_ntoa(raw[26:30]), socket.inet_ntoa(raw[30:34])
    ends = (port, raw[:6].hex(":"), source, destination)
    payload = raw[14 + length :]
    if protocol == socket.IPPROTO_ICMP and payload:
        return Frame(*ends, redirect=payload[0] == _REDIRECT)
    if protocol != socket.IPPROTO_TCP or len(payload) < 14:
        return None
    sport, dport = struct.unpack("!HH", payload[:4])
    opens = payload[13] & (_SYN | _ACK) == _SYN
    return Frame(*ends, flow=(source, sport, destination, dport), opens=opens)


@dataclass(frozen=True)
class Names:
    """Of the fabric's links by name, and of who is meant by a frame's MAC."""

    ports: t.Mapping[str, str]
    macs: t.Mapping[str, str]

    def hop(self, frame: Frame) -> str:
        return f"{self.ports[frame.port]}>{self.macs.get(frame.to_mac, frame.to_mac)}"


def conversations(frames: t.Iterable[Frame], names: Names, by_port: t.Mapping[int, str]) -> dict[str, Seen]:
    """Case ► what was seen of it; a connection is known by the port that it is opened to, NATed or not."""
    seen = {case: Seen() for case in by_port.values()}
    flows: dict[Flow, str] = {}
    for frame in frames:
        if frame.flow is None or frame.port not in names.ports:
            continue
        source, sport, destination, dport = frame.flow
        if frame.opens and dport in by_port:
            flows[frame.flow] = by_port[dport]
        back = (destination, dport, source, sport)
        case = flows.get(frame.flow) or flows.get(back)
        if case is None:
            continue
        way = seen[case].requests if frame.flow in flows else seen[case].replies
        hop = names.hop(frame)
        if hop not in way:
            way.append(hop)
    return seen


def redirects(frames: t.Iterable[Frame], names: Names) -> list[str]:
    """Every ICMP redirect, as text."""
    return [
        f"{names.ports.get(frame.port, frame.port)}: {frame.source} redirects {frame.destination}"
        for frame in frames
        if frame.redirect
    ]
