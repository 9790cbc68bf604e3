# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that go ahead of qingcni: what the launcher writes, real namespaces, and who gets the answer."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import logging
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest

from hostnic import afterwards, wire
from hostnic.agent import ahead as module
from hostnic.agent.ahead import Ahead
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.wire import Answer, Request
from plugins.module_utils._ansible import launchers
from tests.support.cni import eventually
from tests.support.qingcni import BODY, CONFIG

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

RUNDIR = "/run/qingagent"
NAME = f"{os.getpid()}-1.00"  # of a call of this process
# Where an interpreter would start: waits until there is a file, so that nothing but what went ahead can have done it.
_LATE = """#!/bin/sh
while ! [ -e {gate} ]; do sleep 0.01; done
exec {python} "$@"
"""


@pytest.fixture
def pod(request: pytest.FixtureRequest) -> t.Iterator[str]:
    """Path of a network namespace."""
    name = f"ahead-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield f"/run/netns/{name}"
    subprocess.run(["ip", "netns", "delete", name], check=True)


class Agent:
    """The two ends of an agent, with a handler of the test's between them."""

    def __init__(self, rundir: Path) -> None:
        self.rundir = rundir
        self.seen: list[Request] = []
        self.inodes: list[t.Optional[int]] = []
        self.handler: t.Callable[[Request, t.Callable[[], bool]], Answer] = lambda request, __: Answer(
            request.request_id, 0, json.dumps({"count": len(self.seen)})
        )
        self.changed = threading.Condition()
        self.left = 0
        self.ahead = Ahead(str(rundir), self.carry_out, tuple, self.poke, self.leave)
        self.server = Server(
            [UnixDoor(listen_at(str(rundir / "qingagent.sock")), {wire.CNI: self.ahead.handle})], self.poke
        )
        self.server.start()
        self.ahead.start()

    def carry_out(self, request: Request, descriptor: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        self.inodes.append(None if descriptor is None else os.fstat(descriptor).st_ino)
        self.seen.append(request)
        return self.handler(request, cancelled)

    def poke(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def leave(self) -> None:
        self.left += 1

    def until(self, condition: t.Callable[[], bool]) -> bool:
        with self.changed:
            return self.changed.wait_for(condition, 20)

    def wait_until_cancelled(self) -> list[bool]:
        """In each call; whether it was, call by call."""
        ends: list[bool] = []

        def waits(request: Request, cancelled: t.Callable[[], bool]) -> Answer:
            ends.append(self.until(cancelled))
            return Answer(request.request_id, 1)

        self.handler = waits
        return ends

    def wait_the_first_time(self) -> None:
        """Until it is cancelled; the next call is answered at once, and says that it is not the first."""

        def waits(request: Request, cancelled: t.Callable[[], bool]) -> Answer:
            first = len(self.seen) == 1
            return Answer(request.request_id, int(first and self.until(cancelled)), json.dumps({"first": first}))

        self.handler = waits

    def close(self) -> None:
        self.ahead.close()
        self.server.stop(1)
        self.ahead.stop()


@pytest.fixture
def agent(tmp_path: Path) -> t.Iterator[Agent]:
    rundir = tmp_path / "run"
    rundir.mkdir()
    agent = Agent(rundir)
    yield agent
    agent.close()
    assert not (rundir / "ahead").exists()


class Launched:
    """qingcni as it is installed, but for its run directory; its interpreter starts once `go` is called."""

    def __init__(self, rundir: Path, directory: Path) -> None:
        self.gate = directory / "gate"
        python = directory / "python"
        python.write_text(_LATE.format(gate=self.gate, python=sys.executable))
        python.chmod(0o755)
        self.directory = directory
        body = BODY.read_text().replace(RUNDIR, str(rundir))
        (directory / "qingcni.py").write_text(body)
        (directory / "qingcni-start.py").write_text(launchers.cni_start(str(directory)))
        self.path = directory / "qingcni"
        self.path.write_text(launchers.cni(str(python), str(directory)).replace(RUNDIR, str(rundir)))
        self.path.chmod(0o755)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(
        self, netns: str, verb: str = "ADD", stdin: bytes = CONFIG, words: t.Sequence[str] = (), **more: str
    ) -> subprocess.Popen[bytes]:
        env = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_NETNS": netns, "CNI_IFNAME": "eth0", **more}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(
            words or [self.path], env={"PATH": os.environ["PATH"], "CNI_PATH": "/opt/cni/bin", **env}, **pipes
        )  # type: ignore[call-overload]
        self.processes.append(process)
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
        return t.cast("subprocess.Popen[bytes]", process)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def go(self) -> None:
        self.gate.touch()

    def end(self, process: subprocess.Popen[bytes]) -> tuple[int, t.Any, bytes]:
        self.go()
        stdout, stderr = process.communicate(timeout=30)
        return process.returncode, json.loads(stdout) if stdout else None, stderr


@pytest.fixture
def launched(agent: Agent, tmp_path: Path) -> t.Iterator[Launched]:
    launched = Launched(agent.rundir, tmp_path)
    yield launched
    launched.close()


def test_a_call_is_carried_out_while_the_interpreter_starts(agent: Agent, launched: Launched, pod: str) -> None:
    process = launched.start(pod, stdin=CONFIG + b"\n", CNI_ARGS="K8S_POD_NAME=a b")
    eventually(lambda: agent.left == 1)
    assert process.poll() is None
    assert launched.end(process) == (0, {"count": 1}, b"")
    (request,) = agent.seen
    assert request.env == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": pod,
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "K8S_POD_NAME=a b",
        "CNI_PATH": "/opt/cni/bin",
    }
    assert request.stdin == CONFIG.decode() + "\n"
    assert request.deadline - request.asked_at == module.PATIENCE["ADD"]
    assert request.request_id.startswith(f"{process.pid}-")
    assert agent.inodes == [Path(pod).stat().st_ino]
    assert not list((agent.rundir / "ahead").iterdir())


