# SPDX-License-Identifier: GPL-3.0-or-later
"""BPF programs that a container has hung on a link: they come along in a move, and would see the next pod's packets.

netlink takes XDP programs away, but neither those held by a BPF link nor what is attached by tcx (kernel 6.6 and
later), which it does not even tell. So this asks by bpf(2), which a sandboxed agent must be allowed to call.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import typing as t

from ..errors import LinkFailed
from .devices import Device

# <linux/bpf.h>
_PROG_DETACH: t.Final = 9
_OBJ_GET_INFO_BY_FD: t.Final = 15
_PROG_QUERY: t.Final = 16
_LINK_GET_FD_BY_ID: t.Final = 30
_LINK_GET_NEXT_ID: t.Final = 31
_LINK_DETACH: t.Final = 34
_TCX: t.Final = (46, 47)  # ingress, egress
_LINK_TYPE_XDP: t.Final = 6
_F_BEFORE: t.Final = 8  # with no other program named: the first one
_LINK_INFO: t.Final = struct.Struct("=IIIII108x")  # type, id, program id, padding, ifindex of an XDP link
_MOST: t.Final = 64  # programs at one hook

_NUMBERS: t.Final = {"x86_64": 321, "ppc64le": 361, "s390x": 351}
_NUMBER: t.Final = _NUMBERS.get(platform.machine(), 280)
_LIBC: t.Final = ctypes.CDLL(None, use_errno=True)

# a kernel without tcx, without bpf(2), or without the link
_NONE_THERE: t.Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENODEV)


def detach(device: Device) -> bool:
    """From a link of the calling thread's namespace; False where bpf(2) is refused, so that nobody can tell.

    `LinkFailed` where a program is there and stays. XDP programs without a BPF link are left to netlink.
    """
    try:
        for hook in _TCX:
            _clear(device.index, hook)
        for _mode, program in device.xdp:
            _cut_links(device.index, program)
    except OSError as error:
        if error.errno == errno.EPERM:
            return False
        raise LinkFailed(
            f"cannot take the BPF programs off {device.name}: {error.strerror}", errno=error.errno
        ) from error
    return True


def _clear(index: int, hook: int) -> None:
    for _attempt in range(2 * _MOST):
        try:
            first = _first_at(index, hook)
        except OSError as error:
            if error.errno in _NONE_THERE:
                return
            raise
        if first is None:
            return
        if first:
            _cut(first)
        else:
            _bpf(_PROG_DETACH, struct.pack("=IIIIIIQ", index, 0, hook, _F_BEFORE, 0, 0, 0))
    raise LinkFailed("programs are attached to a parked NIC faster than they can be taken away", ifindex=index)


def _first_at(index: int, hook: int) -> t.Optional[int]:
    """The id of the link that holds the first program, 0 where none does; None where there is no program."""
    programs, links = (ctypes.c_uint32 * _MOST)(), (ctypes.c_uint32 * _MOST)()
    query = struct.pack(
        "=IIIIQIIQQQQ", index, hook, 0, 0, ctypes.addressof(programs), _MOST, 0, 0, ctypes.addressof(links), 0, 0
    )
    __, answer = _bpf(_PROG_QUERY, query)
    (count,) = struct.unpack_from("=I", answer, 24)
    return links[0] if count else None


def _cut_links(index: int, program: int) -> None:
    """Those that hold this XDP program on this link; the program tells its link from one of another namespace."""
    link = 0
    while (following := _after(link)) is not None:
        link = following
        descriptor = _descriptor(link)
        if descriptor is None:
            continue
        try:
            info = ctypes.create_string_buffer(_LINK_INFO.size)
            _bpf(_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", descriptor, len(info), ctypes.addressof(info)))
            if _is_of(info.raw, index, program):
                _bpf(_LINK_DETACH, struct.pack("=I", descriptor))
        finally:
            os.close(descriptor)


def _is_of(info: bytes, index: int, program: int) -> bool:
    kind, _link, its_program, _padding, its_index = _LINK_INFO.unpack_from(info)
    return (kind, its_program, its_index) == (_LINK_TYPE_XDP, program, index)


def _after(link: int) -> t.Optional[int]:
    try:
        __, answer = _bpf(_LINK_GET_NEXT_ID, struct.pack("=III", link, 0, 0))
    except OSError as error:
        if error.errno in (errno.ENOENT, *_NONE_THERE):
            return None
        raise
    return int(struct.unpack_from("=I", answer, 4)[0])


def _cut(link: int) -> None:
    descriptor = _descriptor(link)
    if descriptor is None:
        return
    try:
        _bpf(_LINK_DETACH, struct.pack("=I", descriptor))
    finally:
        os.close(descriptor)


def _descriptor(link: int) -> t.Optional[int]:
    """None where its holder has let go of it meanwhile."""
    try:
        descriptor, __ = _bpf(_LINK_GET_FD_BY_ID, struct.pack("=III", link, 0, 0))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return descriptor


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """What the system call returned, and the attributes as it left them."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = _LIBC.syscall(_NUMBER, command, buffer, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result), buffer.raw
