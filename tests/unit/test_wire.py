# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import random
import socket
import threading
import typing as t
from pathlib import Path

import pytest

from hostnic import wire
from hostnic.errors import HostnicError, Timeout, Unreachable
from hostnic.wire import Answer, Frame, ProtocolMismatch, Request, WireError

REQUEST = Request(
    op="cni",
    request_id="a1",
    deadline=12.5,
    asked_at=2.25,
    env={"CNI_COMMAND": "ADD", "CNI_ARGS": 'K="ü"\udc80'},
    stdin='{"name": "\udcff\n"}',
    netns_error="No such file or directory",
    params={"x": [1, None]},
)


def body(message: bytes) -> bytes:
    frame = Frame()
    found = frame.feed(message)
    assert found is not None
    return found


def test_a_request_arrives_as_it_was_sent() -> None:
    message = wire.encode_request(REQUEST)
    assert wire.decode_request(body(message)) == REQUEST
    assert int.from_bytes(message[:4], "big") == len(message) - 4
    assert message[4:].isascii()


def test_an_answer_arrives_as_it_was_sent() -> None:
    answer = Answer("a1", 1, "out\udc80", "err")
    assert wire.decode_answer(body(wire.encode_answer(answer))) == answer


def test_bytes_that_are_not_utf8_survive_the_way_there_and_back() -> None:
    raw = b"/run/netns/\xff\xfe\x80"
    request = wire.decode_request(
        body(wire.encode_request(Request("cni", "a", 1.0, env={"CNI_NETNS": raw.decode("utf-8", "surrogateescape")})))
    )
    assert request.env["CNI_NETNS"].encode("utf-8", "surrogateescape") == raw


def test_a_message_may_arrive_byte_by_byte() -> None:
    message = wire.encode_request(REQUEST)
    frame = Frame()
    for i in range(len(message) - 1):
        assert frame.feed(message[i : i + 1]) is None
    assert frame.feed(message[-1:]) == message[4:]


@pytest.mark.parametrize(
    "data",
    [b"\0\0\0\0", b"\xff\xff\xff\xff", (wire.MAX_BODY + 1).to_bytes(4, "big"), b"\0\0\0\x02{}more"],
    ids=["empty", "4 GiB", "one byte too much", "bytes after the end"],
)
def test_a_frame_has_bounds(data: bytes) -> None:
    with pytest.raises(WireError):
        Frame().feed(data)


def test_a_message_of_the_largest_size_is_read_and_a_larger_one_is_not_sent() -> None:
    largest = b"x" * wire.MAX_BODY
    assert Frame().feed(len(largest).to_bytes(4, "big") + largest) == largest
    with pytest.raises(WireError, match="allowed"):
        wire.encode_answer(Answer("a", 0, "x" * wire.MAX_BODY))


MESSAGE: dict[str, t.Any] = {"protocol": 1, "id": "a", "op": "cni", "deadline": 1.0, "env": {}, "stdin": ""}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"protocol": None}, "protocol"),
        ({"protocol": True}, "protocol"),
        ({"protocol": 1.0}, "protocol"),
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"op": []}, "op"),
        ({"deadline": "soon"}, "deadline"),
        ({"deadline": True}, "deadline"),
        ({"deadline": 10**400}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
        ({"deadline": 1e12}, "deadline"),
        ({"asked_at": -1e12}, "asked_at"),
        ({"asked_at": float("inf")}, "asked_at"),
        ({"env": []}, "env"),
        ({"env": {"CNI_COMMAND": 1}}, "env"),
        ({"stdin": None}, "stdin"),
        ({"netns_error": 1}, "netns_error"),
        ({"params": "x"}, "params"),
    ],
)
def test_a_wrong_request_is_named(changes: dict[str, t.Any], named: str) -> None:
    with pytest.raises(WireError, match=named):
        wire.decode_request(json.dumps({**MESSAGE, **changes}).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b"\xff", b"[" * 100_000, b'{"a":' * 50_000])
def test_what_is_no_json_object_is_a_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode_request(data)


