# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's socket over real connections: order, lanes, hang-ups, bounds, stopping."""

from __future__ import annotations

import array
import contextlib
import gc
import json
import logging
import os
import random
import socket
import stat
import threading
import time
import typing as t
from pathlib import Path

import pytest

from hostnic import afterwards, wire
from hostnic.agent.lanes import LANES, lane_of
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.errors import InvalidConfig, VxnetFull
from hostnic.wire import Answer, Request
from tests.support.cni import eventually

Handler = t.Callable[[Request, t.Optional[int], t.Callable[[], bool]], Answer]


class Bench:
    """A server whose `cni` handler is the test's; `poke` wakes whoever waits in it."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "agent.sock")
        self.handler: Handler = lambda request, netns, cancelled: Answer(request.request_id, 0, "done")
        self.changed = threading.Condition()
        self.pokes = 0
        self.servers: list[Server] = []

    def serve(
        self, listener: t.Optional[socket.socket] = None, allowed_uid: int = os.getuid(), **options: t.Any
    ) -> Server:
        handlers: dict[str, Handler] = {
            "cni": self._call,
            "ping": lambda request, *__: Answer(request.request_id, 0, json.dumps({"pid": os.getpid()})),
        }
        door = UnixDoor(listener or listen_at(self.path), handlers, allowed_uid)
        server = Server([door], self.poke, **options)
        server.start()
        self.servers.append(server)
        return server

    def _call(self, request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        return self.handler(request, netns, cancelled)

    def poke(self) -> None:
        with self.changed:
            self.pokes += 1
            self.changed.notify_all()

    def wait_until(self, condition: t.Callable[[], bool], timeout: float = 20.0) -> bool:
        with self.changed:
            return self.changed.wait_for(condition, timeout)

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(self.path)
        return sock

    def send(self, verb: str = "ADD", name: str = "r", netns: t.Optional[int] = None, **rest: t.Any) -> socket.socket:
        sock = self.connect()
        message = wire.encode_request(
            Request(rest.pop("op", "cni"), name, wire.boottime() + 20, 0.0, {"CNI_COMMAND": verb}, **rest)
        )
        beside = [] if netns is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [netns]))]
        with contextlib.suppress(BrokenPipeError):  # refused while it was sent: `receive` tells
            sent = sock.sendmsg([message], beside)
            if sent < len(message):
                sock.sendall(message[sent:])
        return sock


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def receive(sock: socket.socket) -> t.Optional[Answer]:
    """None where the connection ends without an answer."""
    frame = wire.Frame()
    with sock:
        while True:
            try:
                data = sock.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            body = frame.feed(data)
            if body is not None:
                return wire.decode_answer(body)


@pytest.fixture
def bench(tmp_path: Path) -> t.Iterator[Bench]:
    threads = threading.active_count()
    one = Bench(tmp_path)
    yield one
    for server in one.servers:
        if server.alive():
            server.stop(0.0)
        server._doors[0].listener.close()
    eventually(lambda: threading.active_count() <= threads)
    gc.collect()


# -- one request ------------------------------------------------------------------------------------------------------


def test_a_request_is_answered_and_the_connection_closed(bench: Bench) -> None:
    bench.serve()
    with bench.send() as sock:
        data = sock.recv(65536)
        assert wire.decode_answer(data[4:]) == Answer("r", 0, "done")
        assert sock.recv(1) == b""


def test_what_can_wait_waits_until_the_caller_has_its_answer(bench: Bench) -> None:
    received, done = threading.Event(), threading.Event()

    def handler(request: Request, *__: t.Any) -> Answer:
        afterwards.do(lambda: done.set() if received.wait(20) else None)
        return Answer(request.request_id, 0)

    bench.handler = handler
    bench.serve()
    sock = bench.send()
    frame = sock.recv(65536)  # while that action still waits for it
    assert wire.decode_answer(frame[4:]) == Answer("r", 0)
    received.set()
    assert done.wait(20)
    sock.close()


def test_a_caller_with_its_answer_may_leave_before_what_could_wait_is_done(bench: Bench) -> None:
    answered = threading.Event()
    events: list[str] = []

    def leave() -> None:
        events.append("left" if answered.wait(20) else "no answer")

    def work(request: Request, *__: t.Any) -> Answer:
        afterwards.do(lambda: events.append("what could wait"))
        return Answer(request.request_id, 0, "done")

    bench.handler = work
    server = bench.serve(leave=leave)
    with bench.send() as caller:
        assert receive(caller) == Answer("r", 0, "done")
        assert events == []
        answered.set()
        server.stop(20)
    assert events == ["left", "what could wait"]


def test_the_descriptor_arrives_and_is_closed_afterwards(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "netns").write_text("inside")
    seen: list[tuple[t.Optional[int], int, bool]] = []

    def handler(request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        seen.append((netns, os.fstat(netns or -1).st_ino, os.get_inheritable(netns or -1)))
        return Answer(request.request_id, 0)

    bench.handler = handler
    bench.serve()
    before = descriptors()
    for __ in range(20):
        descriptor = os.open(tmp_path / "netns", os.O_RDONLY)
        sock = bench.send(netns=descriptor)
        os.close(descriptor)
        assert receive(sock) == Answer("r", 0)
    assert {inode for __, inode, __ in seen} == {(tmp_path / "netns").stat().st_ino}
    assert {inherited for __, __, inherited in seen} == {False}
    eventually(lambda: descriptors() == before)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_more_than_one_descriptor_is_no_request(bench: Bench, count: int) -> None:
    bench.serve()
    before = descriptors()
    sock = bench.connect()
    many = [os.open("/dev/null", os.O_RDONLY) for __ in range(count)]
    message = wire.encode_request(Request("cni", "r", wire.boottime() + 9))
    sock.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", many))])
    assert receive(sock) is None
    for descriptor in many:
        os.close(descriptor)
    eventually(lambda: descriptors() == before)


def test_a_request_may_come_in_pieces(bench: Bench) -> None:
    bench.serve()
    message = wire.encode_request(Request("cni", "r", wire.boottime() + 9, env={"CNI_COMMAND": "ADD"}))
    with bench.connect() as sock:
        for i in range(0, len(message), 7):
            sock.sendall(message[i : i + 7])
        assert receive(sock) == Answer("r", 0, "done")


def test_a_large_request_and_a_large_answer_arrive(bench: Bench) -> None:
    bench.handler = lambda request, netns, cancelled: Answer(request.request_id, 0, request.stdin)
    bench.serve()
    text = "x" * 1_000_000
    assert receive(bench.send(stdin=text)) == Answer("r", 0, text)


def test_an_answer_that_is_too_large_is_dropped_and_the_connection_closed(bench: Bench) -> None:
    bench.handler = lambda request, netns, cancelled: Answer(request.request_id, 0, "x" * wire.MAX_BODY)
    bench.serve()
    assert receive(bench.send()) is None


def test_other_ops_have_handlers_of_their_own(bench: Bench) -> None:
    bench.serve()
    assert wire.ask(bench.path, "ping") == {"pid": os.getpid()}


def test_an_unknown_op_is_refused_with_the_known_ones(bench: Bench) -> None:
    bench.serve()
    answer = receive(bench.send(op="\udc80what"))
    assert answer is not None
    assert answer.exit == 1
    assert "cni, ping" in json.loads(answer.stdout)["msg"]


def test_errors_and_defects_of_handlers_become_answers(bench: Bench) -> None:
    def full(request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        raise VxnetFull("no address left") if request.request_id == "a" else ZeroDivisionError

    bench.handler = full
    bench.serve()
    for name, code in (("a", 112), ("b", 102)):
        answer = receive(bench.send(name=name))
        assert answer is not None
        assert json.loads(answer.stdout)["code"] == code


def test_a_protocol_that_is_not_spoken_is_answered_with_101(bench: Bench) -> None:
    bench.serve()
    answer = receive(bench.send(protocol=7))
    assert answer is not None
    assert (answer.request_id, json.loads(answer.stdout)["code"]) == ("r", 101)


# -- who may ask, and how ---------------------------------------------------------------------------------------------


def test_another_uid_is_hung_up_on(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.serve(allowed_uid=os.getuid() + 1)
    assert receive(bench.send()) is None
    assert f"uid {os.getuid()}" in caplog.text


def test_the_sockets_file_is_for_its_owner_only(bench: Bench) -> None:
    listen_at(bench.path).close()
    assert stat.S_IMODE(Path(bench.path).stat().st_mode) == 0o600


def test_a_dead_agents_socket_is_replaced_and_a_living_ones_is_not(bench: Bench) -> None:
    listen_at(bench.path).close()
    bench.serve()
    assert receive(bench.send()) is not None
    with pytest.raises(InvalidConfig, match="another agent"):
        listen_at(bench.path)
    assert receive(bench.send()) is not None


def test_a_slow_caller_is_dropped_and_holds_nobody_up(bench: Bench) -> None:
    bench.serve(read_timeout=0.2)
    slow = bench.connect()
    slow.sendall(b"\0\0")
    assert receive(bench.send()) is not None
    started = time.monotonic()
    assert slow.recv(1) == b""
    assert time.monotonic() - started < 10


def test_bytes_that_are_no_request_end_the_connection(bench: Bench) -> None:
    bench.serve()
    for data in (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x02[]", b"\0\0\0\x03{}", b"GET / HTTP/1.1\r\n\r\n"):
        with bench.connect() as sock:
            sock.sendall(data + (b"}" if data.endswith(b"{}") else b""))
            assert receive(sock) is None


def test_the_server_survives_a_storm_of_garbled_messages(bench: Bench) -> None:
    calls: list[str] = []

    def handler(request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        calls.append(request.op)
        return Answer(request.request_id, 0)

    bench.handler = handler
    server = bench.serve(read_timeout=1.0)
    dice = random.Random(3)
    whole = wire.encode_request(Request("cni", "r", wire.boottime() + 20, env={"CNI_COMMAND": "ADD"}, stdin="{}"))
    for round_ in range(600):
        data = bytearray(whole)
        for __ in range(dice.randint(1, 5)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        if dice.random() < 0.3:
            data = data[: dice.randrange(len(data))]
        with bench.connect() as sock:
            beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()] * dice.randint(1, 3)))]
            try:
                sock.sendmsg([bytes(data)], beside if round_ % 3 == 0 else [])
                if dice.random() < 0.5:
                    sock.shutdown(socket.SHUT_WR)
                    receive(sock)
            except (BrokenPipeError, ConnectionResetError):
                pass
    assert server.alive()
    assert receive(bench.send()) == Answer("r", 0)
    eventually(lambda: not server._connections)


def test_callers_that_leave_in_every_moment_leave_nothing_behind(bench: Bench) -> None:
    server = bench.serve()
    before = descriptors()
    dice = random.Random(5)

    def call() -> None:
        for __ in range(60):
            sock = bench.send()
            if dice.random() < 0.5:
                sock.recv(4)
            sock.close()

    threads = [threading.Thread(target=call) for __ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert server.alive()
    assert receive(bench.send()) is not None
    eventually(lambda: descriptors() == before)


# -- order and lanes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "verb", "lane"),
    [
        ("cni", "ADD", "take"),
        ("cni", "DEL", "give"),
        ("cni", "CHECK", "look"),
        ("cni", "GC", "collect"),
        ("cni", "STATUS", "ask"),
        ("cni", "x", "ask"),
        ("pool", "ADD", "ask"),
    ],
)
def test_lanes(op: str, verb: str, lane: str) -> None:
    assert lane_of(Request(op, "r", 0.0, env={"CNI_COMMAND": verb})) == lane
    assert lane in LANES


def test_first_come_first_served(bench: Bench) -> None:
    order: list[str] = []
    open_, reached = threading.Event(), threading.Event()

    def handler(request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        order.append(request.request_id)
        reached.set()
        open_.wait(20)
        return Answer(request.request_id, 0)

    bench.handler = handler
    server = bench.serve(lanes={**LANES, "take": 1})
    waiting = [bench.send(name="0")]
    assert reached.wait(20)
    for number in range(1, 20):
        waiting.append(bench.send(name=str(number)))
        eventually(lambda n=number: len(server._lanes["take"]._queue) == n)  # type: ignore[misc]
    open_.set()
    for sock in waiting:
        assert receive(sock) is not None
    assert order == [str(number) for number in range(20)]


def test_waiting_adds_do_not_keep_a_del_or_a_question_waiting(bench: Bench) -> None:
    free: list[str] = []

    def handler(request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        if request.verb == "DEL":
            with bench.changed:
                free.append(request.request_id)
                bench.changed.notify_all()
        elif not bench.wait_until(lambda: len(free) == 3):
            raise ZeroDivisionError
        return Answer(request.request_id, 0)

    bench.handler = handler
    bench.serve()
    adds = [bench.send(name=f"add-{number}") for number in range(100)]
    assert wire.ask(bench.path, "ping")
    for number in range(3):
        assert receive(bench.send("DEL", f"del-{number}")) is not None
    for sock in adds:
        answer = receive(sock)
        assert answer is not None
        assert answer.exit == 0


def test_a_full_lane_refuses_with_try_again_and_lets_others_in(bench: Bench) -> None:
    open_ = threading.Event()

    def handler(request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        if request.verb == "ADD":
            open_.wait(20)
        return Answer(request.request_id, 0)

    bench.handler = handler
    server = bench.serve(lanes={**LANES, "take": 1}, max_connections=8)
    adds = []
    for number in range(5):  # one runs, four wait
        adds.append(bench.send(name=str(number)))
        eventually(lambda n=number: len(server._running) + len(server._lanes["take"]._queue) == n + 1)  # type: ignore[misc]
    refused = receive(bench.send(name="late"))
    assert refused is not None
    assert json.loads(refused.stdout)["code"] == 11
    assert receive(bench.send("DEL")) == Answer("r", 0)
    open_.set()
    for sock in adds:
        answer = receive(sock)
        assert answer is not None
        assert answer.exit == 0


def test_callers_beyond_the_room_wait_in_the_sockets_queue(bench: Bench) -> None:
    server = bench.serve(max_connections=4, read_timeout=20.0)
    silent = [bench.connect() for __ in range(4)]
    eventually(lambda: len(server._connections) == 4)
    late = bench.send()
    for sock in silent:
        sock.close()
    assert receive(late) is not None


# -- hanging up -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "shutdown"])
def test_who_hangs_up_is_noticed_while_the_request_runs(bench: Bench, how: str) -> None:
    reached, outcome = threading.Event(), []

    def handler(request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        reached.set()
        outcome.append(bench.wait_until(cancelled))
        return Answer(request.request_id, 1)

    bench.handler = handler
    bench.serve()
    sock = bench.send()
    assert reached.wait(20)
    if how == "close":
        sock.close()
    else:
        sock.shutdown(socket.SHUT_WR)
    eventually(lambda: outcome == [True])
    sock.close()


def test_who_hangs_up_while_queued_is_cancelled_when_its_turn_comes(bench: Bench) -> None:
    open_, reached, outcome = threading.Event(), threading.Event(), []

    def handler(request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        reached.set()
        if request.request_id == "first":
            open_.wait(20)
        outcome.append((request.request_id, cancelled()))
        return Answer(request.request_id, 0)

    bench.handler = handler
    bench.serve(lanes={**LANES, "take": 1})
    first = bench.send(name="first")
    assert reached.wait(20)
    bench.send(name="second").close()
    eventually(lambda: bench.pokes)
    open_.set()
    assert receive(first) is not None
    eventually(lambda: len(outcome) == 2)
    assert outcome == [("first", False), ("second", True)]


def test_who_has_its_answer_and_leaves_disturbs_nobody(bench: Bench) -> None:
    bench.serve()
    for __ in range(50):
        assert receive(bench.send()) is not None
    assert bench.pokes == 0


# -- stopping ---------------------------------------------------------------------------------------------------------


def test_stop_finishes_what_runs_and_closes_what_waits(bench: Bench) -> None:
    reached, open_ = threading.Event(), threading.Event()

    def handler(request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        reached.set()
        open_.wait(20)
        return Answer(request.request_id, 0, "finished")

    bench.handler = handler
    listener = listen_at(bench.path)
    server = bench.serve(listener, lanes={**LANES, "take": 1})
    running = bench.send(name="running")
    assert reached.wait(20)
    queued, silent = bench.send(name="queued"), bench.connect()
    eventually(lambda: len(server._connections) == 3 and len(server._lanes["take"]._queue) == 1)
    stopping = threading.Thread(target=server.stop, args=(20.0,))
    stopping.start()
    assert receive(queued) is None
    assert silent.recv(1) == b""
    late = bench.send(name="late")  # lies in the socket's queue
    open_.set()
    assert receive(running) == Answer("running", 0, "finished")
    stopping.join(20)
    assert not server.alive()
    bench.serve(listener)  # the next agent inherits the socket
    assert receive(late) == Answer("late", 0, "finished")


def test_what_does_not_finish_in_time_is_cancelled_and_closed_unanswered(bench: Bench) -> None:
    reached, outcome = threading.Event(), []

    def handler(request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        reached.set()
        outcome.append(bench.wait_until(cancelled))
        return Answer(request.request_id, 1, "{}")

    bench.handler = handler
    server = bench.serve()
    sock = bench.send()
    assert reached.wait(20)
    server.stop(0.05)
    assert outcome == [True]
    assert receive(sock) is None


def test_what_is_done_is_told_even_when_it_was_late(bench: Bench) -> None:
    reached = threading.Event()

    def handler(request: Request, netns: t.Optional[int], cancelled: t.Callable[[], bool]) -> Answer:
        reached.set()
        bench.wait_until(cancelled)
        return Answer(request.request_id, 0, "committed")

    bench.handler = handler
    server = bench.serve()
    sock = bench.send()
    assert reached.wait(20)
    server.stop(0.05)
    assert receive(sock) == Answer("r", 0, "committed")


def test_nothing_of_the_server_is_left(bench: Bench) -> None:
    before = descriptors(), threading.active_count()
    listener = listen_at(bench.path)
    server = bench.serve(listener)
    for __ in range(5):
        receive(bench.send())
    server.stop(1.0)
    listener.close()
    eventually(lambda: (descriptors(), threading.active_count()) == before)


def test_many_at_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.serve()
    caplog.set_level(logging.WARNING)
    answers: list[t.Optional[Answer]] = []

    def call(number: int) -> None:
        for verb in ("ADD", "DEL"):
            answers.append(receive(bench.send(verb, f"{verb}-{number}")))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 300
    assert all(answer is not None and answer.exit == 0 for answer in answers)
    assert not caplog.records
