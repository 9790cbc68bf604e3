# SPDX-License-Identifier: GPL-3.0-or-later
"""BPF programs of two instructions, hung on links of the calling thread's namespace as a container would."""

from __future__ import annotations

import ctypes
import os
import struct

from hostnic.net.encoders import encode
from hostnic.net.netlink import ACK, REQUEST, Netlink, Request
from hostnic.net.programs import _bpf

SCHED_CLS, XDP = 3, 6
TCX_INGRESS, TCX_EGRESS, AT_XDP = 46, 47, 37
GENERIC, NATIVE = 2, 4


def program(kind: int, verdict: int) -> int:
    """A descriptor of a program that only returns `verdict`."""
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, verdict, 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("=IIQQ", kind, 2, ctypes.addressof(code), ctypes.addressof(licence))
    descriptor, _ = _bpf(5, attributes.ljust(128, bytes(1)))
    return descriptor


def tcx(index: int, hook: int) -> None:
    """A program that drops everything, without a link: nobody needs to hold it."""
    descriptor = program(SCHED_CLS, 2)
    _bpf(8, struct.pack("=IIIIIIQ", index, descriptor, hook, 0, 0, 0, 0))
    os.close(descriptor)


def link(index: int, hook: int, descriptor: int, flags: int = 0) -> int:
    """A descriptor of a BPF link that holds this program at this hook, until the last one is closed."""
    holder, _ = _bpf(28, struct.pack("=IIII", descriptor, index, hook, flags).ljust(64, bytes(1)))
    return holder


def xdp(index: int, mode: int) -> None:
    """By netlink, as `ip link set xdp` does."""
    descriptor = program(XDP, 1)
    channel = Netlink()
    attribute = ("IFLA_XDP", (("IFLA_XDP_FD", descriptor), ("IFLA_XDP_FLAGS", mode)))
    channel.send(Request(encode("link", 16, REQUEST | ACK, {"index": index}, (attribute,)), "attach"))
    channel.close()
    os.close(descriptor)


def at(index: int, hook: int) -> int:
    """How many programs are there by tcx."""
    query = struct.pack("=IIIIQIIQQQQ", index, hook, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    _, answer = _bpf(16, query)
    (count,) = struct.unpack_from("=I", answer, 24)
    return int(count)
