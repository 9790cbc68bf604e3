# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingcloud_nic` on a node: before any agent, beside one that runs, and for an instance elsewhere."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from hostnic.agent import questions
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.model import POOL
from hostnic.states import State
from plugins.module_utils._ansible import turns
from plugins.module_utils._ansible.nics import manage
from plugins.module_utils.hostnic.cloud.build import connect
from plugins.module_utils.hostnic.cloud.limiter import RateLimiter
from plugins.module_utils.hostnic.config import Settings
from plugins.module_utils.hostnic.errors import Busy, Denied, HostnicError, InvalidConfig, NotFound, Unreachable
from plugins.module_utils.hostnic.host import Host
from plugins.module_utils.hostnic.nicwork import POLL
from tests.support.node import INSTANCE, Node

PODS = "vxnet-pods001"
DEFAULTS: t.Final = {
    "state": "present", "nics": None, "nic_name": None, "count": None, "vxnet": None, "private_ips": None,
    "instance": None, "force": False, "wait": True, "wait_timeout": 300, "gatewayns": "hostnic",
}  # fmt: skip


class Machine:
    """The node as a module finds it. While the module sleeps, time goes on, and the agent's loop turns if it runs."""

    def __init__(self, node: Node, directory: Path) -> None:
        self.node = node
        self.directory = directory
        self.socket = str(directory / "agent.sock")
        self.runs = False
        self.told = directory / "instance-id"
        self.told.write_text(f"{INSTANCE}\n")
        unlimited = RateLimiter(1e6, 1_000_000, node.clock.now, lambda seconds: None)
        settings = Settings(access_file=node.settings.access_file, zone="lab1")
        self.cloud = connect(settings, origins={"zone": "--zone"}, limiter=unlimited, sleep=lambda seconds: None)

    def __call__(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        given = {**DEFAULTS, "instance_id_path": str(self.told), "socket": self.socket, **options}
        return manage(given, self.cloud, check, self.host(), self.node.clock.now, self._sleep)

    def quartet(self, **options: t.Any) -> dict[str, t.Any]:
        """Check, apply, again: what every behaviour has to keep; returns what applying told."""
        foreseen = self(check=True, **options)
        done = self(**options)
        again = self(**options)
        assert foreseen["changed"] and done["changed"] and not again["changed"] and again["actions"] == []
        for key in ("actions", "diff", "instance", "asked", "left"):
            assert foreseen[key] == done[key], key
        assert len(foreseen["nics"]) == len(done["nics"])
        assert foreseen["diff"]["before"] != foreseen["diff"]["after"]
        return done

    def start_agent(self) -> Server:
        server = Server(
            [UnixDoor(listen_at(self.socket), questions.handlers(self.node.engine), os.getuid())], self.node.pool.poke
        )
        server.start()
        self.runs = True
        return server

    def pool(self, *states: State) -> list[str]:
        return [nic.nic_id for nic in self.node.engine.table.nics(*states) if nic.purpose == POOL]

    def _sleep(self, seconds: float) -> None:
        if self.runs:
            self.node.run(seconds)
        else:
            self.node.emulator.advance(seconds)

    def host(self) -> Host:
        """As /sys/class/net and /proc/net/route show what the kernel has on the host."""
        links = self.directory / "net"
        for link in self.node.kernel.list():
            if link.place == "host":
                (links / link.name).mkdir(parents=True, exist_ok=True)
                (links / link.name / "address").write_text(f"{link.mac}\n")
        for path in links.iterdir():
            if path.name not in {link.name for link in self.node.kernel.list() if link.place == "host"}:
                (path / "address").unlink()
                path.rmdir()
        routes = self.directory / "route"
        routes.write_text("Iface Destination Gateway Flags RefCnt Use Metric Mask\n")
        return Host(links, routes)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Machine]:
    (tmp_path / "lock").mkdir()
    monkeypatch.setattr(turns, "DIRECTORY", tmp_path / "lock")  # others test beside this, by clocks of their own
    with Node(tmp_path) as node:
        yield Machine(node, tmp_path)


