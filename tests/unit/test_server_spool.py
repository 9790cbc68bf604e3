# SPDX-License-Identifier: GPL-3.0-or-later
"""DELs of a time without an agent: once each, oldest first, and never against a newer lease."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import typing as t
from pathlib import Path

import pytest

from hostnic.agent.spool import Spool
from hostnic.cni.plugin import refusal
from hostnic.errors import HostnicError, InvalidConfig, LinkFailed, Unreachable
from hostnic.wire import Answer, Request
from tests.support.cni import eventually

BOOT = "11111111-2222-3333-4444-555555555555"


class Bench:
    """A spool whose DELs are written down in `done`; `errors` are what the next ones fail with."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = 1000.0
        self.done: list[Request] = []
        self.inodes: list[t.Optional[int]] = []
        self.errors: list[HostnicError] = []
        self.spool = Spool(directory, self.carry_out, BOOT, lambda: self.now)

    def carry_out(self, request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        assert not cancelled()
        self.inodes.append(None if netns is None else os.fstat(netns).st_ino)
        self.done.append(request)
        return refusal(request.request_id, self.errors.pop(0)) if self.errors else Answer(request.request_id, 0)

    def put(self, name: str = "00000000000000000001-a.json", text: t.Optional[str] = None, **changes: t.Any) -> Path:
        message = {
            "protocol": 1,
            "id": name.partition(".")[0],
            "op": "cni",
            "deadline": 3.0,
            "asked_at": 2.0,
            "env": {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1"},
            "stdin": "{}",
            "boot_id": BOOT,
        }
        path = self.directory / name
        path.write_text(json.dumps({**message, **changes}) if text is None else text)
        return path

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_spool_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert Bench(tmp_path / "none").spool.drain() == 0


def test_dels_are_carried_out_oldest_first_and_removed(bench: Bench) -> None:
    for number in (3, 1, 2):
        bench.put(f"{number:020d}-x.json")
    assert bench.spool.drain() == 0
    assert [request.request_id[:20] for request in bench.done] == [f"{number:020d}" for number in (1, 2, 3)]
    assert bench.names() == []


def test_a_del_keeps_the_time_it_was_asked_for_and_gets_a_new_deadline(bench: Bench) -> None:
    bench.put()
    bench.spool.drain()
    assert bench.done[0].asked_at == 2.0
    assert bench.done[0].deadline == bench.now + 30.0


def test_the_netns_goes_along_where_it_still_stands(bench: Bench, tmp_path: Path) -> None:
    for number, path in enumerate((str(tmp_path), "/nowhere/at/all", "", "a\0b")):
        bench.put(f"{number:020d}-x.json", env={"CNI_COMMAND": "DEL", "CNI_NETNS": path})
    assert bench.spool.drain() == 0
    assert bench.inodes == [tmp_path.stat().st_ino, None, None, None]


def test_a_file_that_cannot_be_read_now_is_tried_later(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # by which the kernel asks for the lease back
    with bench.put().open("rb+") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)  # whoever opens it meanwhile would have to wait
        assert bench.spool.drain() == 1
    signal.signal(signal.SIGIO, before)
    assert "next try in 5 s" in caplog.text
    assert bench.spool.drain() == 1
    bench.now += 5.0
    assert bench.spool.drain() == 0


@pytest.mark.parametrize("error", [Unreachable("a"), LinkFailed("b")])
def test_a_del_that_fails_for_now_is_tried_again_ever_later(bench: Bench, error: HostnicError) -> None:
    bench.put()
    bench.errors = [error] * 3
    tries = []
    for __ in range(60):
        left = bench.spool.drain()
        tries.append((bench.now - 1000.0, len(bench.done)))
        assert left == (1 if len(bench.done) < 4 else 0)
        bench.now += 1.0
    first_of = {count: next(moment for moment, done in tries if done == count) for count in (1, 2, 3, 4)}
    assert first_of == {1: 0.0, 2: 5.0, 3: 15.0, 4: 35.0}
    assert bench.names() == []


def test_one_that_fails_does_not_keep_the_next_waiting(bench: Bench) -> None:
    bench.put("00000000000000000001-a.json")
    bench.put("00000000000000000002-b.json")
    bench.errors = [LinkFailed("busy")]
    assert bench.spool.drain() == 1
    assert bench.names() == ["00000000000000000001-a.json"]


@pytest.mark.parametrize(
    "changes",
    [
        {"text": ""},
        {"text": "{"},
        {"text": "[]"},
        {"text": "x" * 3_000_000},
        {"protocol": 9},
        {"env": {"CNI_COMMAND": "ADD"}},
        {"op": "ping"},
        {"env": 1},
    ],
    ids=["empty", "cut off", "no object", "huge", "protocol", "verb", "op", "env"],
)
def test_a_damaged_file_is_set_aside_and_told(bench: Bench, caplog: pytest.LogCaptureFixture, changes: t.Any) -> None:
    path = bench.put(**changes)
    assert bench.spool.drain() == 0
    assert bench.spool.drain() == 0
    assert bench.names() == [f"{path.name}.damaged"]
    assert bench.done == []
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert path.name in caplog.text


def test_a_del_that_can_never_succeed_is_set_aside(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    path = bench.put()
    bench.errors = [InvalidConfig("name: text is wanted")]
    assert bench.spool.drain() == 0
    assert bench.names() == [f"{path.name}.damaged"]
    assert "name: text is wanted" in caplog.text


def test_a_del_of_an_earlier_boot_is_dropped(bench: Bench) -> None:
    bench.put(boot_id="other")
    assert bench.spool.drain() == 0
    assert bench.done == []
    assert bench.names() == []


def test_unfinished_files_are_left_to_their_writers_for_a_while(bench: Bench) -> None:
    bench.now = 10_000.0
    young, old = f"{9_900 * 10**9:020d}-a.tmp", f"{9_000 * 10**9:020d}-b.tmp"
    from_another_boot, odd = f"{20_000 * 10**9:020d}-c.tmp", "what.tmp"
    for name in (young, old, from_another_boot, odd, "README"):
        bench.put(name, text="")
    assert bench.spool.drain() == 0
    assert bench.names() == [young, "README"]


def test_files_that_appear_while_the_agent_runs_are_found(bench: Bench) -> None:
    stop = threading.Event()
    watch = threading.Thread(target=bench.spool.watch, args=(stop, 0.005))
    watch.start()
    bench.put()
    eventually(lambda: bench.names() == [])
    stop.set()
    watch.join(10)
    assert len(bench.done) == 1


def test_a_defect_does_not_end_the_watch(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    bench.errors = [t.cast(HostnicError, None)]
    watch = threading.Thread(target=bench.spool.watch, args=(stop, 0.005))
    watch.start()
    bench.put()
    eventually(lambda: bench.names() == [])
    stop.set()
    watch.join(10)
    assert "a defect" in caplog.text
