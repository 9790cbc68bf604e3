# SPDX-License-Identifier: GPL-3.0-or-later
"""The unix socket, for qingcni, the command line and the modules: the kernel says whose process calls."""

from __future__ import annotations

import os
import socket
import stat
import struct
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .. import wire
from ..errors import InvalidConfig
from .door import Handler, Peer, Unwelcome

BACKLOG: t.Final = 1024
_CREDENTIALS: t.Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


def credentials(sock: socket.socket) -> tuple[int, int]:
    """Pid and uid of the process at the other end, by the kernel's word; of who listens, for a caller."""
    pid, uid, __ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def listen_at(path: str) -> socket.socket:
    """A listening socket at this path, mode 0600; a dead one's file is replaced.

    Raises `InvalidConfig` where somebody listens there already, or something else is in its place.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.connect(path)
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise InvalidConfig(f"{path} is no socket: move it away") from None
            Path(path).unlink()
        else:
            raise InvalidConfig(f"another agent listens on {path}: stop it first")
        os.fchmod(sock.fileno(), 0o600)  # before bind: the file never has another mode
        sock.bind(path)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


@dataclass(frozen=True)
class UnixDoor:
    """Lets in who has the uid `allowed_uid`; callers may bring a descriptor."""

    listener: socket.socket
    handlers: t.Mapping[str, Handler]
    allowed_uid: int = 0
    room: int = 0
    largest: int = wire.MAX_BODY

    def greet(self, sock: socket.socket) -> Peer:
        pid, uid = credentials(sock)
        if uid != self.allowed_uid:
            raise Unwelcome(f"pid {pid} of uid {uid} may not use this socket")
        return Peer(f"pid {pid}", uid)

    def admit(self, peer: Peer, message: t.Mapping[str, t.Any]) -> None:
        """Whoever was let in may send anything."""
