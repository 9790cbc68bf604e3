# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGHUP and `qingagent reload`: what can change changes at once, what cannot is told with the reason, a bad file
changes nothing.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
import typing as t
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from hostnic import config
from hostnic.agent import questions, systemd
from hostnic.agent.degradation import Degradation
from hostnic.agent.reload import NEEDS_RESTART, Reloader
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.cloud.limiter import RateLimiter
from hostnic.commands import cli
from hostnic.config import Settings
from hostnic.errors import InvalidConfig
from hostnic.states import State
from tests.support.node import Node
from tests.support.scripted_api import Time

KEYS = {one.metadata["key"]: one for one in fields(Settings)}
# Of each setting a value that is not its default.
OTHERS: t.Final[t.Mapping[str, t.Any]] = {
    "QYAccessFilePath": "/other/client.yaml", "bindaddr": "127.0.0.1:1", "gatewayns": "other", "iface": "eth9",
    "policy": "Random", "vxnet": ["vxnet-b"], "zone": "ap2a", "loglevel": "debug", "pool-low": 4, "pool-high": 9,
    "max-nics": 50, "idle-ttl": "20m", "prewarm-ttl": "2h", "quarantine": "70s", "quarantine-min": "6s",
    "reconcile-interval": "40s", "attach-chunk": 5, "api-rate": "2/s", "degradation": "L1",
    "manageaddr": "127.0.0.1:2", "statedir": "/other/state", "rundir": "/other/run",
}  # fmt: skip


