# SPDX-License-Identifier: GPL-3.0-or-later
"""The executable as a process of its own: what goes out, what comes back, what it costs."""

from __future__ import annotations

import array
import json
import os
import pty
import random
import socket
import struct
import subprocess
import threading
import time
import typing as t
from pathlib import Path

import pytest

from hostnic import wire
from hostnic.agent.spool import Spool
from hostnic.cni import spec
from hostnic.wire import Answer, Request
from tests.support.qingcni import BODY, CONFIG, PYTHON, FakeAgent, Qingcni, read_request
from tests.support.stirring import rests, wakings

VERSIONS = {"cniVersion": spec.NEWEST, "supportedVersions": list(spec.SUPPORTED)}


@pytest.fixture
def qingcni(tmp_path: Path) -> Qingcni:
    return Qingcni(tmp_path)


def answering(exit_: int = 0, stdout: str = "", stderr: str = "", seen: t.Optional[list[Request]] = None) -> t.Any:
    def behaviour(connection: socket.socket) -> None:
        request = read_request(connection)
        if seen is not None:
            seen.append(request)
        connection.sendall(wire.encode_answer(Answer(request.request_id, exit_, stdout, stderr)))

    return behaviour


# -- a call and its answer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exit_", [0, 1])
def test_it_prints_what_the_agent_says(qingcni: Qingcni, exit_: int) -> None:
    agent = FakeAgent(qingcni.address, answering(exit_, '{"grüße": "\udcff"}\n', "a line\n"))
    result = qingcni.run("ADD")
    assert result == (exit_, '{"grüße": "'.encode() + b"\xff" + b'"}\n', b"a line\n")
    agent.close()


def test_the_request_holds_everything(qingcni: Qingcni) -> None:
    seen: list[Request] = []
    agent = FakeAgent(qingcni.address, answering(seen=seen))
    before = wire.boottime()
    stdin = b'{"name": "\xff\xc3\xa4", "x": "' + b"y" * 200_000 + b'"}'
    assert qingcni.run("ADD", {"CNI_ARGS": 'A="\u2028\n\\', "HOME": "/", "XCNI_": "1"}, stdin).exit == 0
    agent.close()
    (request,) = seen
    assert request.op == "cni"
    assert request.env == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/proc/self/ns/net",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin",
        "CNI_ARGS": 'A="\u2028\n\\',
    }
    assert request.stdin.encode("utf-8", "surrogateescape") == stdin
    assert request.netns_error == ""
    assert before <= request.asked_at <= wire.boottime()
    assert request.deadline - request.asked_at == pytest.approx(88.0)


def test_the_netns_travels_as_a_descriptor(qingcni: Qingcni, tmp_path: Path) -> None:
    netns = tmp_path / "netns\udcff".encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    netns.write_text("x")
    got: list[int] = []

    def behaviour(connection: socket.socket) -> None:
        data, control, __, __ = connection.recvmsg(65536, socket.CMSG_SPACE(16))
        for __, __, raw in control:
            got.extend(array.array("i", raw))
        request = wire.decode_request(data[4:])
        connection.sendall(wire.encode_answer(Answer(request.request_id, 0)))

    agent = FakeAgent(qingcni.address, behaviour)
    assert qingcni.run("ADD", {"CNI_NETNS": str(netns)}).exit == 0
    agent.close()
    (descriptor,) = got
    assert os.fstat(descriptor).st_ino == netns.stat().st_ino
    os.close(descriptor)


@pytest.mark.parametrize(
    ("path", "told"),
    [("", ""), ("/nowhere/at/all", "No such file or directory"), ("/proc/self/mem/x", "Not a directory")],
)
def test_without_a_netns_the_request_says_why(qingcni: Qingcni, path: str, told: str) -> None:
    seen: list[Request] = []
    agent = FakeAgent(qingcni.address, answering(seen=seen))
    assert qingcni.run("DEL", {"CNI_NETNS": path}).exit == 0
    assert seen[0].netns_error == told
    agent.close()


