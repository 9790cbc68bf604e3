# SPDX-License-Identifier: GPL-3.0-or-later
"""`hostnic_pool` and `hostnic_pool_info` as Ansible runs them: by an agent's socket, and by a journal alone."""

from __future__ import annotations

import json
import os
import sys
import threading
import typing as t
from pathlib import Path

import pytest

from hostnic.agent import questions
from hostnic.agent.server import Server
from hostnic.agent.systemd import boot_id
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.states import State
from hostnic.store.sqlite import SqliteStore
from tests.lab.wait import until
from tests.support.ansible import CLONE, ansible
from tests.support.node import INSTANCE, Node
from tests.support.tasks import Task, results

POOL, INFO = "qingcloud.cni.hostnic_pool", "qingcloud.cni.hostnic_pool_info"
NAME = f"qingcni_{INSTANCE}"


class Agent:
    """A node whose loop turns by itself, as fast as it can, and its socket."""

    def __init__(self, directory: Path, **settings: t.Any) -> None:
        self.node = Node(directory, **settings)
        self.directory = directory
        self.socket = directory / "agent.sock"
        self._stop = threading.Event()
        self._loop = threading.Thread(target=self._turn, daemon=True)

    def __enter__(self) -> Agent:
        self.node.__enter__()
        self.node.run(10)
        handlers = questions.handlers(self.node.engine)
        self._server = Server([UnixDoor(listen_at(str(self.socket)), handlers, os.getuid())], self.node.pool.poke)
        self._server.start()
        self._loop.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._loop.join()
        self._server.stop(5)
        self.node.__exit__(*exc_info)

    def run(self, *asked: tuple[dict[str, t.Any], bool]) -> list[dict[str, t.Any]]:
        tasks = [Task(POOL, {"socket": str(self.socket), **arguments}, check) for arguments, check in asked]
        return results(self.directory, tasks)

    def _turn(self) -> None:
        while not self._stop.wait(0.01):
            self.node.run(1)


@pytest.fixture
def agent(tmp_path: Path) -> t.Iterator[Agent]:
    with Agent(tmp_path, pool_high=4, quarantine=5.0) as agent:
        yield agent


def quartet(arguments: dict[str, t.Any]) -> list[tuple[dict[str, t.Any], bool]]:
    """Check, apply, again, and check once more."""
    return [(arguments, True), (arguments, False), (arguments, False), (arguments, True)]


def applied(said: t.Sequence[dict[str, t.Any]]) -> dict[str, t.Any]:
    """Of a quartet: check mode told exactly what was then done, and the second time nothing was."""
    foreseen, done, again, checked_again = said
    assert not done.get("failed"), done
    for name in ("changed", "via", "plan", "diff", "left"):
        assert foreseen.get(name) == done.get(name), name
    assert done["changed"] and done["diff"]["before"] != done["diff"]["after"]
    for last in (again, checked_again):
        assert (last["changed"], last["diff"]["after"]) == (False, last["diff"]["before"])
    return done


def test_the_integration_targets_with_an_agent(agent: Agent) -> None:
    """Check, apply, again and assert for each order, beside a pod."""
    nic = agent.node.add("web", 1)
    agent.node.engine.wake.set()
    until(lambda: len(agent.node.engine.table.nics(State.READY)) == 3, 20, "the pool's usual size")
    targets = [str(CLONE / "tests/integration/targets" / name) for name in ("hostnic_pool", "hostnic_pool_info")]
    book = agent.directory / "targets.yml"
    book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "roles": targets}]))
    given = {"qingagent_socket": str(agent.socket), "ansible_python_interpreter": sys.executable}
    ansible("ansible-playbook", "-i", "localhost,", "-c", "local", "-e", json.dumps(given), str(book))
    assert agent.node.states() == {State.READY: 3, State.IN_USE: 1}
    assert len(agent.node.in_cloud()) == 4

    told, foreseen = results(
        agent.directory,
        [
            Task(INFO, {"socket": str(agent.socket)}),
            Task(POOL, {"socket": str(agent.socket), "state": "drained"}, True),
        ],
    )
    assert (told["changed"], told["via"]) == (False, "agent")
    assert {one["nic_id"] for one in told["nics"]} == set(agent.node.in_cloud())
    assert [lease["nic_id"] for lease in told["leases"]] == [nic.nic_id]
    assert (told["plan"]["used"], told["plan"]["trouble"], told["plan"]["draining"]) == (1, None, False)
    assert foreseen["diff"]["after"] == f"{nic.nic_id} vxnet-pods001 {nic.private_ip} pod\n"
    assert [(one["nic_id"], one["why"]) for one in foreseen["left"]] == [(nic.nic_id, "used by net/web/eth0")]


