# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent in this process, as the service builds it: server, plugin, verbs, pool; an emulated cloud and kernel."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import socket
import subprocess
import tempfile
import threading
import typing as t
from dataclasses import replace
from pathlib import Path

from hostnic import wire
from hostnic.agent import questions
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.cni.plugin import Plugin
from hostnic.cni.verbs import Host, Verbs
from hostnic.errors import HostnicError
from hostnic.model import LeaseKey, Placed, PodLink, PodState
from hostnic.states import State
from tests.emulator import ManualClock
from tests.support.cni import netns_of
from tests.support.fuzz.case import CLOSED, CONFIG, ENV, SUCCESS, Case
from tests.support.fuzz.configurations import IFNAME, STANDING
from tests.support.memory_kernel import MemoryKernel
from tests.support.node import Node
from tests.support.qingcni import Qingcni, Result

VXNET: t.Final = "vxnet-pods001"
BINDADDR: t.Final = "127.0.0.1:31080"
HASTE: t.Final = 5.0  # s in which a request must arrive, as for the service: this machine may be busy
PATIENCE: t.Final = 60.0  # s for what must come
SETUP: t.Final = 120.0  # s of emulated time, more than it needs


class BootClock(ManualClock):
    """The clock of the wire; it can be ahead or behind."""

    def now(self) -> float:
        return wire.boottime() + self._now


class FuzzNode(Node):
    """Behind the wire's clock until it is set up, by emulated time."""

    def _new_clock(self) -> ManualClock:
        return BootClock(-SETUP)


class ByInode:
    """The kernel in memory as verbs see it: for them a netns is a descriptor."""

    def __init__(self, kernel: MemoryKernel) -> None:
        self._kernel = kernel
        self.retrieve = kernel.retrieve
        self.host_findings = kernel.host_findings

    def to_pod(self, mac: str, netns: int, pod: PodLink) -> Placed:
        return self._kernel.to_pod(mac, netns_of(netns), pod)

    def from_pod(self, mac: str, netns: t.Optional[int], ifname: str, ifindex: int) -> bool:
        return self._kernel.from_pod(mac, None if netns is None else netns_of(netns), ifname, ifindex)

    def in_pod(self, mac: str, netns: int, ifname: str) -> bool:
        return self._kernel.in_pod(mac, netns_of(netns), ifname)

    def look(self, netns: int, ifname: str) -> t.Optional[PodState]:
        return self._kernel.look(netns_of(netns), ifname)