def test_a_fifo_in_place_of_the_netns_does_not_hold_it(qingcni: Qingcni, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    agent = FakeAgent(qingcni.address, answering())
    assert qingcni.run("ADD", {"CNI_NETNS": str(tmp_path / "fifo")}).exit == 0
    agent.close()


def test_it_waits_for_an_answer_that_comes_in_pieces(qingcni: Qingcni) -> None:
    def behaviour(connection: socket.socket) -> None:
        request = read_request(connection)
        message = wire.encode_answer(Answer(request.request_id, 0, "x" * 300_000))
        for i in range(0, len(message), 50_001):
            connection.sendall(message[i : i + 50_001])

    agent = FakeAgent(qingcni.address, behaviour)
    assert qingcni.run("ADD") == (0, b"x" * 300_000, b"")
    agent.close()


def test_it_stirs_while_a_nic_may_be_moving_and_then_sleeps(qingcni: Qingcni) -> None:
    """A move is over within 40 ms, a wait for a NIC is not."""
    stirred = []

    def behaviour(connection: socket.socket) -> None:
        request = read_request(connection)
        pid, *__ = struct.unpack("=3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        before = wakings(pid)
        rests(pid)
        stirred.append(wakings(pid) - before)
        connection.sendall(wire.encode_answer(Answer(request.request_id, 0, "{}")))

    agent = FakeAgent(qingcni.address, behaviour)
    assert qingcni.run("ADD").exit == 0
    assert 10 < stirred[0] <= 25
    agent.close()


def test_an_answer_may_take_its_time(qingcni: Qingcni) -> None:
    """Longer than qingcni stirs, and longer than a verb may take, which ends it."""
    agent = FakeAgent(qingcni.address, lambda connection: t.cast(None, agent.over.wait(60)))
    began = time.monotonic()
    assert qingcni.run("ADD", waits={"ADD": 0.5}).error["code"] == 11
    assert time.monotonic() - began >= 0.5
    agent.close()


def test_a_closed_connection_is_asked_again_with_the_same_request(qingcni: Qingcni) -> None:
    seen: list[Request] = []

    def read_and_leave(connection: socket.socket) -> None:
        seen.append(read_request(connection))

    def half_an_answer(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(b"\0\0\1\0{")

    agent = FakeAgent(qingcni.address, lambda __: None, read_and_leave, half_an_answer, answering(0, "{}", seen=seen))
    assert qingcni.run("ADD") == (0, b"{}", b"")
    assert agent.connections == 4
    assert len(seen) == 3
    assert len({(request.request_id, request.deadline) for request in seen}) == 1
    agent.close()


def test_an_agent_that_restarts_without_its_socket_unit_is_waited_for(qingcni: Qingcni) -> None:
    FakeAgent(qingcni.address, answering()).close()
    process = qingcni.start("ADD", patience=20.0)
    stdin = t.cast(t.IO[bytes], process.stdin)
    stdin.write(CONFIG)
    stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    qingcni.address.unlink()
    agent = FakeAgent(qingcni.address, answering(0, "{}"))
    assert process.wait(20) == 0
    agent.close()
    for stream in (process.stdout, process.stderr):
        t.cast(t.IO[bytes], stream).close()


def test_a_full_queue_is_waited_for(qingcni: Qingcni) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(qingcni.address))
        listener.listen(0)
        filling = [socket.socket(socket.AF_UNIX) for __ in range(3)]
        for sock in filling:
            sock.setblocking(False)
            try:
                sock.connect(str(qingcni.address))
            except BlockingIOError:
                break
        process = qingcni.start("ADD", patience=0.0)
        stdin = t.cast(t.IO[bytes], process.stdin)
        stdin.write(CONFIG)
        stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        for sock in filling:
            sock.close()
        while process.poll() is None:
            listener.settimeout(20)
            connection, __ = listener.accept()
            with connection:
                connection.settimeout(20)
                if connection.recv(1, socket.MSG_PEEK):
                    answering(0)(connection)
                    break
        assert process.wait(20) == 0
        for stream in (process.stdout, process.stderr):
            t.cast(t.IO[bytes], stream).close()


def test_when_it_is_killed_its_connection_ends(qingcni: Qingcni) -> None:
    reached, ended = threading.Event(), threading.Event()

    def behaviour(connection: socket.socket) -> None:
        read_request(connection)
        reached.set()
        if connection.recv(1) == b"":
            ended.set()

    agent = FakeAgent(qingcni.address, behaviour)
    process = qingcni.start("ADD")
    with process:
        t.cast(t.IO[bytes], process.stdin).close()
        assert reached.wait(20)
        process.kill()
    assert ended.wait(20)
    agent.close()


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"not JSON",
        b"\xff",
        b'{"id":"other","exit":0,"stdout":"","stderr":""}',
        b'{"id":"ID","exit":"0","stdout":"","stderr":""}',
        b'{"id":"ID","exit":0,"stdout":1,"stderr":""}',
        b'{"id":"ID","exit":0,"stdout":""}',
        b"[" * 100_000,
        None,
    ],
)
def test_an_answer_that_is_none_is_code_101(qingcni: Qingcni, body: t.Optional[bytes]) -> None:
    def behaviour(connection: socket.socket) -> None:
        request = read_request(connection)
        if body is None:
            connection.sendall(b"\xff\xff\xff\xff")
        else:
            told = body.replace(b"ID", request.request_id.encode())
            connection.sendall(len(told).to_bytes(4, "big") + told)

    agent = FakeAgent(qingcni.address, behaviour)
    told = qingcni.run("DEL").error
    assert (told["code"], told["cniVersion"]) == (101, "0.4.0")
    assert agent.connections == 1
    agent.close()