def test_qingcni_waits_for_what_went_ahead(agent: Agent, launched: Launched, pod: str) -> None:
    finish = threading.Event()

    def slow(request: Request, __: t.Callable[[], bool]) -> Answer:
        finish.wait(20)
        return Answer(request.request_id, 1, '{"code": 112}')

    agent.handler = slow
    process = launched.start(pod, "DEL")
    launched.go()
    eventually(lambda: agent.server._running)
    finish.set()
    assert launched.end(process) == (1, {"code": 112}, b"")
    assert len(agent.seen) == 1


def test_a_caller_that_ends_before_its_interpreter_starts_is_gone(agent: Agent, launched: Launched, pod: str) -> None:
    ends = agent.wait_until_cancelled()
    process = launched.start(pod)
    eventually(lambda: agent.seen)
    assert not ends
    process.kill()
    process.communicate(timeout=20)
    eventually(lambda: ends == [True])
    assert not agent.ahead._calls


def test_a_caller_that_ends_while_it_waits_is_gone(agent: Agent, launched: Launched, pod: str) -> None:
    ends = agent.wait_until_cancelled()
    process = launched.start(pod)
    launched.go()
    eventually(lambda: agent.server._running)
    process.kill()
    process.communicate(timeout=20)
    eventually(lambda: ends == [True] and not agent.server._running)


def test_a_caller_that_is_gone_when_it_asks_is_noticed(agent: Agent, launched: Launched, pod: str) -> None:
    """Nobody pokes a second time."""

    ends = agent.wait_until_cancelled()
    launched.start(pod)
    eventually(lambda: agent.seen)
    descriptor = os.open(pod, os.O_RDONLY)
    began = time.monotonic()
    assert agent.ahead.handle(agent.seen[0], descriptor, lambda: True).exit == 1
    assert ends == [True]
    os.close(descriptor)
    assert time.monotonic() - began < 10


def test_what_nobody_comes_for_is_forgotten(agent: Agent, launched: Launched, pod: str) -> None:
    process = launched.start(pod)
    eventually(lambda: agent.left == 1)
    assert agent.ahead._calls
    process.kill()
    process.communicate(timeout=20)
    eventually(lambda: not agent.ahead._calls)


