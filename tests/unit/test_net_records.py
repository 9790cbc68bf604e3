# SPDX-License-Identifier: GPL-3.0-or-later
"""What a NIC was like, in one line; and what the kernel tells of a link."""

from __future__ import annotations

import struct
import sys
import typing as t

import pytest

from hostnic.net import records
from hostnic.net.devices import NUMBERS, find, find_changed, parse, standing_on
from hostnic.net.pristine import repairs

MAC, OTHER = "52:54:9e:00:00:0a", "02:00:00:00:00:99"
NUMBERS_OF = {name: 1000 + key for key, name in NUMBERS.items()}


def test_a_record_comes_back_as_it_was() -> None:
    assert records.parse(records.text(MAC, NUMBERS_OF)) == (MAC, NUMBERS_OF)
    most = dict.fromkeys(NUMBERS.values(), 2**32 - 1)
    assert len(records.text(MAC, most)) <= 97
    assert records.text(MAC, {"IFLA_MTU": 1500, "IFLA_TXQLEN": 0}) == "q52549e00000a-m1500-t0"


@pytest.mark.parametrize(
    "text",
    ["", "q52549e00000a", "q52549e00000-m1500", "q52549e00000a-m", "x52549e00000a-m1500", "q52549e00000a-m1500 "],
)
def test_what_is_no_record_is_passed_over(text: str) -> None:
    assert records.parse(text) is None


def test_a_later_versions_numbers_are_passed_over() -> None:
    assert records.parse("q52549e00000a-m1500-z7") == (MAC, {"IFLA_MTU": 1500})


def link(*known: tuple[int, bytes], index: int = 7, flags: int = 0x1002) -> bytes:
    """The body of an RTM_NEWLINK."""
    body = struct.pack("=BxHiII", 0, 1, index, flags, 0)
    for key, value in known:
        body += struct.pack("=HH", 4 + len(value), key) + value + bytes(-len(value) % 4)
    return body


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def number(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


NAME, ADDRESS, PERMANENT = (3, b"eth0\0"), (1, mac(OTHER)), (54, mac(MAC))
VETH = (18, struct.pack("=HH", 9, 1) + b"veth\0\0\0\0")


def test_a_permanent_mac_is_who_it_is() -> None:
    real = parse(link(NAME, ADDRESS, PERMANENT))
    assert (real.identity, real.mac, real.may_be_a_nic) == (MAC, OTHER, True)
    forged = parse(link((3, b"x\0"), (1, mac(MAC)), VETH))
    assert forged.identity == MAC and forged.may_be_a_nic
    assert find([forged, real], MAC) is real and find([real, forged], MAC) is real
    assert find([real], OTHER) is None
    assert find_changed([real], 7, "eth0") is None
    assert find_changed([parse(link(NAME, ADDRESS, VETH))], 7, "eth0") is not None


def test_a_mac_of_zeros_is_none() -> None:
    assert parse(link(NAME, ADDRESS, (54, bytes(6)))).identity == OTHER


def test_what_stands_on_a_link_is_told_from_a_veths_other_end() -> None:
    below = parse(link(NAME, ADDRESS))
    kinds = [(18, struct.pack("=HH", 4 + len(kind), 1) + kind) for kind in (b"macvlan\0", b"vlan\0\0\0\0")]
    on_it = [parse(link((5, number(7)), kind, index=index)) for index, kind in enumerate(kinds, 20)]
    others = [
        parse(link((5, number(7)), VETH)),
        parse(link((5, number(8)), kinds[0])),
        parse(link((5, number(7)), (37, number(0)), kinds[0])),  # the index counts in another namespace
        parse(link(kinds[0])),
    ]
    assert standing_on([*on_it, *others], below) == on_it


def _pristine(**changes: t.Any) -> bytes:
    known = {
        "NAME": (3, b"q52549e00000a\0"),
        "ADDRESS": (1, mac(MAC)),
        "BROADCAST": (2, mac("ff:ff:ff:ff:ff:ff")),
        **{name: (key, number(NUMBERS_OF[name])) for key, name in NUMBERS.items()},
    }
    flags = changes.pop("flags", 0x1002)
    return link(*{**known, **changes}.values(), flags=flags)


def _repairs(body: bytes, numbers: t.Mapping[str, int] = NUMBERS_OF) -> list[str]:
    return [request.data.hex() for request in repairs(parse(body), MAC, "q52549e00000a", numbers)]


def test_a_nic_as_it_came_needs_nothing() -> None:
    assert _repairs(_pristine()) == []
    assert _repairs(_pristine(), {}) == []
    assert _repairs(link((3, b"q52549e00000a\0"), (1, mac(MAC)), (2, mac("ff:ff:ff:ff:ff:ff")))) == []


@pytest.mark.parametrize("name", NUMBERS.values())
def test_each_number_is_restored_alone(name: str) -> None:
    keys = {name: key for key, name in NUMBERS.items()}
    (request,) = _repairs(_pristine(**{name: (keys[name], number(5))}))
    expected = struct.pack("=HHI", 8, keys[name], NUMBERS_OF[name]).hex()
    assert request.endswith(expected) and request.count("0800") == 1


def test_a_mac_and_a_name_are_restored() -> None:
    for changed in ({"ADDRESS": (1, mac(OTHER)), "PERMANENT": PERMANENT}, {"NAME": NAME}):
        (request,) = _repairs(_pristine(**changed))
        assert "12000300" + b"q52549e00000a".hex() in request
        assert ("0a000100" + mac(MAC).hex() in request) == ("ADDRESS" in changed)


@pytest.mark.parametrize("flag", [0x1, 0x4, 0x20, 0x80, 0x100, 0x200, 0x2000, 0x4000, 0x8000])
def test_each_flag_is_taken_away_and_multicast_set(flag: int) -> None:
    for flags in (0x1002 | flag, 0x2):
        (request,) = _repairs(_pristine(flags=flags))
        told, change = struct.unpack_from("=II", bytes.fromhex(request), 24)
        assert (told, change) == (0x1000, 0x1000 | 0xE3A4 | 0x1)