@pytest.mark.parametrize(("asked", "told"), [("0.1.0", "0.1.0"), ("9.9.9", spec.NEWEST), ("", spec.NEWEST)])
def test_an_error_of_its_own_is_in_a_version_that_is_spoken(qingcni: Qingcni, asked: str, told: str) -> None:
    config = json.dumps({"cniVersion": asked, "name": "pods"}).encode()
    assert qingcni.run("ADD", stdin=config).error["cniVersion"] == told


@pytest.mark.parametrize("verb", ["ADD", "DEL", "GC"])
def test_a_configuration_that_no_message_can_hold_is_refused_here(qingcni: Qingcni, verb: str) -> None:
    config = json.dumps({"cniVersion": "1.1.0", "name": "pods", "x": "y" * wire.MAX_BODY}).encode()
    told = qingcni.run(verb, stdin=config).error
    assert (told["code"], qingcni.spooled()) == (7, [])
    assert "too large" in told["msg"]


# -- VERSION and no verb at all ---------------------------------------------------------------------------------------


def test_version_says_what_the_agent_would_say(qingcni: Qingcni) -> None:
    result = qingcni.run("VERSION", stdin=b'{"cniVersion": "0.4.0"}')
    assert (result.exit, result.stderr) == (0, b"")
    assert json.loads(result.stdout) == {**VERSIONS, "cniVersion": "0.4.0"}


NO_VERSIONS = [b"", b"{", b"[]", b'{"cniVersion": 1}', b'{"cniVersion": ""}', b'{"cniVersion', b"\xff", b"[" * 60_000]


@pytest.mark.parametrize("stdin", NO_VERSIONS)
def test_version_says_its_own_where_there_is_none(qingcni: Qingcni, stdin: bytes) -> None:
    assert json.loads(qingcni.run("VERSION", stdin=stdin).stdout) == VERSIONS


def test_version_does_not_wait_for_ever_for_stdin(qingcni: Qingcni) -> None:
    process = qingcni.start("VERSION")
    with process:
        assert json.loads(t.cast(t.IO[bytes], process.stdout).read()) == VERSIONS


def bare(verb: str, stdin: t.Any) -> subprocess.CompletedProcess[bytes]:
    """Exactly as a runtime would start it, without any help of ours."""
    env = {"CNI_COMMAND": verb}
    return subprocess.run([PYTHON, "-I", "-S", str(BODY)], env=env, stdin=stdin, capture_output=True, check=False)


def with_stdin_closed(verb: str) -> subprocess.CompletedProcess[bytes]:
    shell = f"exec {PYTHON} -I -S {BODY} <&-"
    return subprocess.run(["/bin/sh", "-c", shell], env={"CNI_COMMAND": verb}, capture_output=True, check=False)


def test_version_does_not_wait_for_a_person_or_a_closed_stdin() -> None:
    leader, follower = pty.openpty()
    for stdin in (follower, subprocess.DEVNULL):
        started = time.monotonic()
        assert json.loads(bare("VERSION", stdin).stdout) == VERSIONS
        assert time.monotonic() - started < 0.9
    os.close(leader)
    os.close(follower)
    assert json.loads(with_stdin_closed("VERSION").stdout) == VERSIONS


@pytest.mark.parametrize("verb", ["", None])
def test_without_a_verb_it_says_what_it_is(verb: t.Optional[str]) -> None:
    env = {} if verb is None else {"CNI_COMMAND": verb}
    done = subprocess.run([PYTHON, "-I", "-S", str(BODY)], env=env, capture_output=True, check=True)
    assert done.stdout == b""
    assert done.stderr.decode().splitlines() == [
        "CNI plugin qingcni",
        f"CNI protocol versions supported: {', '.join(spec.SUPPORTED)}",
    ]


