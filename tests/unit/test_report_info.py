# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node is asked for a report: an agent behind a real socket, a real journal, a program in the doctor's place."""

from __future__ import annotations

import json
import os
import socket
import threading
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from hostnic.agent import questions
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from plugins.module_utils._ansible import command, report
from plugins.module_utils._ansible.report import Places
from plugins.module_utils.hostnic.model import Lease, Nic
from plugins.module_utils.hostnic.states import State
from plugins.module_utils.hostnic.store.sqlite import SqliteStore
from plugins.plugin_utils.report import answers
from tests.support.node import Node

HEALTHY: t.Final = {"healthy": True, "findings": [], "unchecked": [], "checks": ["api"]}
NIC: t.Final = Nic("52:54:00:00:00:01", "vxnet-a", "172.16.1.2", State.IN_USE, 7.0)
LEASE: t.Final = Lease(
    "pods", "web", "eth0", NIC.nic_id, 7.0, args={"K8S_POD_NAME": "web", "K8S_POD_NAMESPACE": "shop"}
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A node on which everything is installed, and whose agent does not run."""
    there = Places(*(str(tmp_path / name) for name in ("agent.sock", "state", "instance-id", "qingagent", "lib")))
    Path(there.statedir).mkdir()
    Path(there.instance_id).write_text("i-0a1b2c3d\n")
    version = Path(there.installed) / "3f2a"
    version.mkdir(parents=True)
    (version / "manifest.json").write_text(json.dumps({"version": "0.1.0", "digest": "3f2a"}))
    (Path(there.installed) / "current").symlink_to("3f2a")
    says(there, json.dumps(HEALTHY))
    return there


def says(places: Places, text: str, status: int = 0) -> None:
    """The doctor, as far as the command line goes."""
    program = Path(places.qingagent)
    program.write_text(f'#!/bin/sh\n[ "$*" = "doctor --output json" ] || exit 9\ncat <<"E"\n{text}\nE\nexit {status}\n')
    program.chmod(0o755)


def ask(places: Places, **more: t.Any) -> dict[str, t.Any]:
    """As the module returns it, by way of JSON."""
    told: dict[str, t.Any] = json.loads(json.dumps(report.tell(places, command.run, **more)))
    return told


def write_journal(places: Places) -> None:
    store = SqliteStore(Path(places.statedir))
    store.bind("boot", "i-0a1b2c3d")
    store.write(put=(NIC, LEASE))
    store.close()


@pytest.fixture
def serve(places: Places, tmp_path: Path) -> t.Iterator[t.Callable[..., None]]:
    """Starts an agent that knows all questions but those that are named."""
    node = Node(tmp_path)
    started: list[Server] = []

    def start(*without: str) -> None:
        handlers = {op: handler for op, handler in questions.handlers(node.engine).items() if op not in without}
        started.append(Server([UnixDoor(listen_at(places.socket), handlers, os.getuid())], lambda: None))
        started[0].start()

    with node:
        node.run(30)
        yield start
        for server in started:
            server.stop(5)


def test_a_running_agent_is_asked_for_everything(places: Places, serve: t.Callable[..., None]) -> None:
    serve()
    told = ask(places)
    assert (told["via"], told["instance_id"], told["installed"]) == (
        "agent", "i-0a1b2c3d", {"version": "0.1.0", "digest": "3f2a"},
    )  # fmt: skip
    assert told["version"]["pid"] == os.getpid() and told["plan"]["cap"] > 0
    assert len(told["nics"]) >= 3 and told["leases"] == [] and told["doctor"] == HEALTHY
    assert told["unasked"].keys() <= {"status"}
    node = answers.node("node1", {"answers": json.dumps(told)})
    assert node.fault == "" and {nic.kind for nic in node.nics} == {"r"} and node.free == node.cap - len(node.nics)


def test_a_question_that_an_older_agent_does_not_know_is_left_out(places: Places, serve: t.Callable[..., None]) -> None:
    serve("status", "explain")
    told = ask(places)
    assert told["unasked"].keys() == {"status", "explain"} and told["via"] == "agent"
    assert "does not know" in told["unasked"]["status"]
    node = answers.node("node1", {"answers": json.dumps(told)})
    assert node.fault == "" and node.cap is None and len(node.nics) >= 3


def test_where_no_agent_answers_the_journal_does(places: Places) -> None:
    write_journal(places)
    told = ask(places)
    assert told["via"] == "journal" and "no agent answers" in told["unasked"]["agent"]
    node = answers.node("node1", {"answers": json.dumps(told)})
    assert node.fault == answers.SILENT and node.pods == 1 and node.cap is None
    [nic] = node.nics
    assert (nic.kind, nic.pod, nic.age) == ("u", "shop/web", None)


def test_an_agent_that_hangs_is_waited_for_once(places: Places) -> None:
    write_journal(places)
    calls: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(places.socket)
        listener.listen()
        thread = threading.Thread(target=lambda: calls.append(listener.accept()[0]))
        thread.start()
        told = ask(places, patience=0.2)
        thread.join()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    for call in calls:
        call.close()
    assert told["via"] == "journal" and "did not answer within 0.2 s" in told["unasked"]["agent"]


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_stopped_agent_is_not_started_by_asking_it(places: Places, state: str) -> None:
    """Its socket may be open, and then systemd would."""
    write_journal(places)

    def run(words: t.Sequence[str], **options: t.Any) -> tuple[int, str, str]:
        return (3, f"{state}\n", "") if words[0] == "systemctl" else command.run(words, **options)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(places.socket)
        listener.listen()
        listener.setblocking(False)
        told = json.loads(json.dumps(report.tell(places, run)))
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert told["unasked"]["agent"] == f"qingagent.service is {state}: journalctl -u qingagent.service"
    assert told["via"] == "journal" and told["doctor"] == HEALTHY


def test_a_journal_that_cannot_be_read_is_told(places: Places) -> None:
    (Path(places.statedir) / "state.db").write_bytes(b"no journal" * 1000)
    told = ask(places)
    assert told["via"] == "" and "state.db" in told["unasked"]["journal"]


def test_a_node_with_nothing_on_it_says_so(tmp_path: Path) -> None:
    bare = Places(*(str(tmp_path / name) for name in ("a", "b", "c", "d", "e")))
    told = ask(bare)
    assert told["unasked"].keys() == {"agent", "instance", "doctor"}
    assert told["unasked"]["doctor"] == f"{tmp_path / 'd'} is not there: run site.yml"
    assert (told["via"], told["instance_id"], told["installed"]) == ("", "", {})


@pytest.mark.parametrize("status", [0, 3])
def test_a_doctor_that_could_look_is_heard(places: Places, status: int) -> None:
    sick = {
        **HEALTHY,
        "healthy": False,
        "findings": [{"check": "api", "severity": "error", "what": "x", "remedy": "y"}],
    }
    says(places, json.dumps(sick), status)
    assert ask(places)["doctor"] == sick


@pytest.mark.parametrize(
    ("text", "status", "why"),
    [
        ("qingagent: no config", 1, "exit status 1: qingagent: no config"),
        ("usage", 2, "the package there has none yet: run upgrade.yml"),
        ("not JSON", 0, "exit status 0: not JSON"),
        ("[1]", 3, "exit status 3: [1]"),
    ],
)
def test_a_doctor_that_could_not_is_told(places: Places, text: str, status: int, why: str) -> None:
    says(places, text, status)
    told = ask(places)
    assert told["unasked"]["doctor"] == why and "doctor" not in told


def test_nobody_has_to_ask_the_doctor(places: Places) -> None:
    says(places, "", 9)
    told = ask(places, doctor=False)
    assert "doctor" not in told and "doctor" not in told["unasked"]


def test_a_program_that_cannot_run_is_told(places: Places) -> None:
    told = ask(replace(places, qingagent=places.statedir))
    assert "Permission denied" in told["unasked"]["doctor"]
