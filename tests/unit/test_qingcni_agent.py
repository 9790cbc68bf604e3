# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way of a call: the executable, the socket, the plugin, a pool with a script; and everybody dies once."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from hostnic import wire
from hostnic.agent.server import Server
from hostnic.agent.spool import Spool
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.cni.plugin import Plugin
from hostnic.cni.verbs import Verbs
from hostnic.states import State
from tests.support.cni import KEY, ScriptedLinks, ScriptedPool, eventually, nic
from tests.support.qingcni import CONFIG, Qingcni

ONE = nic(1)
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class Node:
    """A pool and links that outlive agents, and the executable that talks to whichever runs."""

    def __init__(self, directory: Path) -> None:
        self.qingcni = Qingcni(directory)
        self.pool = ScriptedPool(ONE)
        self.links = ScriptedLinks(ONE.nic_id)
        self.listener = listen_at(str(self.qingcni.address))
        self.server = self.start_agent()

    def start_agent(self) -> Server:
        """As at a start of the service: first the spool, then the socket."""
        verbs = Verbs(self.pool, self.links, wire.boottime)
        # for this plugin the test's own netns is a pod's
        plugin = Plugin(verbs, "127.0.0.1:31080", wire.boottime, tuple)
        Spool(self.qingcni.spool, plugin.handle, BOOT_ID).drain()
        self.server = Server([UnixDoor(self.listener, {wire.CNI: plugin.handle}, os.getuid())], verbs.poke)
        self.server.start()
        return self.server

    def add(self) -> dict[str, t.Any]:
        result = self.qingcni.run("ADD")
        told: dict[str, t.Any] = json.loads(result.stdout)
        assert result.exit == 0, told
        return told

    def begin(self, verb: str) -> subprocess.Popen[bytes]:
        process = self.qingcni.start(verb)
        stdin = t.cast(t.IO[bytes], process.stdin)
        stdin.write(CONFIG)
        stdin.close()
        process.stdin = None
        return process


@pytest.fixture
def node(tmp_path: Path) -> t.Iterator[Node]:
    one = Node(tmp_path)
    yield one
    one.server.stop(0.0)
    one.listener.close()


def place(node: Node) -> t.Any:
    return node.links.places[ONE.nic_id]


def test_add_and_del(node: Node) -> None:
    result = node.add()
    assert result["ips"] == [
        {"address": "172.16.1.101/24", "gateway": "172.16.1.1", "interface": 0, "version": "4"},
    ]
    assert place(node)[1] == "eth0"
    assert node.pool.leases[KEY].netns_inode == Path("/proc/self/ns/net").stat().st_ino
    assert node.qingcni.run("DEL") == (0, b"", b"")
    assert node.qingcni.run("DEL") == (0, b"", b"")
    assert place(node) == "parking"
    assert node.pool.states() == {ONE.nic_id: State.QUARANTINE}


def test_a_refusal_has_its_code(node: Node) -> None:
    told = node.qingcni.run("ADD", stdin=b'{"cniVersion": "0.4.0", "name": "pods", "mtu": "x"}').error
    assert (told["code"], told["cniVersion"]) == (7, "0.4.0")
    assert node.qingcni.run("ADD", {"CNI_NETNS": "/nowhere"}).error["code"] == 8
    assert node.qingcni.run("ADD", {"CNI_NETNS": "/dev/null"}).error["code"] == 8
    assert node.qingcni.run("CHECK", {"CNI_NETNS": "/nowhere"}).error["code"] == 7
    assert node.pool.leases == {}


def test_a_pool_that_stays_empty_is_try_again_in_the_pools_words(node: Node) -> None:
    node.pool.supply.clear()
    told = node.qingcni.run("ADD", waits={"ADD": 1.0}).error
    assert (told["code"], told["msg"]) == (11, "no NIC became ready in time")


def test_a_runtime_that_loses_patience_leaves_nothing_leased(node: Node) -> None:
    node.pool.supply.clear()
    with node.begin("ADD") as process:
        assert node.pool.waiting.wait(20)
        process.kill()
    eventually(lambda: not node.server._running)
    node.pool.add(ONE)
    assert node.pool.leases == {}
    assert node.qingcni.run("DEL").exit == 0
    assert node.add()["interfaces"][0]["mac"] == ONE.nic_id


