# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade looks at: what counts as lost, and for how long it waits; before a real socket and executable."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from hostnic import wire
from hostnic.agent import questions
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from plugins.module_utils._ansible import health
from plugins.module_utils._ansible.health import Health
from tests.support.node import Node
from tests.support.qingcni import Qingcni

Record = dict[str, t.Any]


def nic(number: int, state: str, **more: t.Any) -> Record:
    return {"nic_id": f"52:54:00:00:00:0{number}", "private_ip": f"172.16.1.{number}", "state": state, "doomed": False,
            "note": "", **more}  # fmt: skip


def lease(number: int, pod: str = "web") -> Record:
    return {"network": "pods", "container_id": pod, "ifname": "eth0", "nic_id": f"52:54:00:00:00:0{number}"}


BEFORE = ([nic(1, "READY"), nic(2, "IN_USE"), nic(3, "GATEWAY"), nic(4, "DRAINING")], [lease(2)])

# What was found afterwards ► what of it is a loss.
CASES: dict[str, tuple[list[Record], list[Record], str]] = {
    "all the same": (*BEFORE, ""),
    "a pod has started": (
        [nic(1, "IN_USE"), nic(2, "IN_USE"), nic(3, "GATEWAY"), nic(5, "READY")],
        [lease(1, "db"), lease(2)],
        "",
    ),
    "a pod has ended": ([nic(1, "READY"), nic(2, "QUARANTINE"), nic(3, "GATEWAY")], [], ""),
    "another pod has its NIC": ([nic(1, "READY"), nic(2, "IN_USE"), nic(3, "GATEWAY")], [lease(2, "db")], ""),
    "a NIC is gone": ([nic(1, "READY"), nic(2, "IN_USE")], [lease(2)], "172.16.1.3, GATEWAY before) is gone"),
    "a NIC is broken": (
        [nic(1, "BROKEN", note="no link"), nic(2, "IN_USE"), nic(3, "GATEWAY")],
        [lease(2)],
        "172.16.1.1, READY before) is BROKEN now: no link",
    ),
    "a lease is lost": ([nic(1, "READY"), nic(2, "IN_USE"), nic(3, "GATEWAY")], [], "no lease says whose"),
    "a lease leads elsewhere": (
        [nic(1, "IN_USE"), nic(2, "READY"), nic(3, "GATEWAY")],
        [lease(1)],
        "pods/web/eth0 held NIC 52:54:00:00:00:02 and has a lease of 52:54:00:00:00:01 now",
    ),
    "everything is lost": ([], [], "is gone"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_counts_as_lost(case: str) -> None:
    pool, leases, told = CASES[case]
    found = health.lost(*BEFORE, pool, leases)
    assert bool(found) == bool(told) and told in "; ".join(found)


def test_what_was_broken_before_is_nobodys_loss() -> None:
    assert health.lost([nic(1, "BROKEN")], [], [nic(1, "BROKEN")], []) == []


class Moments:
    """A clock, and looks that are told in advance: seconds ► what is seen from then on."""

    def __init__(self, *seen: tuple[float, Health]) -> None:
        self.now = 0.0
        self._seen = seen

    def look(self) -> Health:
        return [health for moment, health in self._seen if moment <= self.now][-1]

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def settle(self, patience: float, steady: float) -> Health:
        return health.settle(self.look, patience, steady, lambda: self.now, self.sleep)


BAD = Health(problems=["it is away"])


def good(pid: int) -> Health:
    return Health({"pid": pid})


def test_it_waits_until_the_problem_is_over() -> None:
    moments = Moments((0, BAD), (5, good(1)))
    assert moments.settle(30, 0).problems == ()
    assert moments.now == 5


def test_it_tells_the_problem_that_stays() -> None:
    moments = Moments((0, good(1)), (0.5, BAD))
    assert moments.settle(10, 3) == BAD
    assert moments.now == 10


def test_an_agent_that_dies_and_comes_again_is_not_steady() -> None:
    moments = Moments((0, good(1)), (2, good(2)), (4, good(3)))
    assert moments.settle(30, 3) == good(3)
    assert moments.now == 7


# -- a look ------------------------------------------------------------------------------------------------------------


class Agent:
    """A node's pool behind a real socket, and the executable that calls there."""

    def __init__(self, directory: Path, node: Node) -> None:
        self.qingcni = Qingcni(directory)
        self.node = node
        self.handlers = questions.handlers(node.engine)
        self.server: t.Optional[Server] = None

    def start(self, *without: str) -> None:
        known = {op: handler for op, handler in self.handlers.items() if op not in without}
        known[wire.CNI] = lambda request, *__: wire.Answer(request.request_id, 0)
        listener = listen_at(str(self.qingcni.address))
        self.server = Server([UnixDoor(listener, known, os.getuid())], lambda: None)
        self.server.start()

    def look(self, executable: str = "", **wanted: t.Any) -> Health:
        return health.look(str(self.qingcni.address), [executable or "/opt/cni/bin/qingcni"], self._run, **wanted)

    def _run(self, argv: t.Sequence[str], environment: t.Mapping[str, str], stdin: str) -> tuple[int, str, str]:
        protocol = argv[0].rpartition("-")[2] if "-" in argv[0] else "1"
        done = self.qingcni.run(
            environment["CNI_COMMAND"], stdin=stdin.encode(), before=f'namespace["PROTOCOL"] = {protocol}'
        )
        return done.exit, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def agent(tmp_path: Path) -> t.Iterator[Agent]:
    with Node(tmp_path) as node:
        node.run(10)
        one = Agent(tmp_path, node)
        yield one
        if one.server:
            one.server.stop(1)


def test_a_look_at_an_agent_that_is_well(agent: Agent) -> None:
    agent.start()
    seen = agent.look()
    assert seen.problems == []
    assert (seen.version["pid"], len(seen.pool), seen.leases) == (os.getpid(), 3, [])
    assert agent.look(before={"pool": seen.pool, "leases": seen.leases}).problems == []


def test_a_look_finds_what_is_lost(agent: Agent) -> None:
    agent.start()
    seen = agent.look()
    missing = {**seen.pool[0], "nic_id": "52:54:00:00:00:99"}
    (problem,) = agent.look(before={"pool": [*seen.pool, missing], "leases": []}).problems
    assert "52:54:00:00:00:99" in problem and "is gone" in problem


def test_another_version_than_the_wanted_one(agent: Agent) -> None:
    agent.start()
    assert agent.look(digest="3f2a").problems == ["the agent that answers is version unknown and not 3f2a"]


def test_an_agent_that_cannot_tell_its_version_is_well_unless_one_is_wanted(agent: Agent) -> None:
    agent.start("version")
    seen = agent.look()
    assert (seen.version, seen.problems, len(seen.pool)) == ({}, [], 3)
    assert agent.look(digest="3f2a").problems


def test_nobody_answers(agent: Agent) -> None:
    (away,) = agent.look().problems
    assert "no agent answers" in away


def test_an_executable_that_is_two_releases_apart(agent: Agent) -> None:
    agent.start()
    (problem,) = agent.look("/opt/cni/bin/qingcni-3").problems
    assert "do not understand each other" in problem and "one release" in problem
