# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of the QingCloud API: held back, signed, sent once, and its failure turned into an error that says why."""

from __future__ import annotations

import email.utils
import http.client
import logging
import math
import socket
import ssl
import time
import typing as t
from urllib.parse import quote_plus

from .. import errors
from ..context import fields
from . import codes, replies
from .breaker import Breaker
from .credentials import Access, Key
from .keys import Keys
from .limiter import RateLimiter
from .sdk import BadAnswer, Exchange, Route, TooSlow

log = logging.getLogger("hostnic.cloud")

ROLE_URI: t.Final = "/iam/"

# A request line longer than this goes as a POST: servers and proxies start refusing at 4 to 8 kB.
_LONGEST_QUERY = 3500
# What the SDK adds: action, zone, key id, stamp, versions, request id, signature.
_COMMON_LENGTH = 400

# Seconds between the clocks that are told of; at 60 the API refuses.
CLOCK_TOLERANCE: t.Final = 30.0

# (action, seconds, outcome: "ok" or the error's kind)
Observer = t.Callable[[str, float, str], None]


def tls_context(access: Access) -> t.Optional[ssl.SSLContext]:
    """Verifying, with the access file's CA where it names one; None for plain HTTP. Raises `InvalidConfig`."""
    if access.protocol != "https":
        return None
    try:
        return ssl.create_default_context(cafile=access.ca_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise errors.InvalidConfig(f"ca_file {access.ca_file} cannot be used: {error.strerror or error}") from error


class Calls(t.Protocol):
    """See `Connection`."""

    def state(self) -> dict[str, t.Any]:
        """See `Connection.state`."""

    def reread(self) -> bool:
        """Look at where the key comes from; whether that has changed. Raises `InvalidConfig`."""

    def call(self, action: str, params: t.Mapping[str, t.Any], within: t.Optional[float] = None) -> dict[str, t.Any]:
        """See `Connection.call`."""


class Connection:
    """To one zone of one cloud; safe for several threads, each call has a socket of its own.

    `wall` gives Unix seconds and tells how far this machine's clock is off; `observe` is told of each request.
    `exchange` makes what sends one request. `breaker` None: one by the limiter's clock.
    """

    def __init__(
        self,
        access: Access,
        keys: Keys,
        limiter: RateLimiter,
        *,
        zone: str,
        breaker: t.Optional[Breaker] = None,
        tls: t.Optional[ssl.SSLContext] = None,
        observe: t.Optional[Observer] = None,
        clock: t.Callable[[], float] = time.monotonic,
        wall: t.Callable[[], float] = time.time,
        exchange: t.Callable[[Route, Key, str, t.Callable[[], float]], Exchange] = Exchange,
    ) -> None:
        self._access = access
        self._keys = keys
        self._limiter = limiter
        self._breaker = breaker or Breaker(clock=limiter.clock)
        self._zone = zone
        context = tls or tls_context(access)
        self._route = Route(access.host, access.port, access.timeout, context if access.protocol == "https" else None)
        self._observe = observe
        self._clock = clock
        self._wall = wall
        self._exchange = exchange
        self._ahead: t.Optional[float] = None
        self._refused: t.Mapping[str, tuple[errors.HostnicError, float]] = {}  # replaced as a whole: others read it

    def __repr__(self) -> str:
        return f"Connection({self._access.protocol}://{self._access.host}:{self._access.port}, {self._zone})"

    def state(self) -> dict[str, t.Any]:
        """What holds calls back, JSON-ready: see `RateLimiter.state` and `Breaker.state`.

        `clock_ahead`: seconds that this machine's clock was ahead of the API's at the last answer; None before one.
        `refused`: action ► what its last call failed with, for `ago` seconds, until it is carried out again.
        """
        now = self._clock()
        refused = {
            action: {"kind": error.kind, "what": error.what, "remedy": error.remedy, "transient": error.transient,
                     "ret_code": error.details.get("ret_code"), "ago": round(now - since, 3)}
            for action, (error, since) in sorted(self._refused.items())
        }  # fmt: skip
        return {
            "limiter": self._limiter.state(),
            "breaker": self._breaker.state(),
            "clock_ahead": self._ahead,
            "refused": refused,
        }

    def reread(self) -> bool:
        """Its key was given to it."""
        return False

    def call(self, action: str, params: t.Mapping[str, t.Any], within: t.Optional[float] = None) -> dict[str, t.Any]:
        """The answer of `action`, ret_code 0. Values are strings, ints and sequences of those; None is left out.

        Sent again only where the API refused to look at it: once with a fresh stamp, once with a renewed role key.
        Nothing is sent later than `within` seconds from now, so it is over a timeout after that at the latest.
        Raises one of `errors`; all carry action, ret_code (None without an answer) and message in their details.
        """
        try:
            answer = self._call(action, params, math.inf if within is None else self._clock() + within)
        except errors.HostnicError as error:
            for name, value in (("action", action), ("ret_code", None), ("message", "")):
                error.details.setdefault(name, value)
            if not (isinstance(error, errors.NotFound) and action.startswith("Describe")):  # that is an answer
                self._refused = {**self._refused, action: (error, self._clock())}
            raise
        if action in self._refused:
            self._refused = {name: one for name, one in self._refused.items() if name != action}
        return answer

    def _call(self, action: str, params: t.Mapping[str, t.Any], until: float) -> dict[str, t.Any]:
        retried: set[int] = set()
        while True:
            key = self._keys.current()
            try:
                return self._once(action, params, key, until)
            except errors.HostnicError as failure:
                code = failure.details.get("ret_code")
                worth = code == codes.EXPIRED or (code == codes.AUTH_FAILED and self._keys.renew(key))
                if not worth or code in retried or self._clock() >= until:
                    raise
                retried.add(code or 0)
                log.info("%s; sending it once more", failure.message)

    def _once(self, action: str, params: t.Mapping[str, t.Any], key: Key, until: float) -> dict[str, t.Any]:
        plain = _plain(action, params)
        left = until - self._clock()
        if left < 0:
            raise errors.Timeout(f"{action} was not sent: getting the key to sign it with took all its time")
        with self._breaker.call(action):
            self._limiter.acquire(action, left)
            started = self._clock()
            try:
                answer = self._answer(action, plain, key)
            except errors.HostnicError as failure:
                self._tell(action, self._clock() - started, failure.kind)
                if isinstance(failure, errors.RateLimited):
                    failure.details["retry_in"] = round(self._limiter.refused(action), 3)
                elif isinstance(failure, errors.NotFound):
                    self._limiter.succeeded(action)  # what is not there has been looked for, as often as one may
                raise
            self._tell(action, self._clock() - started, "ok")
            self._limiter.succeeded(action)
            return answer

    def _answer(self, action: str, params: dict[str, t.Any], key: Key) -> dict[str, t.Any]:
        exchange = self._exchange(self._route, key, self._zone, self._clock)
        answer = self._send(exchange, action, params, bool(key.token))
        self._compare_clocks(exchange.date)
        code = _ret_code(answer)
        if code != 0:
            raise self._refusal(action, code, answer)
        return answer

    def _send(self, exchange: Exchange, action: str, params: dict[str, t.Any], role: bool) -> dict[str, t.Any]:
        uri = ROLE_URI if role else self._access.uri
        post = _length(params) + (1500 if role else 0) > _LONGEST_QUERY
        try:
            return exchange.run(action, params, uri=uri, post=post)
        except (BadAnswer, TooSlow, OSError, http.client.HTTPException) as error:
            raise self._transport_failure(action, error, exchange.sent) from error

    def _transport_failure(self, action: str, error: Exception, sent: bool) -> errors.HostnicError:
        where, file = f"{self._access.host}:{self._access.port}", self._file()
        look = f"check this node's network, and host and port in {file}"
        unclear = "; whether it was carried out is not known" if sent else ""
        if isinstance(error, BadAnswer):
            what = "something that is not the API's JSON" if error.status == 200 else f"HTTP status {error.status}"
            remedy = f"check host, port, protocol and uri in {file}, and any proxy in between"
            said = f"{where} answered {action} with {what}{unclear}"
            found = errors.Unreachable(said, ambiguous=True, remedy=remedy, status=error.status)
            return replies.with_message(found, replies.printable(error.text))
        if isinstance(error, ssl.SSLCertVerificationError):
            said = f"the certificate of {where} is not trusted ({error.verify_message})"
            return errors.Unreachable(said, remedy=f"name the cloud's CA as ca_file in {file}")
        if isinstance(error, (socket.timeout, TooSlow)):
            what = f"{where} did not answer {action}" if sent else f"no connection to {where} for {action}"
            said = f"{what} within {self._access.timeout:g} s{unclear}"
            return errors.Timeout(said, ambiguous=sent, remedy=look)
        if isinstance(error, socket.gaierror):
            said = f"the name {self._access.host} cannot be resolved"
            return errors.Unreachable(said, remedy=f"check DNS, and host in {file}")
        why = getattr(error, "strerror", None) or type(error).__name__
        said = f"{action} failed on the way to {where} ({why}){unclear}"
        return errors.Unreachable(said, ambiguous=sent, remedy=look)

    def _refusal(self, action: str, code: t.Optional[int], answer: t.Mapping[str, t.Any]) -> errors.HostnicError:
        message = answer.get("message")
        message = message if isinstance(message, str) else ""
        if code is None:
            said = f"the answer to {action} has no ret_code"
            error = errors.Unreachable(said, ambiguous=True, remedy=f"check host and uri in {self._file()}")
            return replies.with_message(error, replies.printable(message))
        source = self._access.source
        key = f"qy_access_key_id in {source}" if self._access.key and source.startswith("/") else source
        return replies.failure(action, code, message, access=key, clock_off=self._clock_off())

    def _file(self) -> str:
        return self._access.source if self._access.source.startswith("/") else "the access file"

    def _compare_clocks(self, date: str) -> None:
        """By the answer's Date header, which has whole seconds; one that is none tells nothing."""
        try:
            self._ahead = round(self._wall() - email.utils.parsedate_to_datetime(date).timestamp(), 1)
        except (TypeError, ValueError, IndexError):
            self._ahead = None

    def _clock_off(self) -> str:
        """As the last answer told it; empty where it told nothing."""
        ahead = self._ahead
        if ahead is None or abs(ahead) < CLOCK_TOLERANCE:
            return ""
        return f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the API's"

    def _tell(self, action: str, seconds: float, outcome: str) -> None:
        log.debug("QingCloud was called", extra=fields(action=action, outcome=outcome, ms=round(seconds * 1000)))
        if self._observe is not None:
            self._observe(action, seconds, outcome)


def _plain(action: str, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A dict of our own, in the types that the SDK encodes. An empty list would vanish and widen the call: refused."""
    plain: dict[str, t.Any] = {}
    for name, value in params.items():
        if value is None:
            continue
        if isinstance(value, (list, tuple)):
            if not value:
                raise errors.HostnicError(f"{action} was about to be sent with an empty list of {name}", action=action)
            plain[name] = list(value)
        else:
            plain[name] = value
    return plain


def _length(params: t.Mapping[str, t.Any]) -> int:
    """About how long the query is."""
    total = _COMMON_LENGTH
    for name, value in params.items():
        for item in value if isinstance(value, list) else [value]:
            total += len(name) + 6 + len(quote_plus(str(item)))
    return total


def _ret_code(answer: t.Mapping[str, t.Any]) -> t.Optional[int]:
    code = answer.get("ret_code")
    return code if isinstance(code, int) and not isinstance(code, bool) else None