def test_an_add_that_waits_while_the_agent_restarts_is_served_by_the_next(node: Node) -> None:
    node.pool.supply.clear()
    with node.begin("ADD") as process:
        assert node.pool.waiting.wait(20)
        node.server.stop(0.0)
        node.pool.add(ONE)
        node.start_agent()
        stdout, __ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert json.loads(stdout)["interfaces"][0]["mac"] == ONE.nic_id


def test_an_add_that_came_while_there_was_no_agent_is_served_by_the_next(node: Node) -> None:
    node.server.stop(0.0)
    with node.begin("ADD") as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        node.start_agent()
        stdout, __ = process.communicate(timeout=20)
    assert json.loads(stdout)["interfaces"][0]["mac"] == ONE.nic_id


def test_an_add_whose_answer_was_lost_has_the_same_result_again(node: Node) -> None:
    assert node.add() == node.add()
    assert len([call for call in node.links.calls if call[0] == "to_pod"]) == 1


def test_a_del_without_an_agent_is_done_when_the_next_one_starts(node: Node) -> None:
    node.add()
    node.server.stop(0.0)
    assert node.qingcni.run("DEL", waits={"DEL": 0.3}) == (0, b"", b"")
    assert place(node) != "parking"
    node.start_agent()
    assert place(node) == "parking"
    assert node.pool.leases == {}
    assert node.qingcni.spooled() == []


def test_a_spooled_del_of_a_netns_that_is_gone_finds_the_nic_that_came_home(node: Node) -> None:
    node.add()
    node.server.stop(0.0)
    assert node.qingcni.run("DEL", {"CNI_NETNS": ""}, waits={"DEL": 0.3}).exit == 0
    node.links.places[ONE.nic_id] = "parking"
    node.start_agent()
    assert node.pool.states() == {ONE.nic_id: State.QUARANTINE}


def test_a_spooled_del_does_not_end_a_lease_that_came_later(node: Node) -> None:
    node.server.stop(0.0)
    assert node.qingcni.run("DEL", waits={"DEL": 0.3}).exit == 0
    (late,) = node.qingcni.spool.iterdir()
    kept = late.read_bytes()
    node.start_agent()
    node.add()
    late.write_bytes(kept)
    node.server.stop(1.0)
    node.start_agent()
    assert node.pool.states() == {ONE.nic_id: State.IN_USE}
    assert node.qingcni.spooled() == []


# -- while a node is upgraded or rolled back, the two are of different releases ---------------------------------------

NEXT = 'namespace["PROTOCOL"] = 2'


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_the_next_releases_executable_speaks_the_protocol_of_this_agent(node: Node, verb: str) -> None:
    if verb != "ADD":
        node.add()
    result = node.qingcni.run(verb, before=NEXT)
    assert result.exit == 0, result
    assert node.pool.states() == {ONE.nic_id: State.QUARANTINE if verb == "DEL" else State.IN_USE}


def test_an_agents_refusal_reaches_the_next_releases_runtime(node: Node) -> None:
    told = node.qingcni.run("ADD", {"CNI_NETNS": "/nowhere"}, before=NEXT).error
    assert told["code"] == 8


def test_two_releases_apart_is_too_far(node: Node) -> None:
    told = node.qingcni.run("ADD", before='namespace["PROTOCOL"] = 3').error
    assert (told["code"], told["details"].split(";")[0]) == (101, "ProtocolMismatch")
    assert "one release" in told["msg"]


def test_a_del_that_the_next_release_spooled_is_done_by_this_agent(node: Node) -> None:
    node.add()
    node.server.stop(0.0)
    assert node.qingcni.run("DEL", waits={"DEL": 0.3}, before=NEXT).exit == 0
    node.start_agent()
    assert node.pool.states() == {ONE.nic_id: State.QUARANTINE}
    assert list(node.qingcni.spool.iterdir()) == []
