# SPDX-License-Identifier: GPL-3.0-or-later
"""Planted files and directories that others may write to. Each test is a row of docs/security.md."""

from __future__ import annotations

import json
import logging
import os
import typing as t
from pathlib import Path

import pytest

from hostnic import config, guarded, probed
from hostnic.agent.degradation import FILE as DEGRADATION
from hostnic.agent.degradation import Degradation
from hostnic.agent.spool import Spool
from hostnic.cloud.credentials import read_access
from hostnic.config import Settings
from hostnic.errors import InvalidConfig
from hostnic.store.sqlite import SqliteStore
from hostnic.store.sqlite import read as read_journal
from hostnic.wire import Answer, Request
from tests.support.attempts import NOBODY

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="files are given to others")

KEYS = "qy_access_key_id: ACCESSKEY\nqy_secret_access_key: SECRETKEY\n"
DEL = {"protocol": 1, "id": "a", "op": "cni", "deadline": 3.0, "asked_at": 2.0,
       "env": {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c"}, "stdin": "{}", "boot_id": "b"}  # fmt: skip


def link(path: Path) -> None:
    """What is there lies elsewhere now, and a symbolic link leads to it."""
    elsewhere = path.parent.parent / f"elsewhere-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def give_away(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def open_up(path: Path) -> None:
    path.chmod(0o666)


def open_to_group(path: Path) -> None:
    path.chmod(0o660)
    os.chown(path, 0, NOBODY)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


Plant = t.Callable[[Path], None]
PLANTS: dict[Plant, str] = {
    link: "is a symbolic link, which is not followed: move it away",
    give_away: f"belongs to uid {NOBODY}, who may have written anything there: look at it, then run chown root: ",
    open_up: r"may be written by others \(mode 0666\): look at it, then run chmod go-rwx ",
    open_to_group: r"may be written by others \(mode 0660\): look at it, then run chmod go-rwx ",
    fifo: "is no regular file: move it away",
}
planted = pytest.mark.parametrize("plant", PLANTS, ids=[plant.__name__ for plant in PLANTS])


# -- the journal ------------------------------------------------------------------------------------------------------


@planted
@pytest.mark.parametrize("name", ["state.db", "state.db-wal", "state.db-journal", "state.db.new"])
def test_a_planted_journal_is_not_opened(tmp_path: Path, plant: Plant, name: str) -> None:
    directory = tmp_path / "state"
    SqliteStore(directory).close()
    (directory / name).touch()
    before = (directory / "state.db").read_bytes()
    plant(directory / name)
    for opens in (SqliteStore, read_journal):
        with pytest.raises(InvalidConfig, match=f"{name} {PLANTS[plant]}"):
            opens(directory)
    if name != "state.db":
        assert (directory / "state.db").read_bytes() == before
    assert sorted(path.name for path in directory.iterdir() if path.name != "state.lock") == sorted({"state.db", name})


@pytest.mark.parametrize("how", ["a link", "another's", "open to others", "below another's"])
def test_a_state_directory_that_others_may_change_is_not_used(tmp_path: Path, how: str) -> None:
    directory = tmp_path / "above" / "state"
    SqliteStore(directory).close()
    if how == "a link":
        link(directory)
    elif how == "another's":
        give_away(directory)
    elif how == "open to others":
        directory.chmod(0o777)
    else:
        give_away(directory.parent)
    for opens in (SqliteStore, read_journal):
        with pytest.raises(InvalidConfig, match="symbolic link|belongs to uid 65534|may be written by others"):
            opens(directory)


# -- the spool --------------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, directory: Path) -> None:
        self.directory = directory / "state" / "spool"
        self.directory.mkdir(mode=0o700, parents=True)
        self.done: list[Request] = []
        self.spool = Spool(self.directory, self._carry_out, "b", lambda: 1000.0)

    def _carry_out(self, request: Request, _netns: t.Optional[int], _cancelled: t.Callable[[], bool]) -> Answer:
        self.done.append(request)
        return Answer(request.request_id, 0)

    def put(self, name: str) -> Path:
        path = self.directory / name
        path.write_text(json.dumps(DEL))
        path.chmod(0o600)
        return path


@planted
def test_a_planted_spool_file_is_set_aside_and_not_carried_out(
    tmp_path: Path, plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    bench.put("1-real.json")
    plant(bench.put("2-planted.json"))
    assert bench.spool.drain() == 0
    assert len(bench.done) == 1
    assert [path.name for path in bench.directory.iterdir()] == ["2-planted.json.damaged"]
    assert "2-planted.json" in caplog.text and "set aside" in caplog.text


@pytest.mark.parametrize("how", ["a link", "another's", "open to others"])
def test_a_planted_spool_directory_is_set_aside_and_dels_are_taken_again(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    bench.put("1-planted.json")
    {"a link": link, "another's": give_away, "open to others": lambda path: path.chmod(0o777)}[how](bench.directory)
    assert bench.spool.drain() == 0
    assert bench.done == []
    assert not os.path.lexists(bench.directory)
    (aside,) = [path for path in bench.directory.parent.iterdir() if path.name.startswith("spool.refused-")]
    assert aside.name in caplog.text
    bench.directory.mkdir(mode=0o700)  # as qingcni does
    bench.put("2-real.json")
    assert bench.spool.drain() == 0
    assert len(bench.done) == 1


# -- words of an operator, and of the cloud ---------------------------------------------------------------------------


@planted
def test_a_planted_degradation_only_makes_the_agent_more_careful(
    tmp_path: Path, plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    file = directory / DEGRADATION
    file.write_text("L1")
    level = Degradation(Settings(statedir=str(directory)))
    assert level() == "L1"
    plant(file)
    assert level() == "L0"
    assert DEGRADATION in caplog.text


@planted
def test_a_planted_measurement_counts_as_none(tmp_path: Path, plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "etc"
    directory.mkdir()
    file = directory / "probe.json"
    file.write_text(json.dumps({"nics_per_instance": 7}))
    assert probed.read(file).nic_limit == 7
    plant(file)
    assert probed.read(file) == probed.Probed()
    assert str(file) in caplog.text


@pytest.mark.parametrize("plant", [give_away, open_up])
def test_a_configuration_that_others_may_write_does_not_start_the_agent(tmp_path: Path, plant: Plant) -> None:
    file = tmp_path / "QingAgent.yaml"
    file.write_text("vxnet: vxnet-pods001\n")
    __, origins = config.load({}, {}, tmp_path)
    guarded.configuration(origins)
    plant(file)
    with pytest.raises(InvalidConfig, match=f"{file} {PLANTS[plant]}"):
        guarded.configuration(origins)


# -- the key ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
def test_a_key_that_others_may_read_is_not_used(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "client.yaml"
    file.write_text(KEYS)
    file.chmod(mode)
    with pytest.raises(InvalidConfig, match=rf"{file} is open to others \(mode {mode:04o}\): run chmod 0600 {file}"):
        read_access(str(file))


def test_a_key_of_another_user_is_not_used(tmp_path: Path) -> None:
    file = tmp_path / "client.yaml"
    file.write_text(KEYS)
    file.chmod(0o600)
    give_away(file)
    with pytest.raises(InvalidConfig, match=f"{file} belongs to uid {NOBODY}"):
        read_access(str(file))


def test_an_access_file_without_a_key_does_not_come_from_others_either(tmp_path: Path) -> None:
    """It may name another host as the API."""
    file = tmp_path / "client.yaml"
    file.write_text("host: api.example.com\n")
    assert read_access(str(file)).host == "api.example.com"
    open_up(file)
    with pytest.raises(InvalidConfig, match="may be written by others"):
        read_access(str(file))


def test_a_users_own_key_is_that_users(tmp_path: Path) -> None:
    """On a control host: modules run as whoever runs Ansible."""
    file = tmp_path / "client.yaml"
    file.write_text(KEYS)
    file.chmod(0o600)
    give_away(file)
    for directory in file.parents:
        directory.chmod(directory.stat().st_mode | 0o011)
    os.seteuid(NOBODY)
    try:
        key = read_access(str(file)).key
    finally:
        os.seteuid(0)
    assert key is not None


def test_a_credential_of_systemds_takes_the_place_of_the_file(tmp_path: Path) -> None:
    """And the unit's word counts more than the configuration's, less than a flag's."""
    (tmp_path / "QingAgent.yaml").write_text("vxnet: vxnet-pods001\nQYAccessFilePath: /etc/qingcloud/client.yaml\n")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert config.load({}, environ, tmp_path)[0].access_file == "/etc/qingcloud/client.yaml"
    file = credentials / config.CREDENTIAL
    file.write_text(KEYS)
    file.chmod(0o400)
    settings, origins = config.load({}, environ, tmp_path)
    assert (settings.access_file, origins["QYAccessFilePath"]) == (str(file), "CREDENTIALS_DIRECTORY")
    assert read_access(settings.access_file).key is not None
    assert config.load({"QYAccessFilePath": "/a"}, environ, tmp_path)[0].access_file == "/a"
    assert config.load({}, {**environ, "QINGAGENT_QYACCESSFILEPATH": "/b"}, tmp_path)[0].access_file == "/b"


def test_nothing_of_a_planted_file_is_quoted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shadow = tmp_path / "shadow"
    shadow.write_text("root:$6$S3CRET:1:::")
    bench = Bench(tmp_path)
    (bench.directory / "1-link.json").symlink_to(shadow)
    (tmp_path / "state" / DEGRADATION).symlink_to(shadow)
    bench.spool.drain()
    Degradation(Settings(statedir=str(tmp_path / "state")))()
    assert probed.read(shadow) == probed.Probed()
    assert str(shadow) in caplog.text
    assert "S3CRET" not in caplog.text