class Tracebacks(logging.Handler):
    """Of defects, wherever they were caught."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


class World:
    """`with World(directory) as world:`; one attachment stands in the network `STANDING`, eight NICs are READY."""

    def __init__(self, directory: Path) -> None:
        self.node = FuzzNode(directory, pool_low=8, pool_high=8, quarantine=0.0, quarantine_min=0.0)
        self.qingcni = Qingcni(directory)
        self.tracebacks = Tracebacks()

    def __enter__(self) -> World:
        self.node.__enter__()
        engine, clock = self.node.engine, self.node.clock
        wants = threading.Thread(target=self.node.pool.gateway, args=(VXNET, clock.now() + SETUP, lambda: False))
        wants.start()
        self.node.run(SETUP / 2)
        wants.join(PATIENCE)
        clock.advance(wire.boottime() - clock.now())
        verbs = Verbs(self.node.pool, ByInode(self.node.kernel), clock.now, Host((VXNET,)))
        # for this plugin the test's own netns is a pod's
        plugin = Plugin(verbs, BINDADDR, clock.now, tuple)
        handlers = {wire.CNI: plugin.handle, **questions.handlers(engine)}
        self.listener = listen_at(str(self.qingcni.address))
        self.server = Server([UnixDoor(self.listener, handlers, os.getuid())], verbs.poke, read_timeout=HASTE)
        self.server.start()
        standing = {**ENV, "CNI_COMMAND": "ADD", "CNI_CONTAINERID": STANDING, "CNI_IFNAME": IFNAME}
        added = self.call(Case(env=standing, stdin=json.dumps({**CONFIG, "name": STANDING})))
        if isinstance(added, int) or added.exit:
            raise AssertionError(added)
        self.baseline = self.snapshot()
        self._log(True)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._log(False)
        self.server.stop(0.0)
        self.listener.close()
        self.node.__exit__(*exc_info)

    def _log(self, ours: bool) -> None:
        """Only for defects: twenty thousand refusals are nobody's reading."""
        log = logging.getLogger("hostnic")
        log.propagate = not ours
        (log.addHandler if ours else log.removeHandler)(self.tracebacks)

    # -- calls --

    def send(self, case: Case) -> socket.socket:
        """A connection on which everything was sent that the agent would take."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(str(self.qingcni.address))
        data, sent = case.message(self.node.clock.now()), 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError), opened(case.descriptors) as numbers:
            first = case.pieces[0] if case.pieces else len(data)
            beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(n.to_bytes(4, "little") for n in numbers))]
            sent = connection.sendmsg([data[:first]], beside if numbers else [])
            for size in case.pieces[1:]:
                sent += connection.send(data[sent : sent + size])
            connection.sendall(data[sent:])
        return connection

    @staticmethod
    def receive(connection: socket.socket) -> t.Union[wire.Answer, int]:
        """`CLOSED` for an end without an answer."""
        frame = wire.Frame()
        with connection:
            while True:
                try:
                    data = connection.recv(1 << 16)
                except ConnectionResetError:
                    return CLOSED
                if not data:
                    return CLOSED
                body = frame.feed(data)
                if body is not None:
                    return wire.decode_answer(body)

    def call(self, case: Case) -> t.Union[wire.Answer, int]:
        return self.receive(self.send(case))

    def execute(self, env: t.Mapping[str, str], stdin: str) -> Result:
        """By the executable, as a process."""
        process = self.qingcni.begin({_bytes(name): _bytes(value) for name, value in env.items()}, waits={"ADD": 20.0})
        try:
            stdout, stderr = process.communicate(_bytes(stdin), timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Result(process.returncode, stdout, stderr)

    # -- the state of things --

    def snapshot(self) -> tuple[t.Any, ...]:
        """NICs and their states, leases, where every link is."""
        table = self.node.engine.table
        states = {nic.nic_id: nic.state.value for nic in table.nics()}
        places = {mac: (link.place, link.name) for mac, link in self.node.kernel.links.items()}
        return states, sorted(str(lease.attachment) for lease in table.leases()), places

    def undo(self, what: str) -> None:
        """DEL what a call has got that was not bad after all; raises where the pool is not whole then."""
        table = self.node.engine.table
        for lease in table.leases():
            if lease.container_id != STANDING:
                self._delete(lease.attachment)
        for nic in table.nics(State.HELD):
            self.node.pool.let_go(nic.private_ip)
        for nic in table.nics(State.QUARANTINE):
            table.move(replace(nic), State.READY)
        self.check(f"{what}, undone")

    def _delete(self, key: LeaseKey) -> None:
        env = {**ENV, "CNI_COMMAND": "DEL", "CNI_CONTAINERID": key.container_id, "CNI_IFNAME": key.ifname}
        told = self.call(Case(env=env, stdin=json.dumps({**CONFIG, "name": key.network})))
        assert isinstance(told, wire.Answer), key
        assert (told.exit, told.stdout) == (SUCCESS, ""), told

    def check(self, what: str) -> None:
        """The agent lives, nothing is leased, nothing was moved, nothing was unforeseen."""
        assert self.server.alive(), what
        before, now = self.baseline, self.snapshot()
        assert before == now, (what, [(was, is_) for was, is_ in zip(before, now) if was != is_])
        assert not self.tracebacks.found, (what, self.tracebacks.found)

    def answers(self) -> None:
        try:
            assert wire.ask(str(self.qingcni.address), "ping", timeout=PATIENCE) == {"answers": True}
        except HostnicError as error:
            raise AssertionError(error) from error


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass" if "\ud800" in text else "surrogateescape")


@contextlib.contextmanager
def opened(kinds: t.Iterable[str]) -> t.Iterator[list[int]]:
    """Descriptors of these kinds of things."""
    with contextlib.ExitStack() as stack:
        yield [_opened(kind, stack) for kind in kinds]


def _opened(kind: str, stack: contextlib.ExitStack) -> int:
    paths = {
        "netns": "/proc/self/ns/net",
        "mount namespace": "/proc/self/ns/mnt",
        "null": "/dev/null",
        "directory": "/",
    }
    if kind in paths:
        number = os.open(paths[kind], os.O_RDONLY)
    elif kind == "socket":
        return stack.enter_context(socket.socket()).fileno()
    elif kind == "epoll":
        return stack.enter_context(select.epoll()).fileno()
    elif kind == "file":
        return stack.enter_context(tempfile.TemporaryFile()).fileno()
    else:
        number, other = os.pipe()
        stack.callback(os.close, other)
    stack.callback(os.close, number)
    return number
