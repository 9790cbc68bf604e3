# SPDX-License-Identifier: GPL-3.0-or-later
"""A support bundle on machines where much is missing: it is written, says what is not in it and why, and no more."""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
import typing as t
from pathlib import Path

import pytest

from hostnic import wire
from hostnic.agent import questions
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.commands import cli, evidence, support_bundle
from hostnic.commands.command import Terminal
from hostnic.commands.evidence import Evidence, Missing, Piece
from hostnic.store.sqlite import SqliteStore
from tests.support.node import Node

PROGRAM = "#!/bin/sh\n{}\n"


class Machine:
    """Its programs are those of `programs` alone; the agent's directories are below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs = root / "bin"
        self.file = root / "bundle.tar.gz"
        self.configuration = root / "QingAgent.yaml"
        for directory in ("bin", "run", "state"):
            (root / directory).mkdir()
        self.configuration.write_text(
            f"vxnet: vxnet-a\nstatedir: {root}/state\nrundir: {root}/run\nQYAccessFilePath: {root}/client.yaml\n"
        )

    def program(self, name: str, body: str) -> None:
        (self.programs / name).write_text(PROGRAM.format(body))
        (self.programs / name).chmod(0o755)

    def line(self, *more: str) -> list[str]:
        return ["support-bundle", "--config", str(self.configuration), "--file", str(self.file), *more]

    def content(self) -> dict[str, str]:
        with tarfile.open(self.file) as archive:
            files = ((member.name.partition("/")[2], archive.extractfile(member)) for member in archive)
            return {name: file.read().decode() for name, file in files if file}

    def manifest(self) -> dict[str, t.Any]:
        return dict(json.loads(self.content()["manifest.json"]))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(machine.programs))
    return machine


def test_a_machine_without_agent_and_programs_gets_one(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(machine.line()) == 0
    told = capsys.readouterr()
    assert "not in it: log/agent.txt, log/kernel.txt: journalctl is not installed\n" in told.out
    assert told.out.splitlines()[-1].startswith(f"{machine.file}: ") and told.err == ""
    manifest = machine.manifest()
    assert {"version.json", "host/system.json", "network/proc.txt"} <= {one["file"] for one in manifest["files"]}
    why = {one["file"]: one["why"] for one in manifest["missing"]}
    assert why["network/nftables.txt"] == "nft is not installed"
    assert why["journal.json"] == f"there is no {machine.root}/state/state.db"
    assert "no agent answers" in why["agent/pool.json"]
    assert set(machine.content()) == {one["file"] for one in manifest["files"]} | {"manifest.json"}


def test_programs_tell_it_in_json(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(machine.line("--output", "json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(machine.file) and told["bytes"] == machine.file.stat().st_size
    assert "host/system.json" in told["files"] and "journalctl is not installed" in told["missing"]["log/agent.txt"]


@pytest.mark.parametrize("there", ["file", "symlink", "dangling-symlink"])
def test_what_is_there_is_not_overwritten(machine: Machine, there: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = machine.root / "other"
    if there != "dangling-symlink":
        other.write_text("mine")
    if there == "file":
        other.rename(machine.file)
    else:
        machine.file.symlink_to(other)
    assert cli.main(machine.line()) == 1
    assert capsys.readouterr().err == f"qingagent: {machine.file} is there already: name another --file\n"
    assert not other.exists() or other.read_text() == "mine"


def test_where_it_cannot_be_written_nothing_is_left(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.file = machine.root / "nowhere/bundle.tar.gz"
    assert cli.main(machine.line()) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_its_files_are_for_their_owner_alone(machine: Machine) -> None:
    before = os.umask(0)
    try:
        assert cli.main(machine.line()) == 0
    finally:
        os.umask(before)
    assert machine.file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(machine.file) as archive:
        assert {member.mode for member in archive} == {0o600}


def test_a_dead_agents_journal_is_read_from_a_copy(machine: Machine, tmp_path: Path) -> None:
    store = SqliteStore(machine.root / "state")
    with Node(tmp_path, store=store) as node:
        node.run(10)
        before = {path.name: path.stat().st_mtime_ns for path in (machine.root / "state").iterdir()}
        assert cli.main(machine.line()) == 0
        assert {path.name: path.stat().st_mtime_ns for path in (machine.root / "state").iterdir()} == before
        nics = json.loads(machine.content()["journal.json"])["nic"]
        assert {one["nic_id"] for one in nics} == {nic.nic_id for nic in node.engine.table.nics()} and len(nics) == 3
    store.close()


def test_a_damaged_journal_is_told(machine: Machine) -> None:
    (machine.root / "state/state.db").write_bytes(b"no database at all" * 100)
    assert cli.main(machine.line()) == 0
    assert any("is damaged" in one["why"] for one in machine.manifest()["missing"] if one["file"] == "journal.json")


def test_a_living_agent_is_asked(machine: Machine, tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.run(10)
        listener = listen_at(str(machine.root / "run" / Path(wire.SOCKET).name))
        server = Server([UnixDoor(listener, questions.handlers(node.engine), os.getuid())], node.pool.poke)
        server.start()
        assert cli.main(machine.line()) == 0
        server.stop(5)
    content = machine.content()
    assert len(json.loads(content["agent/pool.json"])) == 3
    assert json.loads(content["agent/explain.json"])["want"] == 3


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_an_agent_that_was_stopped_is_not_started_by_asking(machine: Machine, state: str) -> None:
    machine.program("systemctl", f"echo {state}")
    listener = listen_at(str(machine.root / "run" / Path(wire.SOCKET).name))
    listener.setblocking(False)
    assert cli.main(machine.line()) == 0
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.close()
    assert any("would start it" in one["why"] for one in machine.manifest()["missing"])


def test_programs_are_run_and_their_failures_told_in_their_words(machine: Machine) -> None:
    machine.program("nft", 'echo "table ip qingcni {}"')
    machine.program("journalctl", 'echo "$@"')
    machine.program("ip", "echo refused >&2; exit 2")
    assert cli.main(machine.line("--lines", "7")) == 0
    assert machine.content()["network/nftables.txt"] == "table ip qingcni {}\n"
    assert "--unit=qingagent.service" in machine.content()["log/agent.txt"]
    assert "--lines=7\n" in machine.content()["log/agent.txt"]
    why = {one["file"]: one["why"] for one in machine.manifest()["missing"]}
    assert why["network/host-rules.txt"] == "ip rule failed with 2: refused"
    assert why["network/parking-rules.txt"] == "ip -n qingagent rule failed with 2: refused"


def test_a_program_that_hangs_is_waited_for_so_long(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.program("nft", "while :; do :; done")
    with pytest.raises(Missing, match="did not end within 0.2 s"):
        evidence._run("nft", "list", "ruleset", limit=0.2)


def test_a_configuration_that_cannot_be_used_keeps_nothing_from_being_collected(machine: Machine) -> None:
    machine.configuration.write_text("vxnet: [\n")
    assert cli.main(machine.line()) == 0
    why = {one["file"]: one["why"] for one in machine.manifest()["missing"]}
    assert "not valid YAML" in why["configuration/settings.json"]
    assert "vxnet: [" in machine.content()["configuration/files.txt"]


def test_a_defect_in_one_piece_concerns_no_other(tmp_path: Path) -> None:
    def broken() -> str:
        raise KeyError("secret_key=abcdef")

    pieces = [Piece("a.txt", "a", broken), Piece("b.txt", "b", lambda: "b" * (support_bundle.LARGEST + 7))]
    told: list[str] = []
    outcome = support_bundle._write(tmp_path / "x", "x", pieces, told.append)
    assert outcome == {"a.txt": "a defect: KeyError: 'secret_key=***'", "b.txt": support_bundle.LARGEST}
    assert told == ["a.txt: a defect: KeyError: 'secret_key=***'\n", f"b.txt: {support_bundle.LARGEST} bytes\n"]


def test_a_person_sees_it_come(machine: Machine) -> None:
    out, err = io.StringIO(), io.StringIO()
    arguments = argparse.Namespace(
        config=str(machine.configuration), file=str(machine.file), socket="", lines=1, output="text"
    )
    terminal = Terminal(out, err, {}, machine.root, tty=True)
    assert support_bundle.COMMAND.run(arguments, terminal) == 0
    assert err.getvalue().splitlines()[0].startswith("version.json: ")
    assert len(err.getvalue().splitlines()) == len(Evidence(arguments, {}, "", 1).pieces())