def test_nothing_of_a_node_is_left_once_no_pod_needs_it(agent: Agent) -> None:
    agent.node.add("web", 1)
    made = agent.node.cloud.create_nics("vxnet-pods002", 1, NAME)  # somebody has just pre-warmed it
    refused, *said, warmed = agent.run(
        ({"state": "absent"}, False),
        *quartet({"state": "absent", "force": True}),
        ({"state": "warmed", "size": 5}, False),
    )
    assert (refused["failed"], refused["code"], refused["msg"]) == (
        True, "Denied", "pods have NICs of this node: net/web/eth0: delete them first, or evict them with force",
    )  # fmt: skip
    assert applied(said)["left"] == []
    assert (agent.node.in_cloud(), agent.node.engine.table.leases()) == ({}, [])
    assert made[0].nic_id not in agent.node.emulator.cloud.nics
    assert (warmed["code"], warmed["msg"].partition(":")[0]) == ("Busy", "this node is drained")


def test_what_the_cloud_refuses_and_what_takes_too_long_is_told(agent: Agent) -> None:
    nic_id = next(iter(agent.node.in_cloud()))
    refusal = {"ret_code": 2500, "message": "QuotasExceeded, nic", "count": 9}
    agent.node.emulator.faults.order({"kind": "ret_code", "action": "CreateNics", **refusal})
    agent.node.emulator.faults.order({"kind": "job_stuck", "action": "DetachNics", "count": 9})
    failed, late, foreseen, now = agent.run(
        ({"state": "warmed", "size": 5}, False),
        ({"state": "drained", "wait_timeout": 1}, False),
        ({"state": "drained", "empty": True}, True),
        ({"state": "drained", "wait": False}, False),
    )
    assert failed["failed"] and "QuotasExceeded" in failed["msg"]
    assert (failed["code"], failed["action"], failed["ret_code"]) == ("QuotaExceeded", "CreateNics", 2500)
    assert late["code"] == "Timeout"
    assert late["msg"].startswith("the pool is not drained after 1 s: left are ") and nic_id in late["msg"]
    assert (foreseen["left"], foreseen["diff"]["after"]) == ([], "")
    assert now["changed"] is False


def test_without_an_agent_the_journal_tells_and_stays_as_it_is(tmp_path: Path) -> None:
    """And two never work on one pool."""
    state, configuration, dead = tmp_path / "state", tmp_path / "etc", tmp_path / "agent.sock"
    (tmp_path / "instance-id").write_text(f"{INSTANCE}\n")
    listen_at(str(dead)).close()
    configuration.mkdir()
    options = {"configuration": str(configuration), "instance_id_path": f"{tmp_path}/instance-id"}
    options["socket"] = f"{tmp_path}/no"
    drained, absent = {**options, "state": "drained"}, {**options, "state": "absent"}
    with Node(tmp_path, store=SqliteStore(state)) as node:
        node.boot_id = boot_id()
        node.start_agent()
        node.run(10)
        node.add("web", 1)
        node.run(10)
        node.engine.close()
        (configuration / "QingAgent.yaml").write_text(
            f"vxnet: [vxnet-pods001]\nzone: lab1\nstatedir: {state}\nQYAccessFilePath: {tmp_path}/client.yaml\n"
        )
        before, calls = (state / "state.db").read_bytes(), node.calls()
        other = SqliteStore(state)
        told, foreseen, refused, locked, unanswered, unrolled, unseen = results(
            tmp_path,
            [
                Task(INFO, options),
                Task(POOL, drained, True),
                Task(POOL, absent, True),
                Task(POOL, drained),
                Task(POOL, {**drained, "socket": str(dead)}),
                Task(INFO, {**options, "configuration": str(state)}),
                Task(INFO, {**options, "socket": f"{tmp_path}/instance-id/agent.sock"}),
            ],
        )
        other.close()
        assert ((state / "state.db").read_bytes(), node.calls()) == (before, calls)
    assert (told["via"], len(told["nics"]), len(told["leases"])) == ("journal", 4, 1)
    assert (told["plan"]["used"], told["plan"]["ready"]) == (1, 3)
    assert (foreseen["via"], foreseen["changed"], len(foreseen["left"])) == ("journal", True, 1)
    assert foreseen["plan"]["actions"][0]["action"] == "drain"
    assert "net/web/eth0" in refused["msg"]
    assert (locked["failed"], locked["code"]) == (True, "StoreLocked")
    assert (unanswered["failed"], unanswered["code"]) == (True, "Unreachable")
    assert unanswered["msg"].startswith(f"no agent answers on {dead} (Connection refused): systemctl status")
    assert unrolled["msg"] == f"there is no configuration of an agent in {state}: roll the agent out first"
    assert unseen["msg"].startswith(f"cannot see {tmp_path}/instance-id/agent.sock (Not a directory): this needs root")
