# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose process is at the other end of a local TCP connection: the kernel's word, by sock_diag(7)."""

from __future__ import annotations

import errno
import os
import socket
import struct
import typing as t

_NETLINK_SOCK_DIAG: t.Final = 4  # <linux/netlink.h>
_SOCK_DIAG_BY_FAMILY: t.Final = 20  # <linux/sock_diag.h>
_NLM_F_REQUEST: t.Final = 1
_NLMSG_ERROR: t.Final = 2
_ESTABLISHED: t.Final = 1  # <net/tcp_states.h>
_PATIENCE: t.Final = 1.0  # s

_HEADER: t.Final = struct.Struct("=IHHII")  # struct nlmsghdr
# <linux/inet_diag.h>: struct inet_diag_req_v2, whose id is ports, addresses, interface and cookie
_REQUEST: t.Final = struct.Struct("=BBBxIHH16s16sI8s")
# struct inet_diag_msg up to its uid and inode
_ANSWER: t.Final = struct.Struct("=BBBB2s2s16s16sI8sIIIII")
_ANY_COOKIE: t.Final = b"\xff" * 8


class Unknown(Exception):
    """This kernel does not tell."""


def uid_of_peer(sock: socket.socket) -> t.Optional[int]:
    """The uid of the process that has the other end; None where no process of this network namespace has it any more.

    To be called in the namespace of `sock`. Raises `Unknown`.
    """
    near, far = sock.getsockname(), sock.getpeername()
    found = _find(sock.family, far, near)
    if found is None and _find(sock.family, near, far) is None:
        raise Unknown("it does not know our own end either")
    # a socket whose process has left it says 0, whoever that was
    return found[1] if found is not None and found[0] == _ESTABLISHED else None


def _find(family: int, local: t.Any, remote: t.Any) -> t.Optional[tuple[int, int]]:
    """State and uid of the socket with these ends."""
    request = _REQUEST.pack(
        family,
        socket.IPPROTO_TCP,
        0,
        0xFFFFFFFF,
        socket.htons(local[1]),
        socket.htons(remote[1]),
        socket.inet_pton(family, local[0]),
        socket.inet_pton(family, remote[0]),
        0,
        _ANY_COOKIE,
    )
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as link:
            link.settimeout(_PATIENCE)
            link.send(header + request)
            answer = link.recv(8192)
    except OSError as error:
        raise Unknown(error.strerror or str(error)) from error
    return _read(answer, socket.htons(remote[1]))


def _read(answer: bytes, remote_port: int) -> t.Optional[tuple[int, int]]:
    """A listening socket of that port answers for a connection that is over: it is not who was asked for."""
    __, kind, __, __, __ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        (code,) = struct.unpack_from("=i", answer, _HEADER.size)
        if code == -errno.ENOENT:
            return None
        raise Unknown(os.strerror(-code))
    found = _ANSWER.unpack_from(answer, _HEADER.size)
    state, port, uid = found[1], struct.unpack("=H", found[5])[0], found[13]
    return (state, uid) if port == remote_port else None