class Configured:
    """A configuration file, and the reloader of an agent that was started by it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "QingAgent.yaml"
        self.applied: list[Settings] = []
        self.access = False  # whether its file has another key
        self.refusals: list[InvalidConfig] = []
        self.write(vxnet="vxnet-a")
        self.reloader = Reloader(*self.read(), self.read, self.applied.append, self._reread_access)

    def write(self, **settings: t.Any) -> None:
        self.file.write_text(yaml.safe_dump({name.replace("_", "-"): value for name, value in settings.items()}))

    def read(self) -> tuple[Settings, dict[str, str]]:
        return config.load({}, {}, self.directory)

    def _reread_access(self) -> bool:
        for refusal in self.refusals:
            raise refusal
        return self.access


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    return Configured(tmp_path)


def test_the_same_file_again_changes_nothing(configured: Configured) -> None:
    assert configured.reloader.reload() == {
        "reloaded": [], "unchanged": list(KEYS), "needs_restart": [], "access_file": "unchanged",
    }  # fmt: skip
    assert configured.applied == []


@pytest.mark.parametrize("key", KEYS)
def test_each_setting_is_taken_or_told_with_the_reason_why_not(configured: Configured, key: str) -> None:
    configured.write(vxnet="vxnet-a", **{key: OTHERS[key]}) if key != "vxnet" else configured.write(vxnet=OTHERS[key])
    before = configured.reloader.shown()[key]
    answer = configured.reloader.reload()
    now = configured.reloader.shown()[key]
    assert len(answer["unchanged"]) == len(KEYS) - 1
    if key in NEEDS_RESTART:
        (told,) = answer["needs_restart"]
        assert (told["setting"], told["now"], told["why"]) == (key, before["value"], NEEDS_RESTART[key])
        assert answer["reloaded"] == configured.applied == [] and now == before
        assert before["changes_by"] == "restart"
    else:
        (told,) = answer["reloaded"]
        assert (told["setting"], told["was"], told["now"]) == (key, before["value"], now["value"])
        (applied,) = configured.applied
        assert getattr(applied, KEYS[key].name) == now["value"] != before["value"]
        assert (before["changes_by"], now["origin"]) == ("reload", str(configured.file))


def test_what_is_taken_does_not_wait_for_what_is_not(configured: Configured) -> None:
    configured.write(vxnet="vxnet-b", pool_high=20)
    answer = configured.reloader.reload()
    assert [one["setting"] for one in answer["reloaded"]] == ["pool-high"]
    assert [one["setting"] for one in answer["needs_restart"]] == ["vxnet"]
    assert (configured.reloader.settings.vxnet, configured.reloader.settings.pool_high) == (("vxnet-a",), 20)
    assert [one["setting"] for one in configured.reloader.reload()["needs_restart"]] == ["vxnet"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vxnet: [", "not valid YAML"),
        ("vxnet: vxnet-a\npool-hihg: 3\n", "the nearest is 'pool-high'"),
        ("vxnet: vxnet-a\npool-low: 30\nloglevel: debug\n", "lower it or raise pool-high"),
        ("pool-low: 4\n", "is a placeholder"),
    ],
)
def test_a_bad_file_changes_nothing(configured: Configured, text: str, said: str) -> None:
    before = configured.reloader.shown()
    configured.file.write_text(text)
    with pytest.raises(InvalidConfig, match=said):
        configured.reloader.reload()
    assert (configured.applied, configured.reloader.shown()) == ([], before)


def test_a_bad_access_file_changes_nothing_either(configured: Configured) -> None:
    configured.write(vxnet="vxnet-a", pool_high=20)
    configured.refusals = [InvalidConfig("qy_secret_access_key is missing")]
    with pytest.raises(InvalidConfig, match="is missing"):
        configured.reloader.reload()
    assert configured.applied == []
    configured.refusals, configured.access = [], True
    assert configured.reloader.reload()["access_file"] == "changed"
    assert len(configured.applied) == 1


def test_the_log_tells_what_was_reloaded_and_what_was_not(
    configured: Configured, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hostnic.agent")
    configured.write(vxnet="vxnet-b", pool_high=20)
    configured.reloader.reload()
    told = [(one.levelname, one.message, getattr(one, "fields", {})) for one in caplog.records]
    assert told == [
        ("INFO", "reloaded", {"setting": "pool-high", "was": 8, "now": 20}),
        ("WARNING", f"not without a restart: {NEEDS_RESTART['vxnet']}",
         {"setting": "vxnet", "now": ("vxnet-a",), "wanted": ("vxnet-b",)}),
        ("INFO", ("the configuration was read again: 1 settings changed, 1 need a restart, 20 are as they were; the "
                  "access file is unchanged"), {}),
    ]  # fmt: skip


# -- what it means for a running pool ---------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path: Path) -> t.Iterator[Node]:
    with Node(tmp_path, pool_low=2, pool_high=2, quarantine=600.0, quarantine_min=600.0) as node:
        node.run(10)
        yield node


def changed(node: Node, **settings: t.Any) -> None:
    node.engine.reload(Settings(**{**vars(node.engine.pool.settings), **settings}))


def test_the_pool_grows_to_a_new_size(node: Node) -> None:
    assert node.states() == {State.READY: 2}
    changed(node, pool_low=5, pool_high=5)
    assert node.engine.wake.is_set()
    node.run(10)
    assert node.states() == {State.READY: 5}


def test_no_more_nics_than_a_new_limit(node: Node) -> None:
    changed(node, pool_low=2, pool_high=2, max_nics=3)
    node.add("a", 1)
    node.run(10)
    assert sum(node.states().values()) == 3
    assert node.engine.reconciler.explain()["cap"] == 3


def test_an_add_that_waits_for_a_resting_nic_gets_it_by_a_new_rest(node: Node) -> None:
    """It must not sleep on by the old one."""
    changed(node, pool_low=0, pool_high=0, max_nics=2)
    for number in range(2):
        node.add(f"a{number}", number)
    node.delete("a0")
    node.engine.survey.clean()
    got: list[str] = []
    asking = threading.Thread(target=lambda: got.append(node.add("b", 9, patience=30).nic_id), daemon=True)
    asking.start()
    until = time.monotonic() + 10
    while not node.pool.waiting() and time.monotonic() < until:
        time.sleep(0.005)
    node.clock.advance(1.0)
    changed(node, quarantine_min=0.5)
    asking.join(10)
    assert len(got) == 1


def test_degradation_counts_by_the_reload(tmp_path: Path) -> None:
    level = Degradation(Settings(statedir=str(tmp_path)))
    assert level() == ""
    level.setting = "L0"
    assert level() == "L0"


def test_calls_go_by_the_new_rate(tmp_path: Path) -> None:
    clock = Time()
    limiter = RateLimiter(10.0, 1, clock, clock.sleep)
    limiter.acquire("A")
    limiter.refused("A")  # from now on at half the rate
    clock.now += 1000
    limiter.set_rate(2.0, 1)
    assert (limiter.state()["rate"], limiter.state()["actions"]["A"]["rate"]) == (2.0, 1.0)
    began = clock.now
    for __ in range(5):
        limiter.acquire("B")
    assert clock.now - began == pytest.approx(2.0, abs=0.01)


def test_the_access_file_is_read_again_at_once(node: Node) -> None:
    file = Path(node.settings.access_file)
    assert not node.cloud.reread_access()
    file.write_text(file.read_text() + "connection_timeout: 7\n")
    assert node.cloud.reread_access() and not node.cloud.reread_access()
    good = file.read_text()
    file.write_text("qy_access_key_id: only\n")
    with pytest.raises(InvalidConfig, match="qy_secret_access_key is missing"):
        node.cloud.reread_access()
    assert node.cloud.describe_zones()
    file.write_text(good)
    assert not node.cloud.reread_access()


# -- asked for by the socket, by a signal, and told to systemd --------------------------------------------------------


def test_the_command_shows_what_the_agent_answers(
    configured: Configured, node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "sock")
    more = {"reload": lambda __: configured.reloader.reload(), "settings": lambda __: configured.reloader.shown()}
    door = UnixDoor(listen_at(path), questions.handlers(node.engine, more), allowed_uid=os.getuid())
    server = Server([door], node.pool.poke)
    server.start()
    try:
        configured.write(vxnet="vxnet-b", pool_high=20)
        assert cli.main(["reload", "--socket", path]) == 0
        assert capsys.readouterr().out == (
            "SETTING    WAS  NOW\npool-high  8    20\n"
            f"vxnet stays vxnet-a until a restart, which makes it vxnet-b: {NEEDS_RESTART['vxnet']}\n"
            "the access file has not changed\n"
        )
        assert cli.main(["reload", "--socket", path, "--output", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["reloaded"] == []
        configured.file.write_text("vxnet: [")
        assert cli.main(["reload", "--socket", path]) == 1
        assert "not valid YAML" in capsys.readouterr().err
    finally:
        server.stop(5)


def test_signals_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGHUP)
    signals = systemd.Signals(signal.SIGHUP)
    try:
        assert signals.wait(0.0) == 0
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.wait(10.0) == signal.SIGHUP
        assert signals.wait(0.0) == 0
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGHUP, before)


def test_systemd_waits_until_a_reload_is_over_however_it_ends(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        now = time.monotonic_ns() // 1000
        with pytest.raises(InvalidConfig), systemd.reloading(environ):
            first, stamp = manager.recv(1000).decode().split("\n")
            raise InvalidConfig("a bad file")
        assert first == "RELOADING=1" and int(stamp.removeprefix("MONOTONIC_USEC=")) >= now
        assert manager.recv(1000) == b"READY=1"
