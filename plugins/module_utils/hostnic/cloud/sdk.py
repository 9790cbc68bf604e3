# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that knows qingcloud-sdk: a signed request, exactly once, over a connection of its own.

The SDK signs and encodes. What it would do besides is kept from happening: repeating a request that may have been
carried out, dropping the body of an error, pooling connections that the server has closed, printing, reading role
keys with eval. It is always given a key, and used through `send_request` only.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
import typing as t
from dataclasses import dataclass

from ..errors import HostnicError
from .credentials import Key

try:
    from qingcloud.iaas.connection import APIConnection as _Sdk  # type: ignore[import-untyped]

    MISSING: t.Optional[ImportError] = None
except ImportError as _error:
    _Sdk = object
    MISSING = _error

_LARGEST = 32 << 20


class BadAnswer(Exception):
    """HTTP status other than 200, or a body that is no JSON object; `text` is its beginning."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status
        self.text = body[:400].decode("utf-8", "replace")


class TooSlow(Exception):
    """The answer was still arriving when its time was over."""


@dataclass(frozen=True)
class Route:
    """Where to. `tls` None: plain HTTP. `timeout`: seconds for connecting, for each read and for the whole answer."""

    host: str
    port: int
    timeout: float
    tls: t.Optional[ssl.SSLContext]


class Exchange:
    """One request; `sent` says whether it may have reached the server, `date` is the answer's Date header."""

    def __init__(self, route: Route, key: Key, zone: str, clock: t.Callable[[], float] = time.monotonic) -> None:
        if MISSING is not None:
            raise HostnicError(
                "the Python package qingcloud-sdk is missing: install it, on nodes with the role qingagent",
                library="qingcloud-sdk",
            ) from MISSING
        self.date = ""
        self._link: t.Union[_Plain, _Secure] = (
            _Plain(route.host, route.port, timeout=route.timeout)
            if route.tls is None
            else _Secure(route.host, route.port, timeout=route.timeout, context=route.tls)
        )
        self._deadline = clock() + route.timeout
        self._clock = clock
        self._link.left = self._left
        self._sdk = _Once(self, self._link, key, zone, route)

    @property
    def sent(self) -> bool:
        return self._link.made

    def run(self, action: str, params: dict[str, t.Any], *, uri: str, post: bool) -> dict[str, t.Any]:
        """The answer's object, ret_code and all. `params` is changed by the SDK: hand in a dict that nobody keeps."""
        try:
            answer: dict[str, t.Any] = self._sdk.send_request(action, params, url=uri, verb="POST" if post else "GET")
            return answer
        finally:
            self._link.close()
            # An exchange is for one request. What the SDK and the link know of whom would else make them garbage of the
            # kind that is only found by looking for it: some fifty objects each time.
            self._sdk.__dict__.clear()
            del self._link.left

    def read(self, response: http.client.HTTPResponse) -> bytes:
        """The whole body, before its connection goes; a server that drips it does not hold us for ever."""
        self.date = response.getheader("Date") or ""
        pieces: list[bytes] = []
        left = _LARGEST if response.length is None else response.length
        while left > 0:
            # read1 takes what is there; it keeps no count of Content-Length on every Python, so that is done here
            self._link.hurry()
            piece = response.read1(min(left, 1 << 16))
            if not piece:
                if response.length is not None:
                    raise http.client.IncompleteRead(b"", left)
                break
            left -= len(piece)
            pieces.append(piece)
            if self._clock() > self._deadline:
                raise TooSlow
        return b"".join(pieces)

    def _left(self) -> float:
        """Seconds; a socket that is given 0 would not wait at all, and say so in other words."""
        return max(0.001, self._deadline - self._clock())


class _Timed(http.client.HTTPConnection):
    """A socket whose every step takes from the same time, instead of having all of it anew."""

    made = False
    left: t.Callable[[], float]
    wire: t.Optional[socket.socket] = None

    def connect(self) -> None:
        super().connect()
        self.wire = self.sock  # http.client forgets it while the answer is still being read
        self.hurry()

    def hurry(self) -> None:
        if self.wire is not None:
            self.wire.settimeout(self.left())


class _Plain(_Timed):
    def connect(self) -> None:
        super().connect()
        self.made = True


class _Secure(http.client.HTTPSConnection, _Timed):
    def connect(self) -> None:
        super().connect()
        self.wire = self.sock  # around the one that `_Timed` saw
        self.hurry()
        self.made = True


class _OneLink:
    """The SDK's pool argument: hands out one fresh connection, takes none back."""

    def __init__(self, link: http.client.HTTPConnection) -> None:
        self._link = link

    def get_conn(self, host: str, port: int) -> http.client.HTTPConnection:
        return self._link

    def put_conn(self, host: str, port: int, conn: http.client.HTTPConnection) -> None:
        pass


@dataclass(frozen=True)
class _Body:
    """As much of a response as `send_request` looks at."""

    status: int
    text: str

    def read(self) -> str:
        return self.text


class _Once(_Sdk):  # type: ignore[misc]
    """The SDK's connection, for one attempt, with an answer that is checked before the SDK looks into it."""

    def __init__(self, exchange: Exchange, link: http.client.HTTPConnection, key: Key, zone: str, route: Route) -> None:
        super().__init__(
            key.access_key_id,
            key.secret,
            zone,
            host=route.host,
            port=route.port,
            protocol="http" if route.tls is None else "https",
            pool=_OneLink(link),
            retry_time=1,
            http_socket_timeout=route.timeout,
        )
        self._exchange = exchange
        if key.token:
            # What the SDK itself sets for a role: the token is sent and signed, with signature version 2.
            self.iam_access_key = key.access_key_id
            self._token = key.token

    def send(self, *args: t.Any, **kwargs: t.Any) -> _Body:
        response = super().send(*args, **kwargs)
        body = self._exchange.read(response)
        if response.status != 200:
            raise BadAnswer(response.status, body)
        try:
            text = body.decode("utf-8")
            content = json.loads(text)
        except ValueError:
            raise BadAnswer(200, body) from None
        if not isinstance(content, dict):
            raise BadAnswer(200, body)
        return _Body(200, text)
