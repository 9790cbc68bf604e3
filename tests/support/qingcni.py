# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the body of qingcni as its launcher does, in a bare interpreter, with a socket and a spool of the test's."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import typing as t
from pathlib import Path

from hostnic import wire

BODY = Path(__file__).parents[2] / "files" / "qingcni.py"
PYTHON = "/usr/bin/python3"
ENV = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/proc/self/ns/net",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
CONFIG = json.dumps({"cniVersion": "0.4.0", "name": "pods", "type": "qingcni"}).encode()

_START = """
namespace = {{"__name__": "qingcni"}}
exec(compile(open({body!r}).read(), {body!r}, "exec"), namespace)
{before}
namespace["main"](address={address!r}, spool={spool!r}, **{options!r})
"""


class Result(t.NamedTuple):
    """What a runtime sees."""

    exit: int
    stdout: bytes
    stderr: bytes

    @property
    def error(self) -> dict[str, t.Any]:
        assert self.exit != 0
        told: dict[str, t.Any] = json.loads(self.stdout)
        assert set(told) == {"cniVersion", "code", "msg", "details"}
        return told


class Qingcni:
    """`address` and `spool` lie in the directory; `options` go to `main`."""

    def __init__(self, directory: Path) -> None:
        self.address = directory / "agent.sock"
        self.spool = directory / "state" / "spool"

    def start(
        self, verb: str, env: t.Optional[t.Mapping[str, str]] = None, before: str = "", **options: t.Any
    ) -> subprocess.Popen[bytes]:
        variables = {**ENV, "CNI_COMMAND": verb, **(env or {})}
        return self.begin({os.fsencode(k): os.fsencode(v) for k, v in variables.items()}, before, **options)

    def begin(self, environ: t.Mapping[bytes, bytes], before: str = "", **options: t.Any) -> subprocess.Popen[bytes]:
        """With these variables and no other."""
        text = _START.format(
            body=str(BODY), before=before, address=bytes(self.address), spool=bytes(self.spool), options=options
        )
        return subprocess.Popen(
            [PYTHON, "-I", "-S", "-c", text],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(
        self, verb: str, env: t.Optional[t.Mapping[str, str]] = None, stdin: bytes = CONFIG, **options: t.Any
    ) -> Result:
        process = self.start(verb, env, **options)
        stdout, stderr = process.communicate(stdin, timeout=30)
        return Result(process.returncode, stdout, stderr)

    def spooled(self) -> list[dict[str, t.Any]]:
        if not self.spool.exists():
            return []
        return [json.loads(path.read_bytes()) for path in sorted(self.spool.glob("*.json"))]


Behaviour = t.Callable[[socket.socket], None]


class FakeAgent:
    """Gives each connection in turn to the next behaviour, the last one for ever."""

    def __init__(self, address: Path, *behaviours: Behaviour) -> None:
        self.connections = 0
        self.over = threading.Event()
        self._behaviours = list(behaviours)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address))
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, __ = self._listener.accept()
            except OSError:
                return
            behaviour = self._behaviours[min(self.connections, len(self._behaviours) - 1)]
            self.connections += 1
            with connection:
                connection.settimeout(30)
                behaviour(connection)

    def close(self) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._listener.close()


def read_request(connection: socket.socket) -> wire.Request:
    frame = wire.Frame()
    while True:
        body = frame.feed(connection.recv(65536))
        if body is not None:
            return wire.decode_request(body)
