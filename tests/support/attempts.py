# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts on the agent's sockets by real processes: another user's, another network namespace's."""

from __future__ import annotations

import json
import subprocess
import typing as t

from hostnic import wire

NOBODY = 65534
# Connects, sends, and prints as hexadecimal what comes back until the end; "refused" where nobody takes the connection.
_CALLER = """
import socket, sys
family, where, data = int(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.stdin.read())
if family != socket.AF_UNIX:
    host, port = where.rsplit(":", 1)
    where = (host, int(port))
caller = socket.socket(family)
caller.settimeout(20)
try:
    caller.connect(where)
except OSError as error:
    sys.exit(f"not connected: {error.strerror}")
got = b""
try:
    caller.sendall(data)
    while True:
        piece = caller.recv(65536)
        if not piece:
            break
        got += piece
except ConnectionError:
    pass
print(got.hex())
"""
_INTERPRETER = ["/usr/bin/python3", "-I", "-S", "-c", _CALLER]


class Attempt(t.NamedTuple):
    """What a caller got: whether there was a connection at all, and the bytes."""

    connected: bool
    got: bytes

    @property
    def answer(self) -> t.Any:
        """The JSON document that was told."""
        body = wire.Frame().feed(self.got)
        if body is None:
            raise AssertionError(f"no answer but {self.got!r}")
        return json.loads(wire.decode_answer(body).stdout)


SILENCE = Attempt(True, b"")


def attempt(family: int, where: str, data: bytes, *, uid: int = 0, netns: t.Optional[str] = None) -> Attempt:
    """By a process of this uid, in the named netns if one is given. `where`: a path, or HOST:PORT."""
    argv = [*_INTERPRETER, str(int(family)), where]
    if netns:
        argv = ["ip", "netns", "exec", netns, *argv]
    identity: dict[str, t.Any] = {"user": uid, "group": uid, "extra_groups": []} if uid else {}
    done = subprocess.run(argv, input=data.hex(), capture_output=True, text=True, cwd="/", check=False, **identity)
    if done.returncode:
        if "not connected" not in done.stderr:
            raise AssertionError(done.stderr)
        return Attempt(False, b"")
    return Attempt(True, bytes.fromhex(done.stdout.strip()))


def question(op: str, token: t.Any = None, **changes: t.Any) -> bytes:
    """A message as it is sent, with any token."""
    request = wire.Request(op, "r", wire.boottime() + 20, **changes)
    plain = json.loads(wire.encode_request(request)[4:])
    body = json.dumps(plain if token is None else {**plain, "token": token}).encode()
    return len(body).to_bytes(4, "big") + body