@pytest.fixture
def beside_agent(machine: Machine) -> t.Iterator[Machine]:
    server = machine.start_agent()
    machine.node.run(20)
    yield machine
    server.stop(5)


# -- no agent ---------------------------------------------------------------------------------------------------------


def test_a_fresh_node_is_warmed_and_an_agent_takes_over(machine: Machine) -> None:
    done = machine.quartet(state="attached", count=5, vxnet=PODS)
    assert done["asked"] == "cloud" and done["instance"] == INSTANCE
    assert {nic["nic_name"] for nic in done["nics"]} == {f"qingcni_{INSTANCE}"}
    machine.node.run(120)
    assert sorted(machine.pool(State.READY)) == sorted(nic["nic_id"] for nic in done["nics"])
    assert all(nic.prewarmed for nic in machine.node.engine.table.nics())


def test_a_fresh_node_gives_back_what_lies_on_the_host(machine: Machine) -> None:
    machine(state="attached", count=4, vxnet=PODS)
    assert len(machine.quartet(state="detached", count=1)["actions"][0]["nics"]) == 1
    newest = machine(state="absent", count=1)
    assert [action["action"] for action in newest["actions"]] == ["delete"], "a free one goes before attached ones"
    assert [action["action"] for action in machine.quartet(state="absent")["actions"]] == ["detach", "delete"]
    assert machine.node.emulator.cloud.nics.keys() == {nic.nic_id for nic in machine.cloud.all_nics() if nic.role == 1}


def test_what_is_in_a_pod_is_left_alone(machine: Machine) -> None:
    done = machine(state="attached", count=2, vxnet=PODS)
    hidden = done["nics"][0]["nic_id"]
    machine.node.kernel.park(hidden)  # away from the host: nobody without an agent knows where
    told = machine(state="absent")
    assert told["left"] == [hidden] and hidden in machine.node.emulator.cloud.nics
    assert hidden not in [nic_id for action in told["actions"] for nic_id in action["nics"]]
    with pytest.raises(Denied, match="only that node knows"):
        machine(state="detached")


def test_a_clone_and_a_machine_that_is_none(machine: Machine) -> None:
    machine.told.write_text("i-node0002")
    with pytest.raises(Denied, match="it is i-node0002, but its primary NIC .* is no link of this machine"):
        machine(state="attached", vxnet=PODS)
    machine.told.unlink()
    with pytest.raises(InvalidConfig, match="^instance is not given, and this machine does not say which it is"):
        machine(state="attached", vxnet=PODS)
    done = machine.quartet(state="attached", instance="i-node0002", vxnet=PODS, count=2)
    with pytest.raises(Denied, match="only that node knows"):
        machine(state="detached", instance="i-node0002")
    ids = [nic["nic_id"] for nic in done["nics"]]
    with pytest.raises(Denied, match="only i-node0002 knows"):
        machine(state="absent", nics=ids)
    machine.quartet(state="absent", nics=ids, force=True)


# -- beside an agent --------------------------------------------------------------------------------------------------


def test_an_agent_is_asked_for_free_nics_and_gives_them_back(beside_agent: Machine) -> None:
    low = beside_agent.node.settings.pool_low
    done = beside_agent.quartet(state="attached", count=7, vxnet=PODS)
    assert done["asked"] == "agent" and len(done["nics"]) == 7 == len(beside_agent.pool(State.READY))
    assert done["actions"] == [{"action": "warm", "vxnet": PODS, "count": 7 - low}]
    assert beside_agent.node.emulator.counters.to_dict()["calls"]["CreateNics"] == 2, "the agent's alone"

    assert len(beside_agent(state="absent", count=2)["actions"][0]["nics"]) == 2
    beside_agent.quartet(state="absent")
    beside_agent.node.run(60)
    assert len(beside_agent.pool(State.READY)) == low, "what the agent keeps ready comes back"