def test_another_netns_than_the_callers_is_begun_anew(
    agent: Agent, launched: Launched, pod: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the caller's /run/netns is another one than the agent's."""
    monkeypatch.setattr(module.netns, "opened", lambda *__: os.open("/proc/self/ns/net", os.O_RDONLY))

    agent.wait_the_first_time()
    assert launched.end(launched.start(pod)) == (0, {"first": False}, b"")
    assert agent.inodes == [Path("/proc/self/ns/net").stat().st_ino, Path(pod).stat().st_ino]
    assert [one.stdin for one in agent.seen] == [CONFIG.decode() + "\n"] * 2
    assert "another one for qingcni" in caplog.text


@pytest.mark.parametrize("netns", ["/run/netns/no-such", "/proc/self/ns/net", "/run/netns/../../proc/self/ns/net", ""])
def test_what_is_no_named_netns_comes_with_qingcni(agent: Agent, launched: Launched, netns: str) -> None:
    process = launched.start(netns)
    assert launched.end(process) == (0, {"count": 1}, b"")
    assert len(agent.seen) == 1
    assert not agent.left


def test_no_pods_netns_comes_with_qingcni(agent: Agent, launched: Launched, pod: str) -> None:
    found = Path(pod).stat()
    agent.ahead._ours = lambda: [(found.st_dev, found.st_ino)]
    assert launched.end(launched.start(pod)) == (0, {"count": 1}, b"")
    assert not agent.left


@pytest.mark.parametrize("verb", ["CHECK", "GC", "STATUS"])
def test_other_verbs_come_with_qingcni(agent: Agent, launched: Launched, pod: str, verb: str) -> None:
    process = launched.start(pod, verb)
    assert launched.end(process) == (0, {"count": 1}, b"")
    assert not agent.left
    assert not agent.seen[0].request_id.startswith(f"{process.pid}-")


def test_what_waits_for_its_turn_comes_with_qingcni(agent: Agent, launched: Launched, pod: str) -> None:
    """Each call is carried out once, however many there are."""
    finish = threading.Event()

    def slow(request: Request, __: t.Callable[[], bool]) -> Answer:
        finish.wait(20)
        return Answer(request.request_id, 0)

    agent.handler = slow
    count = 3 * module._AT_ONCE * module._WATCHERS
    processes = [launched.start(pod, CNI_CONTAINERID=f"c{number}") for number in range(count)]
    launched.go()
    eventually(lambda: len(agent.seen) == count)
    finish.set()
    assert [launched.end(process)[0] for process in processes] == [0] * count
    assert sorted(one.env["CNI_CONTAINERID"] for one in agent.seen) == sorted(f"c{number}" for number in range(count))


def test_a_file_that_is_read_late_is_no_call_any_more(agent: Agent, pod: str) -> None:
    """qingcni's own request was served: the same call must not come again, after a DEL perhaps."""
    path = agent.rundir / "ahead" / NAME
    path.write_text("not yet written in full")
    agent.ahead.handle(Request(wire.CNI, NAME, 0.0, env={"CNI_COMMAND": "ADD"}), None, lambda: False)
    assert not path.exists()
    assert len(agent.seen) == 1


def test_what_is_written_bit_by_bit_is_read_once_it_is_whole(agent: Agent, pod: str) -> None:
    values = ["ADD", "c1", pod, "eth0", "", "", "{}", ""]
    text = "\0".join(values).encode()
    with (agent.rundir / f"ahead/{NAME}").open("wb", buffering=0) as file:
        for place in range(len(text)):
            file.write(text[place : place + 1])
        eventually(lambda: agent.seen)
    assert len(agent.seen) == 1
    assert agent.seen[0].env == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": pod,
        "CNI_IFNAME": "eth0",
    }


@pytest.mark.parametrize(
    ("name", "verb"),
    [("notes", "ADD"), (f"{NAME}.tmp", "ADD"), (f".{NAME}", "ADD"), (NAME, "GC")],
    ids=["another name", "an ending", "a dot", "another verb"],
)
def test_other_files_are_no_calls(
    agent: Agent, launched: Launched, pod: str, name: str, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = agent.rundir / "ahead" / name
    with path.open("w") as file:
        file.write("\0".join([verb, "other", pod, "eth0", "", "", "{}", ""]))
        file.flush()
        assert launched.end(launched.start(pod)) == (0, {"count": 1}, b"")  # which came after it
        assert path.exists()
    eventually(lambda: not path.exists())
    assert [one.env["CNI_CONTAINERID"] for one in agent.seen] == ["c1"]
    assert "defect" not in caplog.text


def test_who_gives_up_leaves_nothing_behind(tmp_path: Path, pod: str) -> None:
    """An agent that is killed here leaves its directory, and comes back to it."""
    (tmp_path / "ahead").mkdir()
    launched = Launched(tmp_path, tmp_path)
    status, told, __ = launched.end(launched.start(pod))
    assert (status, told["code"]) == (1, 100)
    assert list((tmp_path / "ahead").iterdir()) == []


def test_what_is_too_large_is_told(agent: Agent, launched: Launched, pod: str) -> None:
    status, told, __ = launched.end(launched.start(pod, stdin=b" " * (wire.MAX_BODY + 70_000)))
    assert (status, told["code"]) == (1, 7)
    assert "1 MiB" in told["msg"]
    assert not agent.seen


def test_what_is_nearly_too_large_comes_with_qingcni(agent: Agent, launched: Launched, pod: str) -> None:
    assert launched.end(launched.start(pod, stdin=b" " * (module._LARGEST + 1))) == (0, {"count": 1}, b"")
    assert not agent.left


def test_the_netns_is_the_one_that_the_caller_sees(agent: Agent, launched: Launched, pod: str) -> None:
    """A runtime with a mount namespace of its own."""
    other = f"ahead-{os.getpid()}-other"
    subprocess.run(["ip", "netns", "add", other], check=True)
    try:
        words = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            f'mount --bind /run/netns/{other} {pod} && exec "$0"',
            str(launched.path),
        ]
        process = launched.start(pod, words=words)
        eventually(lambda: agent.left == 1)
        assert launched.end(process) == (0, {"count": 1}, b"")
        assert agent.inodes == [Path(f"/run/netns/{other}").stat().st_ino] != [Path(pod).stat().st_ino]
    finally:
        subprocess.run(["ip", "netns", "delete", other], check=True)


