# SPDX-License-Identifier: GPL-3.0-or-later
"""Health, metrics and introspection over HTTP, for programs of this host: reading only, at a loopback address.

One thread, which serves one answer per connection. Whoever is slow, sends too much or opens too many connections loses
them; nothing of it reaches the threads that serve pods.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import selectors
import socket
import threading
import time
import typing as t
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from ..configuration.values import is_loopback
from ..errors import HostnicError, InvalidConfig
from . import loopback

log = logging.getLogger("hostnic.manage")

_LONGEST_REQUEST: t.Final = 8192  # bytes of a request line and headers; nothing here has a body
_MOST_CONNECTIONS: t.Final = 32
_PATIENCE: t.Final = 5.0  # s in which a request has to arrive, and its answer to be taken
_BREATH: t.Final = 0.1  # s between tries to take a connection where the kernel has no room for it
_AGAIN: t.Final = 10.0  # s after which an address that was taken is tried again
_TEXT: t.Final = "text/plain; charset=utf-8"
_JSON: t.Final = "application/json"
_REASONS: t.Final = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """An answer."""

    status: int
    body: bytes
    kind: str = _TEXT

    @classmethod
    def line(cls, status: int, sentence: str) -> Page:
        return cls(status, f"{sentence}\n".encode())

    def encoded(self, head: bool) -> bytes:
        """As it is sent. Browsers are told not to guess, and pages of others not to show it."""
        lines = [
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}",
            f"Content-Type: {self.kind}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
            *(["Allow: GET, HEAD"] if self.status == 405 else []),
            "Connection: close",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if head else self.body)


Maker = t.Callable[[], Page]


def pages(
    metrics: t.Callable[[], bytes],
    kind: str,
    alive: t.Callable[[], t.Sequence[str]],
    unable: t.Callable[[], t.Optional[HostnicError]],
    shown: t.Mapping[str, t.Callable[[], t.Any]],
) -> dict[str, Maker]:
    """Path ► what answers it. `alive`: the names of threads that have ended; `shown`: name below /v1/ ► document."""

    def healthz() -> Page:
        ended = alive()
        return Page.line(503, f"ended: {', '.join(ended)}") if ended else Page.line(200, "alive")

    def readyz() -> Page:
        reason = unable()
        return Page.line(503, " ".join(reason.message.split())) if reason else Page.line(200, "ready")

    made: dict[str, Maker] = {
        "/metrics": lambda: Page(200, metrics(), kind),
        "/healthz": healthz,
        "/readyz": readyz,
        **{f"/v1/{name}": partial(_document, answer) for name, answer in shown.items()},
    }
    index = "".join(f"{path}\n" for path in made).encode()
    return {"/": lambda: Page(200, index), **made}


def _document(answer: t.Callable[[], t.Any]) -> Page:
    return Page(200, f"{json.dumps(answer(), indent=2)}\n".encode(), _JSON)


class _Caller:
    """One connection: what it has sent, then what it is sent."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self.sock = sock
        self.until = until
        self.received = b""
        self.answer = memoryview(b"")