def test_ids_of_the_pool(beside_agent: Machine) -> None:
    nic = beside_agent.node.add("pod", 1)
    idle = beside_agent.pool(State.READY)
    with pytest.raises(HostnicError, match=f"NIC {nic.nic_id} is used by net/pod/eth0"):
        beside_agent(state="absent", nics=[nic.nic_id, *idle], force=True)
    with pytest.raises(Denied, match="state=detached is refused.*qingcloud.cni.hostnic_pool"):
        beside_agent(state="detached", nics=idle, force=True)
    with pytest.raises(Denied, match="qingcloud.cni.hostnic_pool"):
        beside_agent(state="detached")
    assert beside_agent.quartet(state="absent", nics=idle[:1])["asked"] == "agent"
    assert nic.nic_id in beside_agent.pool(State.IN_USE)


def test_nics_of_another_name_are_not_the_agents_business(beside_agent: Machine) -> None:
    done = beside_agent.quartet(state="attached", nic_name="my-own", count=1, vxnet="vxnet-pods002")
    assert done["asked"] == "cloud" and done["nics"][0]["nic_id"] not in beside_agent.pool()
    beside_agent.quartet(state="absent", nic_name="my-own")
    with pytest.raises(NotFound, match="the cloud has no vxnet vxnet-none"):
        beside_agent(state="attached", nic_name="my-own", vxnet="vxnet-none")


def test_an_address_is_made_beside_the_agent_which_takes_it_over(beside_agent: Machine) -> None:
    done = beside_agent.quartet(state="attached", vxnet=PODS, private_ips=["172.16.1.99"])
    assert done["asked"] == "cloud" and done["nics"][0]["private_ip"] == "172.16.1.99"
    beside_agent.node.run(3)
    assert done["nics"][0]["nic_id"] in beside_agent.pool(), "the agent was told to look"
    beside_agent.node.run(120)
    assert done["nics"][0]["nic_id"] in beside_agent.pool(State.READY)
    beside_agent.quartet(state="absent", vxnet=PODS, private_ips=["172.16.1.99"])
    assert done["nics"][0]["nic_id"] not in beside_agent.pool()


def test_a_socket_that_nobody_serves_is_no_agent_and_one_that_hangs_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = listen_at(machine.socket)
    monkeypatch.setattr("plugins.module_utils._ansible.agent.PATIENCE", 0.2)
    with pytest.raises(Denied, match="an agent is there, but does not answer"):
        machine(check=True, state="attached", vxnet=PODS)
    with pytest.raises(Unreachable):
        machine(check=True, state="attached", vxnet=PODS, socket="/" + "x" * 200)
    listener.close()
    assert machine(check=True, state="attached", vxnet=PODS)["asked"] == "cloud"


# -- one run after the other ------------------------------------------------------------------------------------------


def test_two_runs_at_once_do_not_make_nics_twice(machine: Machine, tmp_path: Path) -> None:
    now = machine.node.clock.now

    def other_run(seconds: float) -> None:
        """What happens while the first one waits."""
        if seconds == POLL and not meanwhile:
            meanwhile.append("once")
            with pytest.raises(Busy, match="another run works on the NICs of qingcni_i-node0001, after 0 s still"):
                machine(state="attached", count=3, vxnet=PODS, wait_timeout=0)
        machine.node.emulator.advance(seconds)

    meanwhile: list[str] = []
    given = {**DEFAULTS, "instance_id_path": str(machine.told), "socket": machine.socket}
    given.update(state="attached", count=3, vxnet=PODS)
    assert manage(given, machine.cloud, False, machine.host(), now, other_run)["changed"]
    assert meanwhile and machine.node.emulator.counters.to_dict()["calls"]["CreateNics"] == 1
    assert not machine(state="attached", count=3, vxnet=PODS)["changed"]
    assert not list(turns.DIRECTORY.glob("qingcloud.cni-*")), "nothing is left of the lock"


def test_a_turn_where_no_lock_can_be_had(tmp_path: Path) -> None:
    with turns.turn("x", 0, lambda: 0.0, lambda seconds: None, tmp_path / "nowhere"):
        pass
    with turns.turn("a/b", 0, lambda: 0.0, lambda seconds: None, tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["qingcloud.cni-a_b"]
    assert list(tmp_path.iterdir()) == []