def test_a_call_that_waits_for_its_turn_keeps_no_netns(agent: Agent, launched: Launched, pod: str) -> None:
    finish = threading.Event()

    def slow(request: Request, __: t.Callable[[], bool]) -> Answer:
        finish.wait(20)
        return Answer(request.request_id, 0)

    def held() -> int:
        inode = Path(pod).stat().st_ino
        found = 0
        for one in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # closed just now
                found += one.stat().st_ino == inode
        return found

    agent.handler = slow
    processes = []
    while all(call.begun for call in list(agent.ahead._calls.values())):
        processes.append(launched.start(pod, CNI_CONTAINERID=f"c{len(processes)}"))
        eventually(lambda: not list((agent.rundir / "ahead").iterdir()))
    for process in processes:
        process.kill()
        process.wait()
    eventually(lambda: held() == len(agent.seen))
    finish.set()
    eventually(lambda: held() == 0)


def test_a_directory_that_is_written_to_is_cleared_all_the_same(tmp_path: Path) -> None:
    """Launchers go on while an agent that was killed starts anew."""
    (tmp_path / "ahead").mkdir()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with contextlib.suppress(OSError):
                (tmp_path / f"ahead/1-{number}.00").write_text("")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for __ in range(20):
            ahead = Ahead(str(tmp_path), lambda *__: Answer("", 0), tuple, lambda: None, lambda: None)
            ahead.start()
            assert ahead._threads
            ahead.close()
            assert not ahead._threads[0].is_alive()
            (tmp_path / "ahead").mkdir(exist_ok=True)
    finally:
        stop.set()
        thread.join()


def test_events_that_were_lost_keep_nobody_from_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a queue is full, the last event among them."""
    agent = Agent(tmp_path)
    for watch in agent.ahead._watches:
        monkeypatch.setattr(watch, "end", lambda: None)
    thread = threading.Thread(target=agent.close)
    thread.start()
    eventually(lambda: agent.ahead._closing)
    (tmp_path / "ahead/notes").write_text("any event")
    thread.join(10)
    assert not thread.is_alive()


def test_a_defect_leaves_the_call_to_qingcni(
    agent: Agent, launched: Launched, pod: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(agent.ahead, "_clock", lambda: 1 / 0)
    assert launched.end(launched.start(pod)) == (0, {"count": 1}, b"")
    assert "a defect in what goes ahead" in caplog.text
    assert agent.ahead.alive()


def test_only_its_owner_may_write_calls(agent: Agent) -> None:
    assert stat.S_IMODE((agent.rundir / "ahead").stat().st_mode) == 0o700


def test_what_is_no_plain_file_is_no_call(agent: Agent, launched: Launched, pod: str, tmp_path: Path) -> None:
    where = agent.rundir / "ahead"
    call = "\0".join(["ADD", "c1", pod, "eth0", "", "", "{}", ""])
    (tmp_path / "elsewhere").write_text(call)
    (where / NAME).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text(call)
    os.mkfifo(where / "1-2.00")
    fifo = os.open(where / "1-2.00", os.O_RDWR)
    os.write(fifo, call.encode())
    (where / "1-3.00").mkdir()
    assert launched.end(launched.start(pod)) == (0, {"count": 1}, b"")  # which came after them
    with pytest.raises(OSError, match="symbolic links"):
        agent.ahead._read(NAME)
    assert agent.ahead._read("1-2.00") is None
    os.close(fifo)
    assert agent.ahead.alive()
    assert (tmp_path / "elsewhere").read_text() == call


def test_garbled_files_are_no_calls(agent: Agent, launched: Launched, pod: str) -> None:
    dice = random.Random(7)
    call = "\0".join(["ADD", "c1", pod, "eth0", "", "", "{}", ""]).encode()
    for number in range(300):
        garbled = bytearray(call)
        for __ in range(dice.randrange(1, 6)):
            garbled[dice.randrange(len(garbled))] = dice.choice((0, 0xFF, 0x2F, dice.randrange(256)))
        (agent.rundir / f"ahead/{os.getpid()}-{number}.00").write_bytes(garbled[: dice.randrange(len(call))])
    assert launched.end(launched.start(pod))[0] == 0
    assert agent.ahead.alive()
    assert {one.env["CNI_NETNS"] for one in agent.seen} == {pod}


def test_what_an_agent_that_was_killed_has_left_is_no_call(tmp_path: Path, pod: str) -> None:
    left = tmp_path / "ahead"
    left.mkdir()
    with (left / NAME).open("w") as file:
        file.write("\0".join(["ADD", "c1", pod, "eth0", "", "", "{}", ""]))
        file.flush()
        agent = Agent(tmp_path)
        file.write("\0")
    assert agent.ahead._threads
    agent.close()
    assert not agent.seen


def test_without_inotify_calls_come_with_qingcni(
    tmp_path: Path, pod: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A host whose fs.inotify.max_user_instances is used up."""
    whole = module.Inotify
    made: list[t.Any] = []

    def refused(*args: t.Any) -> object:
        if made:
            raise OSError(24, "Too many open files")
        made.append(whole(*args))
        return made[0]

    monkeypatch.setattr(module, "Inotify", refused)
    rundir = tmp_path / "run"
    rundir.mkdir()
    agent = Agent(rundir)
    assert "pods start slower" in caplog.text
    assert agent.ahead.alive()
    assert not (rundir / "ahead").exists()
    with pytest.raises(OSError):
        made[0].close()  # it is by now
    launched = Launched(rundir, tmp_path)
    assert launched.end(launched.start(pod)) == (0, {"count": 1}, b"")
    agent.close()


