# SPDX-License-Identifier: GPL-3.0-or-later
"""Where callers come in: a listening socket, whom it lets in, and what they may ask for there."""

from __future__ import annotations

import socket
import typing as t
from dataclasses import dataclass

from .. import wire

# A request, the descriptor that came with it (borrowed), and whether its caller is gone ► what the caller is told.
Handler = t.Callable[[wire.Request, t.Optional[int], t.Callable[[], bool]], wire.Answer]


@dataclass(frozen=True)
class Peer:
    """Who calls, as far as the kernel tells; `words` are for the log."""

    words: str
    uid: t.Optional[int] = None


class Unwelcome(Exception):
    """Whoever calls gets no answer; the words are for the log, where `loud` says that they are worth a warning."""

    def __init__(self, words: str, *, loud: bool = True) -> None:
        super().__init__(words)
        self.loud = loud


class Door(t.Protocol):
    """Used by the server's thread only."""

    @property
    def listener(self) -> socket.socket:
        """Where callers knock; the server closes it."""

    @property
    def handlers(self) -> t.Mapping[str, Handler]:
        """By op."""

    @property
    def room(self) -> int:
        """Connections at once; 0 for as many as the server has room for."""

    @property
    def largest(self) -> int:
        """Bytes of a request."""

    def greet(self, sock: socket.socket) -> Peer:
        """Who is there, before a byte is read. Raises `Unwelcome`, and OSError where nobody is any more."""

    def admit(self, peer: Peer, message: t.Mapping[str, t.Any]) -> None:
        """Look at a message before anything else does. Raises `Unwelcome`."""