# -- streams ----------------------------------------------------------------------------------------------------------


def test_a_stdin_that_cannot_be_read_is_code_5() -> None:
    done = with_stdin_closed("ADD")
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == 5


def test_a_configuration_that_does_not_fit_is_code_7(qingcni: Qingcni) -> None:
    assert qingcni.run("ADD", stdin=b'"' * 600_000).error["code"] == 7


def test_a_stdout_that_nobody_reads_is_a_failure(qingcni: Qingcni) -> None:
    agent = FakeAgent(qingcni.address, answering(0, "x" * 1000))
    process = qingcni.start("ADD")
    t.cast(t.IO[bytes], process.stdout).close()
    process.stdout = None
    process.communicate(CONFIG, timeout=20)
    assert process.returncode == 1
    agent.close()


def test_a_defect_is_an_error_object_too(qingcni: Qingcni) -> None:
    told = qingcni.run("ADD", before='namespace["_now"] = None').error
    assert told["code"] == 102
    assert "TypeError" in told["details"]


# -- the spool --------------------------------------------------------------------------------------------------------


def test_a_spooled_del_is_what_the_agent_carries_out_later(qingcni: Qingcni, tmp_path: Path) -> None:
    assert qingcni.run("DEL", {"CNI_ARGS": "A=\udcff"}) == (0, b"", b"")
    (file,) = qingcni.spool.iterdir()
    assert file.suffix == ".json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert qingcni.spool.stat().st_mode & 0o777 == 0o700
    done: list[Request] = []

    def carry_out(request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        done.append(request)
        return Answer(request.request_id, 0)

    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert Spool(qingcni.spool, carry_out, boot_id).drain() == 0
    assert list(qingcni.spool.iterdir()) == []
    (request,) = done
    assert request.env["CNI_CONTAINERID"] == "c1"
    assert request.env["CNI_ARGS"] == "A=\udcff"
    assert request.stdin.encode() == CONFIG
    assert request.asked_at <= wire.boottime()
    assert Spool(qingcni.spool, carry_out, "another boot").drain() == 0


def test_spooled_files_sort_by_time(qingcni: Qingcni) -> None:
    for number in range(4):
        assert qingcni.run("DEL", {"CNI_CONTAINERID": f"c{number}"}).exit == 0
    assert [message["env"]["CNI_CONTAINERID"] for message in qingcni.spooled()] == ["c0", "c1", "c2", "c3"]


def test_a_spool_that_cannot_be_written_is_code_5_and_leaves_the_del_to_the_runtime(qingcni: Qingcni) -> None:
    qingcni.spool.parent.mkdir()
    qingcni.spool.write_text("a file in its place")
    told = qingcni.run("DEL").error
    assert told["code"] == 5
    assert str(qingcni.spool) in told["msg"]


def test_the_spool_is_on_disk_before_it_says_so(qingcni: Qingcni, tmp_path: Path) -> None:
    qingcni.spool.mkdir(parents=True)
    trace = tmp_path / "trace"
    order = f"""
import posix
log = posix.open({str(trace)!r}, posix.O_WRONLY | posix.O_CREAT)
def wrap(name):
    real = getattr(posix, name)
    def wrapped(*args):
        posix.write(log, (name + "\\n").encode())
        return real(*args)
    return wrapped
class Recorder:
    def __getattr__(self, name):
        return wrap(name) if name in ("fsync", "rename", "_exit") else getattr(posix, name)
namespace["posix"] = Recorder()
"""
    assert qingcni.run("DEL", before=order).exit == 0
    assert trace.read_text().split() == ["fsync", "rename", "fsync", "_exit"]


# -- what it is made of -----------------------------------------------------------------------------------------------


def constants() -> dict[str, t.Any]:
    namespace: dict[str, t.Any] = {"__name__": "qingcni"}
    exec(compile(BODY.read_text(encoding="utf-8"), str(BODY), "exec"), namespace)
    return namespace


def test_its_constants_are_the_packages() -> None:
    assert constants()["SUPPORTED"] == spec.SUPPORTED
    assert constants()["PROTOCOL"] == wire.PROTOCOL
    assert constants()["MAX_BODY"] == wire.MAX_BODY
    names = ("IO_FAILURE", "BAD_CONFIG", "TRY_AGAIN", "NOT_AVAILABLE", "NO_AGENT", "INTERNAL")
    assert [constants()[name] for name in names] == [getattr(spec, name) for name in names]
    assert constants()["BAD_ANSWER"] == spec.PROTOCOL_MISMATCH


REPORT = """
import sys
bare = set(sys.modules)
import posix
class Reporter:
    def __getattr__(self, name):
        if name == "_exit":
            for new in set(sys.modules) - bare:
                origin = getattr(sys.modules[new].__spec__, "origin", "") or ""
                posix.write(2, f"{new} {origin}\\n".encode())
        return getattr(posix, name)
namespace["posix"] = Reporter()
"""


@pytest.mark.parametrize("verb", ["VERSION", "ADD", "DEL"])
def test_it_loads_c_modules_only(qingcni: Qingcni, verb: str) -> None:
    result = qingcni.run(verb, before=REPORT)
    for line in result.stderr.decode().splitlines():
        name, __, origin = line.partition(" ")
        assert origin == "built-in" or ".so" in origin, name


def test_a_usual_call_takes_no_parser(qingcni: Qingcni) -> None:
    """Loading one takes longer than all else that qingcni does."""
    result = json.dumps({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}], "odd": "a\\b"})
    report = REPORT.replace("bare = set(sys.modules)", "bare = set()")
    agent = FakeAgent(qingcni.address, answering(stdout=result))
    said = qingcni.run("ADD", before=report)
    agent.close()
    assert (said.exit, said.stdout) == (0, result.encode())
    loaded = {line.split()[0] for line in said.stderr.decode().splitlines()}
    assert "_socket" in loaded and "_json" not in loaded