def test_a_directory_that_is_taken_away_is_noticed(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    assert agent.ahead.alive()
    shutil.rmtree(tmp_path / "ahead")
    eventually(lambda: not agent.ahead.alive())
    agent.close()


def test_an_agent_that_stops_cancels_what_nobody_has_come_for(agent: Agent, launched: Launched, pod: str) -> None:
    agent.wait_until_cancelled()
    process = launched.start(pod)
    eventually(lambda: agent.seen)
    began = time.monotonic()
    agent.close()
    assert time.monotonic() - began < 4
    assert not agent.ahead._running
    process.kill()
    process.communicate(timeout=20)


def test_who_comes_while_the_agent_stops_is_served(agent: Agent, launched: Launched, pod: str) -> None:
    """By its own request, once what was cancelled is undone."""

    agent.wait_the_first_time()
    process = launched.start(pod)
    eventually(lambda: agent.seen)
    agent.ahead.close()
    assert launched.end(process) == (0, {"first": False}, b"")


def test_what_could_wait_is_done_once_the_caller_has_left(agent: Agent, launched: Launched, pod: str) -> None:
    told: list[int] = []

    def answers(request: Request, __: t.Callable[[], bool]) -> Answer:
        afterwards.do(lambda: told.append(agent.left))
        return Answer(request.request_id, 0)

    agent.handler = answers
    launched.end(launched.start(pod))
    eventually(lambda: told == [1])


def test_a_call_may_take_as_long_as_qingcni_gives_it() -> None:
    sys.path.insert(0, str(BODY.parent))
    try:
        qingcni = importlib.import_module("qingcni")
    finally:
        sys.path.remove(str(BODY.parent))
    assert {verb: qingcni.WAITS[verb] - qingcni.MARGIN for verb in module.PATIENCE} == module.PATIENCE


def test_no_program_that_the_agent_starts_has_its_descriptors(agent: Agent) -> None:
    assert all(fcntl.fcntl(one._descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for one in agent.ahead._watches)


def test_the_watchers_share_the_processors(agent: Agent) -> None:
    ours = os.sched_getaffinity(0)

    def kept() -> list[set[int]]:
        return [os.sched_getaffinity(thread.native_id or 0) for thread in agent.ahead._threads]

    if len(ours) == 1:
        eventually(lambda: kept() == [ours, ours])
    else:
        eventually(lambda: not set.intersection(*kept()) and set.union(*kept()) == ours)


def test_the_log_says_nothing_where_all_goes_well(
    agent: Agent, launched: Launched, pod: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        launched.end(launched.start(pod))
    assert not [record for record in caplog.records if record.name == "hostnic.server"]
