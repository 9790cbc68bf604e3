# SPDX-License-Identifier: GPL-3.0-or-later
"""The TCP listener at `bindaddr`: local root with the token may look, and start or end a pod by its netns' path.

Messages are those of the unix socket with one key more, `token`. Whoever may not is hung up on without a word.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import logging
import os
import re
import secrets
import socket
import time
import typing as t
from dataclasses import replace
from pathlib import Path

from .. import guarded, redact, wire
from ..cni import netns
from ..config import Settings
from ..errors import HostnicError, InvalidConfig
from ..net import callers
from ..ports import Clock
from . import loopback
from .door import Door, Handler, Peer, Unwelcome
from .questions import SHOWN

log = logging.getLogger("hostnic.server")

TOKEN: t.Final = "token"  # in the run directory
_NEW: t.Final = ".token.new"
# What may be asked for here besides CNI calls: nothing that changes anything.
INTROSPECTION: t.Final = ("ping", *SHOWN.values())
VERBS: t.Final = ("ADD", "DEL")
ROOM: t.Final = 16  # connections at once: whoever fills this keeps nobody away from the unix socket
LARGEST: t.Final = 256 << 10  # bytes of a request
STRIKES: t.Final = 5  # wrong tokens
PENALTY: t.Final = 10.0  # s from the last of them, in which a caller is not even listened to

_OF_PROCESS: t.Final = re.compile(r"/proc/(?:[1-9][0-9]*)/ns/net")


def doors(
    settings: Settings, handlers: t.Mapping[str, Handler], closed: t.Callable[[HostnicError], object]
) -> list[Door]:
    """The door at `bindaddr`; none where that cannot be, which `closed` is told: pods start all the same."""
    try:
        listener = listen(settings.bindaddr)
        try:
            return [TcpDoor(listener, handlers, new_token(settings.rundir))]
        except BaseException:
            listener.close()
            raise
    except HostnicError as error:
        log.error("%s", error.message)
        closed(error)
        return []


def listen(bindaddr: str) -> socket.socket:
    """A listening socket. Raises `InvalidConfig` where the port is taken, or the address is none of this host's."""
    try:
        return loopback.listen(bindaddr, ROOM)
    except OSError as error:
        raise InvalidConfig(
            f"cannot listen on bindaddr {bindaddr} ({error.strerror}), so nobody can ask the agent by TCP",
            remedy="free the port, or set another one, and restart qingagent",
            setting="bindaddr",
        ) from error


def new_token(rundir: str) -> str:
    """A token that nobody has had yet, written for root alone; what was there before is replaced, and never followed.

    Raises `InvalidConfig` where others may write to the directory, `HostnicError` where it cannot be written.
    """
    token = secrets.token_hex(32)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with guarded.directory(rundir, "rundir") as descriptor:
        try:
            with contextlib.suppress(FileNotFoundError):  # of an agent that was killed here
                os.unlink(_NEW, dir_fd=descriptor)
            with os.fdopen(os.open(_NEW, flags, 0o600, dir_fd=descriptor), "w", encoding="ascii") as file:
                os.fchmod(file.fileno(), 0o600)  # whatever the umask
                file.write(token + "\n")
            os.replace(_NEW, TOKEN, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(_NEW, dir_fd=descriptor)
            raise HostnicError(
                f"cannot write {Path(rundir) / TOKEN} ({error.strerror}), so nobody can ask the agent by TCP",
                remedy="look at what is in its place, and restart qingagent",
            ) from error
    return token


class TcpDoor:
    """See `Door`. `allowed_uid` is asked for where the kernel tells whose process calls."""

    room = ROOM
    largest = LARGEST

    def __init__(
        self,
        listener: socket.socket,
        handlers: t.Mapping[str, Handler],
        token: str,
        *,
        allowed_uid: int = 0,
        clock: Clock = time.monotonic,
    ) -> None:
        redact.learn(token)
        self.listener = listener
        self.handlers = _allowed(handlers)
        self._token = token.encode("utf-8")
        self._allowed_uid = allowed_uid
        self._clock = clock
        self._strikes: dict[t.Optional[int], tuple[int, float]] = {}  # uid ► how many, and when the last one was
        self._told = float("-inf")

    def greet(self, sock: socket.socket) -> Peer:
        address, port = sock.getpeername()[:2]
        words = f"{address} port {port}"
        if not ipaddress.ip_address(address).is_loopback:  # a host with route_localnet lets them in
            raise self._refused(f"{words} is not this host")
        try:
            uid = callers.uid_of_peer(sock)
        except callers.Unknown as error:
            log.debug("whose process %s is, the kernel does not tell (%s): its token decides", words, error)
            peer = Peer(words)
        else:
            if uid is None:
                raise self._refused(f"{words} is no process of this host's network namespace, or gone")
            if uid != self._allowed_uid:
                raise self._refused(f"{words} is a process of uid {uid}, which may not ask here")
            peer = Peer(f"{words} of uid {uid}", uid)
        strikes, last = self._strikes.get(peer.uid, (0, 0.0))
        if strikes >= STRIKES and self._clock() - last < PENALTY:
            raise self._refused(f"{peer.words} had {strikes} wrong tokens and has to wait")
        return peer

    def admit(self, peer: Peer, message: t.Mapping[str, t.Any]) -> None:
        given = message.get("token")
        text = given.encode("utf-8", "surrogatepass") if isinstance(given, str) else b""
        if hmac.compare_digest(text, self._token):
            self._strikes.pop(peer.uid, None)
            return
        strikes, last = self._strikes.get(peer.uid, (0, 0.0))
        now = self._clock()
        self._strikes[peer.uid] = (1 if now - last >= PENALTY else strikes + 1, now)
        raise self._refused(f"{peer.words} has {'a wrong' if text else 'no'} token")

    def _refused(self, words: str) -> Unwelcome:
        """Told once in a while: anybody on this host may knock as often as they like."""
        now = self._clock()
        loud = now - self._told >= PENALTY
        if loud:
            self._told = now
        return Unwelcome(words, loud=loud)


def _allowed(handlers: t.Mapping[str, Handler]) -> dict[str, Handler]:
    known = {op: handlers[op] for op in INTROSPECTION if op in handlers}
    return {**known, wire.CNI: _by_path(handlers[wire.CNI])} if wire.CNI in handlers else known


def _by_path(carry_out: Handler) -> Handler:
    """An ADD or a DEL, with the netns that the agent itself has opened: a descriptor cannot come by TCP."""

    def handle(request: wire.Request, _none: t.Optional[int], cancelled: t.Callable[[], bool]) -> wire.Answer:
        if request.verb not in VERBS:
            raise InvalidConfig(f"by TCP {' and '.join(VERBS)} are carried out, and not {ascii(request.verb)}")
        descriptor, why = _opened(request.env.get("CNI_NETNS", ""))
        try:
            return carry_out(replace(request, netns_error=why), descriptor, cancelled)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    return handle


def _opened(path: str) -> tuple[t.Optional[int], str]:
    """A descriptor, or why there is none. Whether it is a pod's netns, CNI looks at by itself."""
    if not path:
        return None, ""
    of_process = _OF_PROCESS.fullmatch(path)
    if not of_process and not netns.NAMED.fullmatch(path):
        return None, "by TCP it is a name below /run/netns, or /proc/PID/ns/net"
    try:
        # what lies below /proc is a link of the kernel's
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK) if of_process else netns.opened(path), ""
    except OSError as error:
        return None, error.strerror or str(error)