@pytest.mark.parametrize("changes", [{"exit": "0"}, {"exit": True}, {"id": ""}, {"stdout": 1}])
def test_a_wrong_answer_is_a_wire_error(changes: dict[str, t.Any]) -> None:
    with pytest.raises(WireError):
        wire.decode_answer(json.dumps({"id": "a", "exit": 0, "stdout": "", **changes}).encode())


def test_unknown_keys_are_the_next_protocols_business() -> None:
    assert wire.decode_request(json.dumps({**MESSAGE, "trace": {}}).encode()).request_id == "a"


@pytest.mark.parametrize(("protocol", "newest", "served"), [(1, 1, True), (1, 2, True), (2, 2, True), (1, 3, False)])
def test_the_newest_protocol_and_the_one_before_are_served(protocol: int, newest: int, served: bool) -> None:
    data = json.dumps({**MESSAGE, "protocol": protocol}).encode()
    if served:
        assert wire.decode_request(data, newest).protocol == protocol
    else:
        with pytest.raises(ProtocolMismatch) as caught:
            wire.decode_request(data, newest)
        assert caught.value.details["request_id"] == "a"


@pytest.mark.parametrize("protocol", [0, -1, 2, 10**30])
def test_other_protocols_are_refused(protocol: int) -> None:
    with pytest.raises(ProtocolMismatch, match="one release"):
        wire.decode_request(json.dumps({**MESSAGE, "protocol": protocol}).encode())


def test_garbled_messages_are_never_anything_but_wire_errors() -> None:
    dice = random.Random(1)
    whole = wire.encode_request(REQUEST)
    for __ in range(3000):
        data = bytearray(whole)
        for __ in range(dice.randint(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            found = Frame().feed(bytes(data))
            if found is not None:
                wire.decode_request(found)
        except WireError:
            pass


# -- asking -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def agent(tmp_path: Path) -> t.Iterator[t.Callable[[t.Callable[[socket.socket, Request], None]], str]]:
    """Serves one connection with the given function; returns the socket's path."""
    with socket.socket(socket.AF_UNIX) as listener:
        path = str(tmp_path / "s")
        listener.bind(path)
        listener.listen()

        def serve(behaviour: t.Callable[[socket.socket, Request], None]) -> str:
            def run() -> None:
                connection, __ = listener.accept()
                with connection:
                    behaviour(connection, wire.decode_request(body(connection.recv(65536))))

            threading.Thread(target=run, daemon=True).start()
            return path

        yield serve


Agent = t.Callable[[t.Callable[[socket.socket, Request], None]], str]


def test_ask_returns_the_value_of_the_answer(agent: Agent) -> None:
    def behaviour(connection: socket.socket, request: Request) -> None:
        told = json.dumps({"op": request.op, "params": dict(request.params)})
        connection.sendall(wire.encode_answer(Answer(request.request_id, 0, told)))

    assert wire.ask(agent(behaviour), "pool", {"n": 1}) == {"op": "pool", "params": {"n": 1}}


def test_ask_raises_the_agents_own_words(agent: Agent) -> None:
    def behaviour(connection: socket.socket, request: Request) -> None:
        connection.sendall(wire.encode_answer(Answer(request.request_id, 1, json.dumps({"msg": "no such thing"}))))

    with pytest.raises(HostnicError, match="no such thing"):
        wire.ask(agent(behaviour), "pool")


def test_ask_says_that_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="systemctl status"):
        wire.ask(str(tmp_path / "s"), "ping")


def test_ask_says_that_the_agent_hung_up(agent: Agent) -> None:
    with pytest.raises(Unreachable, match="closed"):
        wire.ask(agent(lambda connection, request: None), "ping")


def test_ask_gives_up_at_its_deadline(agent: Agent) -> None:
    release = threading.Event()
    path = agent(lambda connection, request: t.cast(None, release.wait(30)))
    with pytest.raises(Timeout):
        wire.ask(path, "ping", timeout=0.05)
    release.set()