class Manage:
    """Serves `pages` at `address` in a thread of its own, from `start` to `stop`. Never keeps the agent from starting.

    Where the address is taken, `problems` says so, and it is tried again.
    """

    def __init__(
        self, address: str, served: t.Mapping[str, Maker], *, patience: float = _PATIENCE, again: float = _AGAIN
    ) -> None:
        self._address = address
        self._served = served
        self._patience = patience
        self._again = again
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="manage", daemon=True)
        self._listener: t.Optional[socket.socket] = None
        self._callers: dict[_Caller, None] = {}  # oldest first
        self._next_try = 0.0
        self._stopping = False
        self._problem: t.Optional[HostnicError] = None

    def start(self) -> None:
        """Where the address is free, connections are taken once this has returned."""
        self._selector.register(self._wake_out, selectors.EVENT_READ, lambda: None)
        self._open()
        self._thread.start()

    def alive(self) -> bool:
        """Whether its thread is there, though its address may be taken."""
        return self._thread.is_alive()

    def problems(self) -> list[HostnicError]:
        """What keeps it from being asked, if anything does."""
        return [self._problem] if self._problem else []

    @property
    def port(self) -> int:
        """0 where it is not open."""
        return int(self._listener.getsockname()[1]) if self._listener else 0

    def stop(self) -> None:
        self._stopping = True
        with contextlib.suppress(OSError):  # awake it sees that by itself, and closes this
            self._wake_in.send(b"!")
        self._thread.join()

    # -- its thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                for ready, __ in self._selector.select(self._timeout()):
                    ready.data()
                self._drop_slow()
                if self._listener is None and time.monotonic() >= self._next_try:
                    self._open()
        except Exception:
            log.exception("a defect in the server of %s: it stops", self._address)
            what = f"the server of manageaddr {self._address} has stopped"
            self._problem = HostnicError(what, remedy="restart qingagent: systemctl restart qingagent.service")
        finally:
            for caller in list(self._callers):
                self._close(caller)
            if self._listener is not None:
                self._listener.close()
            self._selector.close()
            self._wake_in.close()
            self._wake_out.close()

    def _open(self) -> None:
        try:
            sock = loopback.listen(self._address, _MOST_CONNECTIONS)
        except OSError as error:
            self._next_try = time.monotonic() + self._again
            taken = error.errno == errno.EADDRINUSE
            why = "is taken by another program" if taken else f"cannot be used ({error.strerror})"
            what = f"manageaddr {self._address} {why}, so that there are no metrics and no health"
            if not self._problem or self._problem.what != what:
                log.warning("%s; pods are served all the same", what)
            self._problem = InvalidConfig(what, remedy="free it, or set another manageaddr", setting="manageaddr")
            return
        if self._problem:
            log.warning("manageaddr %s is free now", self._address)
        self._problem = None
        sock.setblocking(False)
        self._listener = sock
        self._selector.register(sock, selectors.EVENT_READ, self._accept)

    def _timeout(self) -> t.Optional[float]:
        moments = [caller.until for caller in self._callers]
        if self._listener is None:
            moments.append(self._next_try)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _accept(self) -> None:
        try:
            sock, peer = t.cast("socket.socket", self._listener).accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor is left, and the caller still waits to be taken
            time.sleep(_BREATH)
            return
        if not is_loopback(peer[0]):  # a host with route_localnet lets its neighbours in
            sock.close()
            return
        sock.setblocking(False)
        if len(self._callers) >= _MOST_CONNECTIONS:
            self._close(next(iter(self._callers)))
        caller = _Caller(sock, time.monotonic() + self._patience)
        self._callers[caller] = None
        self._selector.register(sock, selectors.EVENT_READ, partial(self._readable, caller))

    def _readable(self, caller: _Caller) -> None:
        if caller not in self._callers:
            return  # closed by an event that was found together with this one
        try:
            data = caller.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(caller)
            return
        caller.received += data
        complete = b"\r\n\r\n" in caller.received
        if not complete and len(caller.received) <= _LONGEST_REQUEST:
            return
        head, __, __ = caller.received.partition(b"\r\n\r\n")
        too_long = Page.line(431, f"a request has at most {_LONGEST_REQUEST} bytes")
        page = self._answer(head) if len(head) <= _LONGEST_REQUEST else too_long
        caller.answer = memoryview(page.encoded(head=head.startswith(b"HEAD ")))
        caller.until = time.monotonic() + self._patience
        self._selector.modify(caller.sock, selectors.EVENT_WRITE, partial(self._writable, caller))
        self._writable(caller)

    def _writable(self, caller: _Caller) -> None:
        if caller not in self._callers:
            return
        try:
            caller.answer = caller.answer[caller.sock.send(caller.answer) :]
        except BlockingIOError:
            return
        except OSError:
            caller.answer = memoryview(b"")
        if not caller.answer:
            self._close(caller)

    def _drop_slow(self) -> None:
        now = time.monotonic()
        for caller in [one for one in self._callers if one.until <= now]:
            self._close(caller)

    def _close(self, caller: _Caller) -> None:
        if caller in self._callers:
            del self._callers[caller]
            self._selector.unregister(caller.sock)
            caller.sock.close()

    # -- answers -------------------------------------------------------------------------------------------------------

    def _answer(self, head: bytes) -> Page:
        first, *headers = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/"):
            return Page.line(400, "this is no HTTP request")
        method, path, version = words
        if version not in ("HTTP/1.1", "HTTP/1.0"):
            return Page.line(505, "HTTP/1.1 is spoken here")
        fields = [(name.lower(), value.strip()) for name, __, value in (line.partition(":") for line in headers)]
        hosts = [value for name, value in fields if name == "host"]
        if not self._meant_for_here(hosts, version):
            return Page.line(403, "only what names this host as localhost or by a loopback address is answered")
        if method not in ("GET", "HEAD"):
            return Page.line(405, "only GET and HEAD: nothing can be changed here")
        maker = self._served.get(path.partition("?")[0])
        if maker is None:
            return Page.line(404, f"there are {' '.join(self._served)}")
        try:
            return maker()
        except HostnicError as error:
            return Page.line(503, error.message)
        except Exception:
            log.exception("a defect in %s", ascii(path.partition("?")[0]))
            return Page.line(500, "a defect of qingagent: journalctl -u qingagent has the traceback")

    def _meant_for_here(self, hosts: t.Sequence[str], version: str) -> bool:
        """A browser that was lured to a name which now leads here (DNS rebinding) still says that name."""
        if not hosts:
            return version == "HTTP/1.0"
        try:
            return len(hosts) == 1 and is_loopback(urlsplit(f"//{hosts[0]}").hostname or "")
        except ValueError:
            return False
