# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels between qingcni (or the command line) and the agent: docs/wire.md in code.

A message is a length (4 bytes, big-endian) and a JSON object of that many bytes. A connection carries one request and
one answer; the pod's netns travels beside the first byte of the request as a descriptor. Times are seconds of
CLOCK_BOOTTIME: both ends are on one host, and unlike the wall clock it neither jumps nor stops during a suspend.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
import typing as t
from dataclasses import dataclass, field, replace

from .errors import HostnicError, Timeout, Unreachable

PROTOCOL: t.Final = 1
SOCKET: t.Final = "/run/qingagent/qingagent.sock"  # unless `rundir` says otherwise
MAX_BODY: t.Final = 1 << 20
CNI: t.Final = "cni"  # the op of CNI calls; every other op is a question to the agent

# Seconds after a boot that no machine will see; waiting for much longer overflows the timers of the C library.
_NEVER: t.Final = 1e9

_LENGTH: t.Final = struct.Struct(">I")


class WireError(HostnicError):
    """Bytes that are no message of this protocol."""


class ProtocolMismatch(WireError):
    """A message of a protocol that is not spoken here; `request_id` in its details."""


@dataclass(frozen=True)
class Request:
    """`deadline` and `asked_at` in boot seconds; `env` holds CNI_* only; text may carry surrogate escapes.

    `netns_error` says why no descriptor comes along although CNI_NETNS is set. `params` belongs to ops other than CNI.
    """

    op: str
    request_id: str
    deadline: float
    asked_at: float = 0.0
    env: t.Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    netns_error: str = ""
    params: t.Mapping[str, t.Any] = field(default_factory=dict)
    protocol: int = PROTOCOL

    @property
    def verb(self) -> str:
        return self.env.get("CNI_COMMAND", "")


@dataclass(frozen=True)
class Answer:
    """What the caller prints, and its exit status. Of an op other than CNI, `stdout` is a JSON document."""

    request_id: str
    exit: int
    stdout: str = ""
    stderr: str = ""


def boottime() -> float:
    """The clock of every time on the wire."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


# -- messages ---------------------------------------------------------------------------------------------------------


def encode_request(request: Request, token: str = "") -> bytes:
    """A whole message, with a token for the agent's TCP port. `WireError` where it is too large."""
    return _frame(
        {
            **({"token": token} if token else {}),
            "protocol": request.protocol,
            "id": request.request_id,
            "op": request.op,
            "deadline": request.deadline,
            "asked_at": request.asked_at,
            "env": dict(request.env),
            "stdin": request.stdin,
            "netns_error": request.netns_error,
            "params": dict(request.params),
        }
    )


def decode_request(body: bytes, newest: int = PROTOCOL) -> Request:
    """The request in this body; unknown keys are ignored. `WireError` names what is wrong.

    The newest protocol and the one before it are served, so that nodes may be upgraded agent first.
    """
    return request_of(decode_object(body), newest)


def request_of(message: t.Mapping[str, t.Any], newest: int = PROTOCOL) -> Request:
    """As `decode_request`, from the JSON object."""
    request_id = _text(message, "id", required=True)
    protocol = message.get("protocol")
    if not isinstance(protocol, int) or isinstance(protocol, bool):
        raise WireError("protocol is not a number")
    if not max(1, newest - 1) <= protocol <= newest:
        raise ProtocolMismatch(
            f"the caller speaks protocol {protocol}, this agent {newest} and the one before: "
            "roll out the agent and qingcni of one release",
            request_id=request_id,
        )
    env = _mapping(message, "env")
    if not all(isinstance(value, str) for value in env.values()):
        raise WireError("env holds something that is not text")
    return Request(
        op=_text(message, "op", required=True),
        request_id=request_id,
        deadline=_seconds(message, "deadline"),
        asked_at=_seconds(message, "asked_at"),
        env=env,
        stdin=_text(message, "stdin"),
        netns_error=_text(message, "netns_error"),
        params=_mapping(message, "params"),
        protocol=protocol,
    )


def encode_answer(answer: Answer) -> bytes:
    """A whole message. `WireError` where it is too large."""
    return _frame(
        {"id": answer.request_id, "exit": answer.exit, "stdout": answer.stdout, "stderr": answer.stderr},
    )


