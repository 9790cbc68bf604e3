# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the cloud may be changed, by an operator's word, and what still works then."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from hostnic.agent.degradation import FILE, Degradation
from hostnic.agent.loops import follow_links
from hostnic.config import Settings
from hostnic.engine import Engine
from hostnic.errors import PoolEmpty
from hostnic.states import State
from hostnic.store.memory import MemoryStore
from tests.support.node import INSTANCE, Node

WRITES = ("CreateNics", "AttachNics", "DetachNics", "DeleteNics", "ModifyNicAttributes")


# -- the operator's word ----------------------------------------------------------------------------------------------


def told(directory: Path, text: t.Optional[str], setting: str = "") -> str:
    if text is not None:
        directory.joinpath(FILE).write_text(text)
    return Degradation(Settings(statedir=str(directory), degradation=setting))()


@pytest.mark.parametrize("setting", ["", "L0", "L1"])
@pytest.mark.parametrize("text", [None, "", "\n"])
def test_without_a_word_in_the_file_the_setting_counts(tmp_path: Path, text: t.Optional[str], setting: str) -> None:
    assert told(tmp_path, text, setting) == setting


@pytest.mark.parametrize(
    ("text", "setting", "level"),
    [("L1", "", "L1"), ("L0\n", "", "L0"), (" L1 \n", "", "L1"), ("L0", "L1", "L0"), ("L1", "L0", "L0")],
)
def test_the_stricter_of_file_and_setting_counts(tmp_path: Path, text: str, setting: str, level: str) -> None:
    assert told(tmp_path, text, setting) == level


@pytest.mark.parametrize("text", ["l1", "L2", "L1 L0", "off", "\0", "L1\nL1"])
def test_a_strange_file_stops_all_writes(tmp_path: Path, text: str) -> None:
    assert told(tmp_path, text, "L1") == "L0"


def test_a_file_that_is_no_text_stops_all_writes(tmp_path: Path) -> None:
    tmp_path.joinpath(FILE).write_bytes(b"\xff\xfe\x00")
    assert told(tmp_path, None) == "L0"


def test_a_file_that_cannot_be_read_stops_all_writes(tmp_path: Path) -> None:
    tmp_path.joinpath(FILE).mkdir()
    assert told(tmp_path, None) == "L0"


def test_the_file_counts_from_one_moment_to_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    level = Degradation(Settings(statedir=str(tmp_path)))
    file = tmp_path / FILE
    assert level() == ""
    file.write_text("L1")
    assert (level(), level()) == ("L1", "L1")
    file.unlink()
    assert level() == ""
    assert [record.message for record in caplog.records] == ["degradation is L1 now", "degradation is over now"]


# -- what it means for the pool ---------------------------------------------------------------------------------------


class Degradable(Node):
    """The agent asks the file before each plan, as the service has it."""

    def __init__(self, directory: Path, **settings: t.Any) -> None:
        super().__init__(directory, statedir=str(directory), **settings)
        self.file = directory / FILE

    def start_agent(self) -> None:
        super().start_agent()
        self.engine = Engine(
            self.settings,
            self.instance_id,
            self.boot_id,
            self.cloud,
            self.kernel,
            self.guard,
            self.store,
            self.clock.now,
            dice=lambda: 0.5,
            level=Degradation(self.settings),
        )
        self.pool = self.engine.pool
        follow = follow_links(self.engine)
        self.kernel.on_change = lambda: follow(None)

    def writes(self) -> int:
        return sum(self.calls(action) for action in WRITES)


@pytest.fixture
def node(tmp_path: Path) -> t.Iterator[Degradable]:
    with Degradable(tmp_path, pool_low=3, pool_high=3, quarantine=1.0) as node:
        node.run(10)
        yield node


def surplus(node: Node) -> None:
    """Six NICs are ready where three are wanted."""
    for number in range(3):
        node.add(f"pod{number}", number)
    node.run(20)
    for number in range(3):
        node.delete(f"pod{number}")


def test_without_writes_ready_nics_serve_and_del_works(node: Degradable) -> None:
    node.file.write_text("L0")
    writes = node.writes()
    for number in range(3):
        node.add(f"pod{number}", number)
        node.run(30)
    for number in range(3):
        node.delete(f"pod{number}")
    node.run(3000)
    assert node.states() == {State.READY: 3}
    assert node.writes() == writes


def test_without_writes_a_pod_that_waits_in_vain_hears_why(node: Degradable) -> None:
    node.file.write_text("L0")
    for number in range(3):
        node.add(f"pod{number}", number)
    node.run(1)
    with pytest.raises(PoolEmpty, match="degradation L0 is set"):
        node.add("one-more", 9)


def test_without_writes_nothing_is_given_back(node: Degradable) -> None:
    surplus(node)
    node.file.write_text("L0")
    writes = node.writes()
    node.run(5000)
    assert (node.states(), node.writes()) == ({State.READY: 6}, writes)


def test_without_writes_what_was_begun_is_settled(node: Degradable) -> None:
    for number in range(3):
        node.add(f"pod{number}", number)
    node.run(1)
    assert node.states()[State.ATTACHING] == 3
    node.file.write_text("L0")
    node.run(20)
    assert node.states() == {State.IN_USE: 3, State.READY: 3}


def test_without_releases_the_pool_grows_and_nothing_is_given_back(node: Degradable) -> None:
    node.file.write_text("L1")
    surplus(node)
    assert len(node.in_cloud()) == 6
    node.run(5000)
    assert node.states() == {State.READY: 6}
    assert (node.calls("DetachNics"), node.calls("DeleteNics")) == (0, 0)


@pytest.mark.parametrize("level", ["L0", "L1"])
def test_once_it_is_over_the_surplus_goes(node: Degradable, level: str) -> None:
    surplus(node)
    node.file.write_text(level)
    node.run(1500)
    node.file.unlink()
    node.run(1500)
    assert node.states() == {State.READY: 3}
    assert len(node.in_cloud()) == 3


@pytest.mark.parametrize("level", ["L0", "L1"])
def test_what_is_on_its_way_out_stays_attached(node: Degradable, level: str) -> None:
    nic = node.engine.table.nics(State.READY)[0]
    node.engine.table.move(nic, State.DRAINING, doomed=True)
    node.file.write_text(level)
    node.run(1000)
    assert node.in_cloud()[nic.nic_id] == "in-use"


def test_without_writes_a_gateway_is_not_changed_either(node: Degradable) -> None:
    (gateway,) = node.cloud.create_nics("vxnet-pods001", 1, f"hostnic-gw_{INSTANCE}")
    node.cloud.attach_nics([gateway.nic_id], INSTANCE)
    node.emulator.advance(5)
    node.file.write_text("L0")
    writes = node.writes()
    node.store = MemoryStore()
    node.start_agent()
    node.run(60)
    assert node.writes() == writes


def test_the_setting_alone_does_it_too(tmp_path: Path) -> None:
    with Node(tmp_path, degradation="L0") as node:
        node.run(300)
        assert (node.calls("CreateNics"), node.states()) == (0, {})
        assert "degradation L0: nothing is changed in the cloud" in node.explain()["bounds"]
