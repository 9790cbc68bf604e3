# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of docs/wire.md: for each verb, what qingcni does when the agent does not answer. Every cell is run."""

from __future__ import annotations

import re
import socket
import time
import typing as t
from pathlib import Path

import pytest

from tests.support.qingcni import BODY, FakeAgent, Qingcni, read_request

DOCUMENT = Path(__file__).parents[2] / "docs" / "wire.md"
CONDITIONS = ("absent", "refuses", "hangs", "closes")
WORDS = r"(?:(?P<first>tries for 3 s|asks again), then )?(?P<end>\d+|spooled, exit 0|answered)"
WAIT = 0.6  # seconds, in place of each verb's own
PATIENCE = 0.3


def rows() -> dict[str, list[str]]:
    section = DOCUMENT.read_text(encoding="utf-8").split("## When the agent does not answer")[1].split("\n## ")[0]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    assert found[0] == ["verb", "deadline", *CONDITIONS]
    return {cells[0]: cells[1:] for cells in found[2:]}


TABLE = rows()
CELLS = [(verb, condition, cell) for verb, cells in TABLE.items() for condition, cell in zip(CONDITIONS, cells[1:])]


@pytest.fixture
def qingcni(tmp_path: Path) -> Qingcni:
    return Qingcni(tmp_path)


def hang(connection: socket.socket) -> None:
    read_request(connection)
    connection.recv(1)


@pytest.mark.parametrize(("verb", "condition", "cell"), CELLS, ids=[f"{verb}-{where}" for verb, where, __ in CELLS])
def test_cell(qingcni: Qingcni, verb: str, condition: str, cell: str) -> None:
    command = "WHATEVER" if verb == "any other" else verb
    agent: t.Optional[FakeAgent] = None
    if condition == "refuses":
        FakeAgent(qingcni.address, lambda __: None).close()
        assert qingcni.address.exists()
    elif condition != "absent":
        agent = FakeAgent(qingcni.address, hang if condition == "hangs" else lambda __: None)

    at_once = condition == "absent" or (condition, verb) == ("refuses", "DEL")
    wait, patience = (60.0, 30.0) if at_once else (WAIT, PATIENCE)
    started = time.monotonic()
    # VERSION asks nobody; the time of an interpreter's start comes on top
    result = qingcni.run(command, waits={command: wait}, patience=patience)
    took = time.monotonic() - started
    asked = agent.connections if agent else 0
    if agent:
        agent.close()

    outcome = re.fullmatch(WORDS, cell)
    assert outcome, f"the table has words that this test does not know: {cell}"
    if outcome["end"] == "answered":
        assert (result.exit, asked) == (0, 0)
    elif outcome["end"] == "spooled, exit 0":
        assert result == (0, b"", b"")
        (message,) = qingcni.spooled()
        assert message["env"]["CNI_COMMAND"] == "DEL"
    else:
        assert result.exit == 1
        assert (result.error["code"], result.error["cniVersion"]) == (int(outcome["end"]), "0.4.0")
        assert len(result.error["msg"]) > 20
    if outcome["end"] != "spooled, exit 0":
        assert qingcni.spooled() == []
    if at_once:
        assert took < patience
    if outcome["first"] == "asks again":
        assert asked > 2
        assert took >= WAIT
    if outcome["first"] == "tries for 3 s":
        assert took >= PATIENCE
    if condition == "hangs" and asked:
        assert asked == 1
        assert took >= WAIT


def test_its_own_words_name_the_request_that_the_agent_has_in_its_log(qingcni: Qingcni) -> None:
    seen: list[str] = []

    def hang_with(connection: socket.socket) -> None:
        seen.append(read_request(connection).request_id)
        connection.recv(1)

    agent = FakeAgent(qingcni.address, hang_with)
    result = qingcni.run("ADD", waits={"ADD": WAIT}, patience=PATIENCE)
    agent.close()
    assert result.error["code"] == 11 and result.error["details"] == f"request={seen[0]}"


def test_the_tables_deadlines_are_the_executables() -> None:
    namespace: dict[str, t.Any] = {"__name__": "qingcni"}
    exec(compile(BODY.read_text(encoding="utf-8"), str(BODY), "exec"), namespace)
    for verb, (deadline, *__) in TABLE.items():
        if verb == "any other":
            assert deadline == f"{namespace['OTHER_WAIT']:g} s"
        elif verb == "VERSION":
            assert deadline == "none"
        else:
            assert deadline == f"{namespace['WAITS'][verb]:g} s"
    assert set(namespace["WAITS"]) < set(TABLE)
    assert namespace["PATIENCE"] == 3.0
    assert namespace["MARGIN"] == 2.0
    assert namespace["SOCKET"].decode() in DOCUMENT.read_text(encoding="utf-8")
    assert namespace["SPOOL"].decode() in DOCUMENT.read_text(encoding="utf-8")


def test_the_table_speaks_of_every_verb() -> None:
    assert list(TABLE) == ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "any other"]