def decode_answer(body: bytes) -> Answer:
    """The answer in this body. `WireError` names what is wrong."""
    message = decode_object(body)
    status = message.get("exit")
    if not isinstance(status, int) or isinstance(status, bool):
        raise WireError("exit is not a number")
    return Answer(_text(message, "id", required=True), status, _text(message, "stdout"), _text(message, "stderr"))


class Frame:
    """Collects the bytes of one message."""

    def __init__(self, limit: int = MAX_BODY) -> None:
        self._limit = limit
        self._data = bytearray()

    def feed(self, data: bytes) -> t.Optional[bytes]:
        """The body once it is complete. `WireError` where it would be empty or too large, or more follows."""
        self._data += data
        if len(self._data) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._data)
        if not 0 < length <= self._limit:
            raise WireError(f"a message of {length} bytes; 1 to {self._limit} are allowed")
        if len(self._data) - _LENGTH.size > length:
            raise WireError("bytes after the end of the message")
        if len(self._data) - _LENGTH.size < length:
            return None
        return bytes(self._data[_LENGTH.size :])


# -- a client, for the command line and modules -----------------------------------------------------------------------


def ask(
    where: str, op: str, params: t.Optional[t.Mapping[str, t.Any]] = None, timeout: float = 10.0, token: str = ""
) -> t.Any:
    """Ask the agent behind this socket; returns the JSON value of its answer.

    `where` is the socket's path, or with a token the agent's `bindaddr`. Raises `Unreachable` where nobody is there,
    `Timeout` after `timeout` seconds, `HostnicError` with the agent's own words where it refuses. An agent of the
    release before is asked in its own protocol.
    """
    now = boottime()
    request = Request(op, os.urandom(8).hex(), now + timeout, now, params=params or {})
    answer = call(where, request, timeout, token)
    if PROTOCOL > 1 and answer.exit and "ProtocolMismatch" in answer.stdout:
        answer = call(where, replace(request, protocol=PROTOCOL - 1), timeout, token)
    value = json.loads(answer.stdout) if answer.stdout else None
    if answer.exit:
        message = value.get("msg") if isinstance(value, dict) else None
        raise HostnicError(message or answer.stderr or f"the agent refused {op}", answer=value)
    return value


def call(where: str, request: Request, timeout: float, token: str = "") -> Answer:
    """The answer to any request, without a descriptor. See `ask`."""
    try:
        with _connected(where, timeout, bool(token)) as connection:
            connection.sendall(encode_request(request, token))
            return decode_answer(_receive(connection))
    except socket.timeout:
        raise Timeout(f"the agent behind {where} did not answer within {timeout:g} s") from None
    except OSError as error:
        raise Unreachable(
            f"no agent answers on {where} ({error.strerror or error}): systemctl status qingagent.socket qingagent"
        ) from error


def _connected(where: str, timeout: float, tcp: bool) -> socket.socket:
    if tcp:
        host, __, port = where.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(where)
    except BaseException:
        connection.close()
        raise
    return connection


def _receive(connection: socket.socket) -> bytes:
    frame = Frame()
    while True:
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError("the agent closed the connection without an answer")
        body = frame.feed(data)
        if body is not None:
            return body


# -- JSON, with bounds ------------------------------------------------------------------------------------------------


def _frame(message: t.Mapping[str, t.Any]) -> bytes:
    body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii")
    if len(body) > MAX_BODY:
        raise WireError(f"a message of {len(body)} bytes; {MAX_BODY} are allowed")
    return _LENGTH.pack(len(body)) + body


def decode_object(body: bytes) -> dict[str, t.Any]:
    """The JSON object in these bytes. `WireError` where they are none."""
    try:
        message = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise WireError("not a JSON object")
    return message


def _text(message: t.Mapping[str, t.Any], key: str, required: bool = False) -> str:
    value = message.get(key, "")
    if not isinstance(value, str) or (required and not value):
        raise WireError(f"{key} is {'missing or ' if required else ''}not text")
    return value


def _mapping(message: t.Mapping[str, t.Any], key: str) -> dict[str, t.Any]:
    value = message.get(key, {})
    if not isinstance(value, dict):
        raise WireError(f"{key} is not an object")
    return value


def _seconds(message: t.Mapping[str, t.Any], key: str) -> float:
    value = message.get(key, 0.0)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and -_NEVER < value < _NEVER:
        return float(value)
    raise WireError(f"{key} is not a number of seconds")
