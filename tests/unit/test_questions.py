# SPDX-License-Identifier: GPL-3.0-or-later
"""What people ask the agent, over the real socket, and through the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from hostnic import wire
from hostnic.agent import questions
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.commands import cli
from hostnic.errors import HostnicError
from hostnic.states import State
from hostnic.store.migrations import SCHEMA
from tests.support import next_release
from tests.support.node import Node


class Asked:
    """An agent's socket in front of a node's pool."""

    def __init__(self, node: Node, socket: str) -> None:
        self.node = node
        self.socket = socket

    def keep(self, address: str = "172.16.1.9") -> None:
        nic = self.node.engine.table.nics(State.READY)[0]
        table = self.node.engine.table
        reserved = table.move(nic, State.RESERVED, private_ip=address, workload="prod/db-0", keep=600.0)
        table.move(reserved, State.HELD)


@pytest.fixture
def asked(tmp_path: Path) -> t.Iterator[Asked]:
    with Node(tmp_path) as node:
        node.run(10)
        path = str(tmp_path / "sock")
        handlers = questions.handlers(node.engine)
        server = Server([UnixDoor(listen_at(path), handlers, os.getuid())], node.pool.poke)
        server.start()
        yield Asked(node, path)
        server.stop(5)


def test_a_kept_address_is_released_and_its_nic_rests(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.keep()
    assert cli.main(["release", "--output", "json", "--socket", asked.socket, "172.16.1.9"]) == 0
    assert json.loads(capsys.readouterr().out) == {"released": "172.16.1.9"}
    (nic,) = asked.node.engine.table.nics(State.QUARANTINE)
    assert (nic.private_ip, nic.workload) == ("172.16.1.9", "")


def test_an_address_that_is_not_kept_is_told_with_those_that_are(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.keep()
    assert cli.main(["release", "--socket", asked.socket, "172.16.1.10"]) == 1
    assert capsys.readouterr().err == (
        "qingagent: this node keeps no address 172.16.1.10 for a workload: it keeps 172.16.1.9\n"
    )
    assert len(asked.node.engine.table.nics(State.HELD)) == 1


@pytest.mark.parametrize("params", [{}, {"address": 7}, {"address": None}])
def test_a_release_of_what_is_no_address_releases_nothing(asked: Asked, params: dict[str, t.Any]) -> None:
    asked.keep()
    with pytest.raises(HostnicError, match="keeps no address"):
        wire.ask(asked.socket, "release", params)
    assert len(asked.node.engine.table.nics(State.HELD)) == 1


@pytest.mark.parametrize("question", ["ping", "pool", "leases", "explain"])
def test_every_question_is_answered_with_json(asked: Asked, question: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([question, "--output", "json", "--socket", asked.socket]) == 0
    assert json.loads(capsys.readouterr().out) is not None


def test_it_tells_which_package_it_runs(asked: Asked) -> None:
    assert wire.ask(asked.socket, "version") == {
        "version": "",  # not laid down on a node
        "digest": "",
        "python": sys.executable,
        "journal_schema": SCHEMA,
        "protocol": wire.PROTOCOL,
        "pid": os.getpid(),
    }


def test_the_next_releases_modules_may_ask_this_agent(asked: Asked, tmp_path: Path) -> None:
    package = next_release.package(tmp_path, next_release.PROTOCOL)
    program = f"from hostnic import wire; print(wire.PROTOCOL, wire.ask({asked.socket!r}, 'version')['protocol'])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=package.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == "2 1\n"
