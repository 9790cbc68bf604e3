# SPDX-License-Identifier: GPL-3.0-or-later
"""Wire messages: lengths that lie, bytes that are none, fields of other kinds, descriptors, senders without haste."""

from __future__ import annotations

import json
import random
import typing as t

from hostnic import wire
from tests.support.fuzz.case import CLOSED, CONFIG, ENV, SUCCESS, Case, one_of
from tests.support.fuzz.text import strange

NO_NETNS: t.Final = ("null", "pipe", "socket", "file", "directory", "mount namespace", "epoll")
BAD: t.Final[tuple[t.Any, ...]] = (None, True, 7, -1, 1.5, 10**400, "x", "", [], {}, [1], {"x": 1}, "1", [[]])
FAR: t.Final = 9e8  # s after the boot; the same case is the same bytes at any time
QUESTIONS: t.Final = ("ping", "pool", "leases", "explain", "release")


def message(dice: random.Random) -> Case:
    make = dice.choice((_length, _garbage, _body, _field, _protocol, _descriptors, _descriptors, _op, _time, _pieces))
    return make(dice)


def _request(verb: str = "ADD", **changes: t.Any) -> dict[str, t.Any]:
    request = {
        "protocol": wire.PROTOCOL,
        "id": "fuzz",
        "op": "cni",
        "deadline": FAR,
        "asked_at": 0.0,
        "env": {**ENV, "CNI_COMMAND": verb},
        "stdin": json.dumps(CONFIG),
        "netns_error": "",
        "params": {},
    }
    return {**request, **changes}


def _frame(body: bytes, length: t.Optional[int] = None) -> bytes:
    return (len(body) if length is None else length).to_bytes(4, "big") + body


def _encoded(request: t.Any) -> bytes:
    return _frame(json.dumps(request).encode("ascii"))


def _length(dice: random.Random) -> Case:
    body = json.dumps(_request()).encode("ascii")
    lie = dice.choice((0, 1, len(body) - 1, dice.randrange(len(body)), wire.MAX_BODY + 1, 0xFFFFFFFF))
    if dice.random() < 0.1:
        return Case(one_of(CLOSED), raw=_frame(body, len(body) + dice.randrange(1, 5000)), stalls=True)
    return Case(one_of(CLOSED), raw=_frame(body, lie))


def _garbage(dice: random.Random) -> Case:
    data = dice.choice(
        (
            dice.randbytes(dice.choice((1, 3, 4, 5, 64, 5000))),
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            json.dumps(_request()).encode("ascii"),
            b"\0" * 64,
            b"\xff" * 64,
        )
    )
    length = int.from_bytes(data[:4], "big")
    # a length that is possible has the agent wait for the rest
    waits = len(data) < 4 or (0 < length <= wire.MAX_BODY and length > len(data) - 4)
    return Case(one_of(CLOSED), raw=data, stalls=waits)


def _body(dice: random.Random) -> Case:
    whole = json.dumps(_request())
    at = dice.randrange(len(whole))
    deep = dice.choice((2000, 100_000))
    body = dice.choice(
        (
            whole[:at].encode(),
            whole.encode() + b"x",
            whole.encode("utf-16"),
            b"\xef\xbb\xbf" + whole.encode(),
            whole.replace("ADD", "\xe4").encode("latin-1"),
            json.dumps([_request()]).encode(),
            b"null",
            b"[" * deep,
            b'{"a":' * deep,
            b"\0" * 9,
            dice.randbytes(100),
        )
    )
    return Case(one_of(CLOSED), raw=_frame(body or b" "))


def _field(dice: random.Random) -> Case:
    """Of another kind."""
    name = dice.choice(("id", "op", "deadline", "asked_at", "env", "stdin", "netns_error", "params", "verb"))
    if name == "verb":
        return Case(one_of(CLOSED), raw=_encoded(_request(env={**ENV, "CNI_COMMAND": dice.choice((7, None, [], {}))})))
    kinds: dict[str, t.Any] = {"deadline": (int, float), "asked_at": (int, float), "env": dict, "params": dict}
    wrong = [bad for bad in BAD if not isinstance(bad, kinds.get(name, str)) or isinstance(bad, bool)]
    changes: dict[str, t.Any] = {name: dice.choice(wrong)}
    return Case(one_of(CLOSED), raw=_encoded({**_request(), **changes}))


def _protocol(dice: random.Random) -> Case:
    number = dice.choice((0, 2, 3, -1, 10**30))
    if dice.random() < 0.5:
        return Case(one_of(101), raw=_encoded(_request(protocol=number)))
    return Case(one_of(CLOSED), raw=_encoded(_request(protocol=dice.choice((None, True, "1", 1.0, [], {})))))


def _descriptors(dice: random.Random) -> Case:
    if dice.random() < 0.3:
        several = tuple(dice.choice(("netns", *NO_NETNS)) for __ in range(dice.randrange(2, 9)))
        return Case(one_of(CLOSED), raw=_encoded(_request()), descriptors=several)
    one = () if dice.random() < 0.1 else (dice.choice(NO_NETNS),)
    verb = dice.choice(("ADD", "DEL", "CHECK"))
    ends = {"ADD": one_of(8), "DEL": one_of(SUCCESS), "CHECK": one_of(8)}[verb]
    previous = {"cniVersion": "1.1.0", "interfaces": []}
    stdin = json.dumps({**CONFIG, "prevResult": previous} if verb == "CHECK" else CONFIG)
    error = strange(dice).encode("utf-8", "replace").decode() if dice.random() < 0.5 else ""
    return Case(ends, raw=_encoded(_request(verb, stdin=stdin, netns_error=error)), descriptors=one)


def _op(dice: random.Random) -> Case:
    if dice.random() < 0.5:
        return Case(
            one_of(101), raw=_encoded(_request(op=dice.choice(("CNI", "shutdown", "\udc80", "x" * 9999, " cni"))))
        )
    question = dice.choice(QUESTIONS)
    params = {dice.choice(("address", "x", "")): dice.choice((strange(dice), *BAD[:-3]))}
    ends = one_of(116) if question == "release" else one_of(SUCCESS)
    return Case(ends, raw=_encoded(_request(op=question, params=params)), descriptors=())


def _time(dice: random.Random) -> Case:
    if dice.random() < 0.5:
        word = dice.choice(("NaN", "Infinity", "-Infinity", "1e999", "1e308", "-1e308", "1e12", "9" * 400))
        name, waits = dice.choice(("deadline", "asked_at")), json.dumps({**CONFIG, "vxnet": "vxnet-nowhere"})
        text = json.dumps(_request(stdin=waits, **{name: "@"})).replace('"@"', word)
        return Case(one_of(CLOSED), raw=_frame(text.encode()))
    return Case(one_of(11), raw=_encoded(_request(deadline=dice.choice((0, -1, -8e8, 1.0)))))


def _pieces(dice: random.Random) -> Case:
    """Good or bad, in pieces; some never end."""
    whole = _encoded(_request("DEL"))
    sizes = tuple(dice.choice((1, 2, 3, 50)) for __ in range(dice.randrange(1, 8)))
    if dice.random() < 0.2:
        return Case(one_of(CLOSED), raw=whole[: dice.randrange(1, len(whole))], pieces=sizes, stalls=True)
    return Case(one_of(SUCCESS), raw=whole, pieces=sizes)
