# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's TCP port and other network namespaces, with real ones. Each test is a row of docs/security.md."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import threading
import typing as t
from pathlib import Path

import pytest

from hostnic import wire
from hostnic.agent import tcp
from hostnic.agent.manage import Manage, Page
from hostnic.agent.server import Server
from hostnic.cni import netns
from hostnic.cni.plugin import Plugin
from hostnic.cni.verbs import Verbs
from hostnic.config import Settings
from tests.kernel.net_world import ip
from tests.support.attempts import SILENCE, attempt, question
from tests.support.cni import ScriptedLinks, ScriptedPool, nic

CONF = json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "qingcni"})


class World:
    """A host in a netns of its own with an agent's port, its parking place, and a neighbour at a cable."""

    def __init__(self, directory: Path) -> None:
        word = secrets.token_hex(3)
        self.host, self.other, self.parking = (f"guard-{word}-{name}" for name in ("host", "other", "parking"))
        self.names = [self.host, self.other, self.parking]
        for name in self.names:
            ip("netns", "add", name)
            ip("-netns", name, "link", "set", "lo", "up")
        ip("-netns", self.host, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", self.other)
        for number, name in enumerate((self.host, self.other), 1):
            ip("-netns", name, "addr", "add", f"192.0.2.{number}/24", "dev", "cable")
            ip("-netns", name, "link", "set", "cable", "up")
        self.pool, self.links = ScriptedPool(nic(1)), ScriptedLinks(nic(1).nic_id)
        (directory / "run").mkdir(mode=0o700)
        self.settings = Settings(bindaddr="127.0.0.1:31080", rundir=str(directory / "run"))
        thread = threading.Thread(target=self._serve)
        thread.start()
        thread.join()
        self.token = (directory / "run" / tcp.TOKEN).read_text().strip()

    def _serve(self) -> None:
        """In a thread that has moved to the host, as its sockets and its server's thread have then."""
        descriptor = os.open(f"/run/netns/{self.host}", os.O_RDONLY)
        os_setns(descriptor)
        own = os.fstat(descriptor)
        os.close(descriptor)
        parking = netns.reserved(f"/run/netns/{self.parking}")
        verbs = Verbs(self.pool, self.links, wire.boottime)
        plugin = Plugin(verbs, self.settings.bindaddr, wire.boottime, lambda: {*parking(), (own.st_dev, own.st_ino)})
        (self.door,) = tcp.doors(self.settings, {wire.CNI: plugin.handle, "ping": plugin.handle}, print)
        self.server = Server([self.door], lambda: None)
        self.server.start()
        self.management = Manage(self.settings.manageaddr, {"/": lambda: Page.line(200, "of the host")})
        self.management.start()

    def close(self) -> None:
        self.management.stop()
        self.server.stop(0.0)
        self.door.listener.close()
        for name in self.names:
            ip("netns", "del", name)

    def call(self, verb: str, path: str) -> t.Any:
        """The answer to this from root of the host with the token."""
        env = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0", "CNI_NETNS": path, "CNI_PATH": "/x"}
        data = question(wire.CNI, self.token, env=env, stdin=CONF)
        told = attempt(socket.AF_INET, self.settings.bindaddr, data, netns=self.host)
        body = wire.Frame().feed(told.got)
        assert body is not None, told
        answer = wire.decode_answer(body)
        return json.loads(answer.stdout) if answer.stdout else answer.exit


def os_setns(descriptor: int) -> None:
    """os.setns is of Python 3.12."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture
def world(tmp_path: Path) -> t.Iterator[World]:
    one = World(tmp_path)
    yield one
    one.close()


def test_another_netns_or_host_does_not_reach_the_port(world: World) -> None:
    data = question(wire.CNI, world.token)
    for where in ("127.0.0.1:31080", "192.0.2.1:31080"):
        assert not attempt(socket.AF_INET, where, data, netns=world.other).connected


def test_a_neighbour_by_whom_loopback_is_reached_is_hung_up_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    route_loopback(world)
    data = question(wire.CNI, world.token)
    told = attempt(socket.AF_INET, "127.0.0.1:31080", data, netns=world.other)
    assert told == SILENCE  # it was connected: nothing but the door has kept it out
    assert "192.0.2.2 port" in caplog.text and "is not this host" in caplog.text
    assert world.pool.calls == []


def test_a_neighbour_by_whom_loopback_is_reached_reads_nothing(world: World) -> None:
    route_loopback(world)
    asked = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert attempt(socket.AF_INET, "127.0.0.1:31081", asked, netns=world.other) == SILENCE
    assert b"of the host" in attempt(socket.AF_INET, "127.0.0.1:31081", asked, netns=world.host).got


def route_loopback(world: World) -> None:
    """A host with route_localnet, as kube-proxy sets it, takes packets for 127.0.0.1 from its cable."""
    for name in (world.host, world.other):
        write_sysctl(name, "net.ipv4.conf.all.route_localnet", "1")
        write_sysctl(name, "net.ipv4.conf.cable.route_localnet", "1")
        write_sysctl(name, "net.ipv4.conf.all.rp_filter", "0")
        write_sysctl(name, "net.ipv4.conf.cable.rp_filter", "0")
    ip("-netns", world.other, "link", "set", "lo", "down")
    ip("-netns", world.other, "addr", "flush", "dev", "lo")
    ip("-netns", world.other, "route", "flush", "table", "local", "127.0.0.0/8", check=False)
    ip("-netns", world.other, "route", "add", "127.0.0.1/32", "via", "192.0.2.1", "dev", "cable", "src", "192.0.2.2")


def write_sysctl(name: str, key: str, value: str) -> None:
    subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", f"{key}={value}"], check=True)


def test_a_pod_by_the_name_of_its_netns_gets_a_nic(world: World) -> None:
    result = world.call("ADD", f"/run/netns/{world.other}")
    assert result["interfaces"][0]["sandbox"] == f"/run/netns/{world.other}"
    assert world.call("DEL", f"/var/run/netns/{world.other}") == 0


@pytest.mark.parametrize("place", ["the host", "the parking place", "the agent's own"])
def test_a_netns_that_is_ours_is_no_pods(world: World, place: str) -> None:
    path = {
        "the host": f"/run/netns/{world.host}",
        "the parking place": f"/run/netns/{world.parking}",
        "the agent's own": f"/proc/{os.getpid()}/ns/net",
    }[place]
    assert world.call("ADD", path)["code"] == 8
    assert world.call("DEL", path) == 0  # its NIC is looked for elsewhere
    assert world.links.places == {nic(1).nic_id: "parking"}


@pytest.mark.parametrize("what", ["a file", "a link to a netns", "a device"])
def test_what_is_planted_among_the_netns_is_none(world: World, what: str) -> None:
    path = Path(f"/run/netns/{world.other}-planted")
    {
        "a file": path.touch,
        "a link to a netns": lambda: path.symlink_to(f"/run/netns/{world.other}"),
        "a device": lambda: os.mknod(path, 0o20600, os.makedev(1, 5)),
    }[what]()
    try:
        assert world.call("ADD", str(path))["code"] == 8
    finally:
        path.unlink()
    assert world.links.places == {nic(1).nic_id: "parking"}
