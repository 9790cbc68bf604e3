# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a node: starts programs, one after the other or all at once, and times each from exec to exit.

A line of JSON on stdin is an order, a line of JSON on stdout its answer. An order is `{"how": "row"}` or
`{"how": "crowd"}` with `steps`; a step has any of

    pause   seconds before it
    argv    a program by its path, with `env` and `stdin` (a text); it has to exit with 0
    move    `{"link", "from", "to", "as"}`: the link of this name leaves one netns for another under another name, by
            one netlink message on a socket that is open already; it stays down
    look    a netns: how long the kernel takes afterwards for a message that needs its link lock and changes nothing

and its answer has `seconds` (argv and move together), `began` and `ended` (CLOCK_BOOTTIME), `stdout`, and `held` for a
look. Nothing but a program and a move is timed: what a step needs is made before it, and collected after it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import socket
import struct
import sys
import time
import typing as t

_CLONE_NEWNET: t.Final = 0x40000000
_LIBC: t.Final = ctypes.CDLL(None, use_errno=True)
# <linux/rtnetlink.h>, <linux/if_link.h>
_RTM_NEWLINK: t.Final = 16
_REQUEST_ACK: t.Final = 5
_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_HEADER: t.Final = struct.Struct("=IHHII")
_IFINFO: t.Final = struct.Struct("=BxHiII")

Step = t.Mapping[str, t.Any]
T = t.TypeVar("T")


class Failed(Exception):
    """A program or a move that did not succeed."""


class Place:
    """A network namespace, and a netlink socket of it."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._socket = self.inside(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE))

    def inside(self, errand: t.Callable[[], T]) -> T:
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(self.descriptor)
            try:
                return errand()
            finally:
                _enter(home)
        finally:
            os.close(home)

    def index(self, link: str) -> int:
        return self.inside(lambda: socket.if_nametoindex(link))

    def arrival(self, name: str) -> bytes:
        """Attributes of a message that brings a link here under this name."""
        there = _attribute(_IFLA_NET_NS_FD, struct.pack("=i", self.descriptor))
        return there + _attribute(_IFLA_IFNAME, name.encode() + b"\0")

    def send(self, index: int, attributes: bytes = b"") -> None:
        """A message about a link, and the kernel's consent."""
        body = _IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0) + attributes
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), _RTM_NEWLINK, _REQUEST_ACK, 1, 0) + body)
        code = -struct.unpack_from("=i", self._socket.recv(65536), _HEADER.size)[0]
        if code:
            raise Failed(f"a message about link {index}: {os.strerror(code)}")


class Prepared:
    """A step with all that it needs at hand."""

    def __init__(self, step: Step, place: t.Callable[[str], Place]) -> None:
        self._step = step
        self._place = place
        self._in = self._out = -1
        if "argv" in step:
            self._in, self._out = os.memfd_create("stdin"), os.memfd_create("stdout")
            os.write(self._in, step.get("stdin", "").encode())
            os.lseek(self._in, 0, os.SEEK_SET)
        if "move" in step:
            move = step["move"]
            self._index = place(move["from"]).index(move["link"])
            self._attributes = place(move["to"]).arrival(move["as"])

    def spawn(self) -> int:
        argv = self._step["argv"]
        streams = [
            (os.POSIX_SPAWN_DUP2, self._in, 0),
            (os.POSIX_SPAWN_DUP2, self._out, 1),
            (os.POSIX_SPAWN_DUP2, self._out, 2),
        ]
        return os.posix_spawn(argv[0], argv, self._step.get("env", {}), file_actions=streams)

    def move(self) -> None:
        self._place(self._step["move"]["from"]).send(self._index, self._attributes)

    def look(self) -> float:
        began = time.perf_counter()
        self._place(self._step["look"]).send(1)
        return time.perf_counter() - began

    def told(self, status: int) -> str:
        """What the program printed. `Failed` where it did not exit with 0."""
        if self._in < 0:
            return ""
        os.lseek(self._out, 0, os.SEEK_SET)
        text = os.read(self._out, 65536).decode()
        os.close(self._in)
        os.close(self._out)
        if status:
            raise Failed(f"{self._step['argv']} {self._step.get('env', {})}: status {status}: {text}")
        return text


class Caller:
    def __init__(self) -> None:
        self._places: dict[str, Place] = {}

    def place(self, path: str) -> Place:
        if path not in self._places:
            self._places[path] = Place(path)
        return self._places[path]

    def row(self, steps: t.Sequence[Step]) -> list[dict[str, t.Any]]:
        return [self._one(step) for step in steps]

    def _one(self, step: Step) -> dict[str, t.Any]:
        ready = Prepared(step, self.place)
        time.sleep(step.get("pause", 0))
        status = 0
        began = _now()
        if "argv" in step:
            status = os.waitpid(ready.spawn(), 0)[1]
        if "move" in step:
            ready.move()
        ended = _now()
        held = {"held": ready.look()} if "look" in step else {}
        return {"seconds": ended - began, "began": began, "ended": ended, "stdout": ready.told(status), **held}

    def crowd(self, steps: t.Sequence[Step]) -> list[dict[str, t.Any]]:
        """All at once; programs only."""
        ready = [Prepared(step, self.place) for step in steps]
        began, ended, status = [0.0] * len(steps), [0.0] * len(steps), [0] * len(steps)
        numbers = {}
        for number, one in enumerate(ready):
            began[number] = _now()
            numbers[one.spawn()] = number
        for _ in steps:
            pid, found = os.waitpid(-1, 0)
            ended[numbers[pid]], status[numbers[pid]] = _now(), found
        return [
            {"seconds": end - begin, "began": begin, "ended": end, "stdout": one.told(found)}
            for one, begin, end, found in zip(ready, began, ended, status)
        ]


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def main() -> None:
    gc.disable()
    caller = Caller()
    hows = {"row": caller.row, "crowd": caller.crowd}
    with contextlib.suppress(KeyboardInterrupt):
        for line in sys.stdin:
            order = json.loads(line)
            try:
                answer: dict[str, t.Any] = {"done": hows[order["how"]](order["steps"])}
            except (Failed, OSError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