WORDS = ("a", "é", '"', "\\", "\n", "/", ",", ":", "{", "}", '","stderr":""}', ',"stdout":"', "\udcff", "\x7f", "0")


def test_its_shortcuts_say_what_a_parser_and_an_encoder_say() -> None:
    body, dice, plain = constants(), random.Random(11), 0
    for __ in range(3000):
        text = "".join(dice.choices(WORDS, k=dice.randrange(8)))
        assert json.loads(body["_quote"](text)) == text
        stderr = dice.choice(["", "", text])
        answer = Answer("0a1b", dice.choice([0, 1, 1, 12, -1]), text, stderr)
        found = body["_plain_answer"](wire.encode_answer(answer)[4:], "0a1b")
        if found is not None:
            plain += 1
            assert found == (answer.exit, text.encode()) and stderr == ""
    assert plain > 300


@pytest.mark.parametrize(
    "answer",
    [
        b'{"id":"0a1b","exit":0,"stdout":"","more":"","stderr":""}',
        b'{"id":"0a1b","exit":0,"stdout":"","stderr":""}x',
        b'{"id":"ffff","exit":0,"stdout":"","stderr":""}',
        b'{"id":"0a1b","exit":"0","stdout":"","stderr":""}',
        b'{"id":"0a1b","exit":,"stdout":"","stderr":""}',
        b'{"id":"0a1b","exit":0,"stdout":"\\u00e9","stderr":""}',
        b'{"exit":0,"id":"0a1b","stdout":"","stderr":""}',
    ],
)
def test_an_unusual_answer_is_left_to_the_parser(answer: bytes) -> None:
    assert constants()["_plain_answer"](answer, "0a1b") is None


def test_the_body_runs_as_it_is_laid_on_nodes(tmp_path: Path) -> None:
    compiled = str(tmp_path / "qingcni.pyc")
    compile_ = f"import py_compile; py_compile.compile({str(BODY)!r}, {compiled!r}, doraise=True)"
    subprocess.run([PYTHON, "-c", compile_], check=True)
    launch = f"import marshal; exec(marshal.loads(open({compiled!r}, 'rb').read()[16:]), {{'__name__': '__main__'}})"
    env = {"CNI_COMMAND": "VERSION"}
    done = subprocess.run([PYTHON, "-I", "-S", "-c", launch], env=env, input=b"", capture_output=True, check=True)
    assert json.loads(done.stdout) == VERSIONS


def test_it_ends_without_a_trace_of_itself(qingcni: Qingcni) -> None:
    agent = FakeAgent(qingcni.address, answering())
    assert qingcni.run("ADD").exit == 0
    assert not qingcni.spool.exists()
    agent.close()
