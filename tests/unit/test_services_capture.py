# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of the fabric read as conversations."""

from __future__ import annotations

import socket
import struct

from tests.e2e.services.capture import Frame, Names, conversations, parse, redirects

NAMES = Names({"n1": "a1", "n2": "h1.a", "n3": "a3"}, {"02:00:00:00:00:01": "a1", "02:00:00:00:00:02": "h1.a",
                                                       "02:00:00:00:00:03": "a3"})  # fmt: skip
MACS = {name: mac for mac, name in NAMES.macs.items()}
SYN, ACK, PUSH = 0x02, 0x10, 0x18


def raw(to: str, source: str, destination: str, protocol: int, payload: bytes, options: bytes = b"") -> bytes:
    ethernet = bytes.fromhex(MACS[to].replace(":", "")) + bytes(6) + b"\x08\x00"
    words = 5 + len(options) // 4
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, 0, 0, 0, 64, protocol, 0)
    return ethernet + header + socket.inet_aton(source) + socket.inet_aton(destination) + options + payload


def tcp(sport: int, dport: int, flags: int) -> bytes:
    return struct.pack("!HHIIBBHHH", sport, dport, 0, 0, 0x50, flags, 0, 0, 0)


def frame(port: str, to: str, source: str, sport: int, destination: str, dport: int, flags: int) -> Frame:
    found = parse(port, raw(to, source, destination, socket.IPPROTO_TCP, tcp(sport, dport, flags)))
    assert found is not None
    return found


def test_headers_are_read_past_options() -> None:
    found = parse("n1", raw("a3", "10.0.0.1", "10.0.0.3", socket.IPPROTO_TCP, tcp(4000, 20000, SYN), bytes(8)))
    assert found == Frame("n1", MACS["a3"], "10.0.0.1", "10.0.0.3", ("10.0.0.1", 4000, "10.0.0.3", 20000), opens=True)
    answer = frame("n3", "a1", "10.0.0.3", 20000, "10.0.0.1", 4000, SYN | ACK)
    assert answer.flow and not answer.opens


def test_what_is_no_frame_of_interest() -> None:
    assert parse("n1", b"\xff" * 12 + b"\x08\x06" + bytes(46)) is None  # ARP
    assert parse("n1", raw("a3", "10.0.0.1", "10.0.0.3", socket.IPPROTO_UDP, bytes(8))) is None
    assert parse("n1", raw("a3", "10.0.0.1", "10.0.0.3", socket.IPPROTO_TCP, bytes(4))) is None  # cut short


def test_a_connection_is_followed_through_nat_in_both_directions() -> None:
    vip, pod, gateway, server = "10.96.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3"
    frames = [
        frame("n1", "h1.a", pod, 4000, vip, 20000, SYN),
        frame("n2", "a3", gateway, 30777, server, 20000, SYN),
        frame("n3", "h1.a", server, 20000, gateway, 30777, SYN | ACK),
        frame("n2", "a1", vip, 20000, pod, 4000, SYN | ACK),
        frame("n1", "h1.a", pod, 4000, vip, 20000, ACK),
        frame("n1", "a3", pod, 5000, server, 9, SYN),  # somebody else's
    ]
    (seen,) = conversations(frames, NAMES, {20000: "case"}).values()
    assert (seen.requests, seen.replies) == (["a1>h1.a", "h1.a>a3"], ["a3>h1.a", "h1.a>a1"])


def test_a_port_that_masquerading_has_drawn_is_not_taken_for_a_cases() -> None:
    frames = [
        frame("n2", "a3", "10.0.0.2", 20001, "10.0.0.3", 20000, SYN),
        frame("n3", "h1.a", "10.0.0.3", 20000, "10.0.0.2", 20001, SYN | ACK),
    ]
    seen = conversations(frames, NAMES, {20000: "this", 20001: "other"})
    assert (seen["this"].requests, seen["this"].replies) == (["h1.a>a3"], ["a3>h1.a"])
    assert not seen["other"].requests and not seen["other"].replies


def test_a_frame_on_another_link_shows_as_one_more_hop() -> None:
    frames = [frame("n1", "a3", "10.0.0.1", 4000, "10.0.0.3", 20000, SYN),
              frame("n1", "h1.a", "10.0.0.1", 4000, "10.0.0.3", 20000, PUSH)]  # fmt: skip
    assert conversations(frames, NAMES, {20000: "case"})["case"].requests == ["a1>a3", "a1>h1.a"]


def test_redirects_are_told_of_others() -> None:
    frames = [parse("n2", raw("a1", "10.0.0.2", "10.0.0.1", socket.IPPROTO_ICMP, bytes([kind, 1, 0, 0])))
              for kind in (3, 5, 8)]  # fmt: skip
    assert redirects([one for one in frames if one], NAMES) == ["h1.a: 10.0.0.2 redirects 10.0.0.1"]
