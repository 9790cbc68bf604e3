# SPDX-License-Identifier: GPL-3.0-or-later
"""Network configurations: good ones that are spoilt, each in a way of which it is known what has to come of it."""

from __future__ import annotations

import copy
import json
import random
import typing as t

from tests.support.fuzz.case import CONFIG, ENV, SUCCESS, Case, one_of
from tests.support.fuzz.text import spoilt, strange

VALID: t.Final = "cni.dev/valid-attachments"
STANDING, IFNAME = "standing", "eth7"  # network and container, and interface, of an attachment that stands
FULL: t.Final[t.Mapping[str, t.Any]] = {
    **CONFIG,
    "isGateway": True,
    "ipMasq": True,
    "args": {"BindAddr": "127.0.0.1:31080"},
    "ipam": {"routes": [{"dst": "10.96.0.0/12", "gw": "0.0.0.0"}, {"dst": "10.97.0.0/16"}]},
    "vxnet": "vxnet-pods001",
    "policy": "FailRotate",
    "mtu": 1400,
    "defaultRoute": "router",
    "keepAddress": "10m",
    "logLevel": "error",
    "dns": {"nameservers": ["10.0.0.2"], "domain": "a.example", "search": ["b.example"], "options": ["rotate"]},
    "runtimeConfig": {
        "dns": {"servers": ["10.0.0.3"], "searches": ["c.example"], "options": ["rotate"]},
        "io.kubernetes.cri.pod-annotations": {"qingcloud.cni/keep": "5m"},
        "portMappings": [{"hostPort": 80, "containerPort": 80}],
    },
    "prevResult": {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "tun0", "mac": "02:00:00:00:00:01"}],
        "ips": [{"address": "10.9.0.2/24", "interface": 0}],
        "routes": [],
        "dns": {},
    },
}
TEXT, YES_NO, NUMBER, LIST, OBJECT = "text", "yes or no", "number", "list", "object"
# Where a value of one kind alone is right. Those of `LOOSE` are taken for absent where they are empty of any kind.
KINDS: t.Final[tuple[tuple[tuple[t.Union[str, int], ...], str], ...]] = (
    (("name",), TEXT), (("cniVersion",), TEXT), (("type",), TEXT), (("isGateway",), YES_NO), (("ipMasq",), YES_NO),
    (("args",), OBJECT), (("args", "BindAddr"), TEXT), (("ipam",), OBJECT), (("ipam", "routes"), LIST),
    (("ipam", "routes", 0), OBJECT), (("ipam", "routes", 0, "dst"), TEXT), (("ipam", "routes", 0, "gw"), TEXT),
    (("vxnet",), TEXT), (("policy",), TEXT), (("mtu",), NUMBER), (("defaultRoute",), TEXT), (("keepAddress",), TEXT),
    (("logLevel",), TEXT), (("dns",), OBJECT), (("dns", "nameservers"), LIST), (("dns", "nameservers", 0), TEXT),
    (("dns", "search"), LIST), (("dns", "options"), LIST), (("dns", "domain"), TEXT), (("runtimeConfig",), OBJECT),
    (("runtimeConfig", "ips"), LIST), (("runtimeConfig", "mac"), TEXT), (("runtimeConfig", "dns"), OBJECT),
    (("runtimeConfig", "dns", "servers"), LIST), (("runtimeConfig", "dns", "searches"), LIST),
    (("runtimeConfig", "io.kubernetes.cri.pod-annotations"), OBJECT),
    (("runtimeConfig", "io.kubernetes.cri.pod-annotations", "qingcloud.cni/keep"), TEXT),
    (("prevResult",), OBJECT), (("prevResult", "interfaces"), LIST), (("prevResult", "ips"), LIST),
    (("prevResult", "routes"), LIST), (("prevResult", "dns"), OBJECT), (("vxnets",), LIST), (("vxnets", 0), TEXT),
)  # fmt: skip
LOOSE: t.Final = frozenset(("ips", "mac", "servers", "searches"))
VALUES: t.Final[tuple[tuple[str, t.Any], ...]] = (
    (TEXT, "x"), (YES_NO, True), (NUMBER, 7), (NUMBER, -1), (NUMBER, 10**40), ("fraction", 1.5), ("fraction", 1e308),
    (LIST, [1]), (LIST, [[]]), (OBJECT, {"x": 1}), (OBJECT, {"": None}), (TEXT, "\ud800"), (TEXT, "x" * 5000),
)  # fmt: skip
EMPTY: t.Final[tuple[tuple[str, t.Any], ...]] = ((TEXT, ""), (YES_NO, False), (NUMBER, 0), (LIST, []), (OBJECT, {}))
# Words that mean nothing where they stand.
MEANINGLESS: t.Final[tuple[tuple[str, t.Any], ...]] = (
    ("policy", "Rotate"), ("defaultRoute", "host"), ("logLevel", "loud"), ("keepAddress", "soon"), ("mtu", 67),
    ("mtu", 10**9), ("mtu", -1), ("args", {"bindADDR": "192.0.2.1:1"}), ("ipam", {"routes": [{"dst": "10.0.0.0/33"}]}),
    ("ipam", {"routes": [{"dst": "10.0.0.0"}]}), ("ipam", {"routes": [{"dst": "::/0"}]}), ("ipam", {"routes": [{}]}),
    ("ipam", {"routes": [{"dst": "10.0.0.0/8", "gw": "10"}]}), ("isgateway", True), ("default_route", "none"),
    ("vxnets", ["vxnet-pods001"]), ("runtimeConfig", {"ips": ["x"]}), ("runtimeConfig", {"ips": ["10.0.0.1"] * 2}),
    ("runtimeConfig", {"mac": "52:54"}), ("runtimeConfig", {"ips": ["fd00::1"]}), ("name", "a b"), ("name", ""),
)  # fmt: skip
_GONE: t.Final = object()


def configuration(dice: random.Random) -> Case:
    make = dice.choice((_broken_json, _other_kind, _other_kind, _meaningless, _anything, _list_of_gc, _for_a_del))
    return make(dice)


def _case(verb: str, text: str, ends: t.Optional[frozenset[int]], patience: float = 20.0) -> Case:
    return Case(ends, {**ENV, "CNI_COMMAND": verb}, text, patience=patience)


def _broken_json(dice: random.Random) -> Case:
    """Code 6, whatever the verb."""
    text = json.dumps(FULL, ensure_ascii=dice.random() < 0.5)
    deep = dice.choice((2000, 100_000))
    broken = dice.choice(
        (
            text[: dice.randrange(len(text))],
            text + dice.choice(("x", "}", ",", "{}", "\0", "//")),
            text.replace(":", dice.choice(("=", "", "::", "\0")), 1),
            text.replace('"', dice.choice(("'", "", "\udc80")), 1),
            text.replace('"qingcni"', dice.choice(('"\n"', '"\\x"', '"\\ud8"', "01", "+1", ".5", "TRUE", "undefined"))),
            dice.choice(("", " ", "null", "[]", "7", '"text"', "NaN", "true", "\ufeff{}", "\udcff", "\0")),
            json.dumps([FULL]),
            "[" * deep,
            '{"x":' * deep,
            text[:-1] + ', "x": ' + "[" * deep + "]" * deep + "}",
        )
    )
    return _case(dice.choice(("ADD", "DEL", "CHECK", "GC", "STATUS")), broken, one_of(6))


def _other_kind(dice: random.Random) -> Case:
    path, kind = dice.choice(KINDS)
    loose = path[-1] in LOOSE
    wrong = [value for other, value in (VALUES if loose else VALUES + EMPTY) if other != kind]
    config = _with(path, copy.deepcopy(dice.choice(wrong)))
    verb = dice.choice(("ADD", "ADD", "STATUS", "CHECK"))
    return _case(verb, json.dumps(config), one_of(7))


def _meaningless(dice: random.Random) -> Case:
    key, value = dice.choice(MEANINGLESS)
    verb = "ADD" if key in ("isgateway", "default_route") else dice.choice(("ADD", "STATUS", "CHECK"))
    return _case(verb, json.dumps({**FULL, key: value}), one_of(7))


def _for_a_del(dice: random.Random) -> Case:
    """No value keeps a DEL from working but name and version."""
    path, __ = dice.choice([one for one in KINDS if one[0][0] not in ("name", "cniVersion")])
    config = _with(path, _value(dice, VALUES + EMPTY))
    if dice.random() < 0.5:
        config["logLevel"] = _value(dice, VALUES)
    return _case("DEL", json.dumps(config), one_of(SUCCESS))


def _list_of_gc(dice: random.Random) -> Case:
    """A list that is none releases nothing; what is listed stays."""
    good = {"containerID": STANDING, "ifname": IFNAME}
    wrong: t.Any = dice.choice(
        (
            _GONE, None, {}, "all", 0, False, good, [None], [[]], [{}], [good, None], [good, {"containerID": STANDING}],
            [{**good, "ifname": ""}], [{**good, "containerID": 7}], [{**good, "containerID": None}],
            [{"containerId": STANDING, "ifname": IFNAME}], [good, strange(dice)],
        )
    )  # fmt: skip
    config: dict[str, t.Any] = {**CONFIG, "name": STANDING, VALID: wrong}
    if wrong is _GONE:
        del config[VALID]
    if dice.random() < 0.2:
        config[VALID] = [
            good,
            {"containerID": "x", "ifname": spoilt(dice, "eth0") or "x"},
            {**good, "x": strange(dice)},
        ]
        return _case("GC", json.dumps(config), one_of(SUCCESS))
    return _case("GC", json.dumps(config), one_of(7))


def _anything(dice: random.Random) -> Case:
    """Whatever comes of it is documented, and can be undone."""
    config: t.Any = copy.deepcopy(dict(FULL))
    for __ in range(dice.choice((1, 1, 2, 4))):
        if len(json.dumps(config)) < 20_000:
            _spoil(dice, config)
    text = json.dumps(config)
    if dice.random() < 0.2:  # the last of two keys counts
        text = text[:-1] + f', "{dice.choice(list(FULL))}": {json.dumps(_value(dice, VALUES))}}}'
    if dice.random() < 0.1:
        text = text.replace("1400", dice.choice(("NaN", "Infinity", "-Infinity", "1e9999", "1" * 5000, "14e2", "-0")))
    verb = dice.choice(("ADD", "ADD", "STATUS", "CHECK", "DEL"))
    nothing_to_check = one_of(1, 6, 7, 11, 118) if verb == "CHECK" else None
    return _case(verb, text, nothing_to_check, patience=0.1)


def _value(dice: random.Random, among: t.Sequence[tuple[str, t.Any]]) -> t.Any:
    return copy.deepcopy(dice.choice(among)[1])


def _spoil(dice: random.Random, config: t.Any) -> None:
    """At a random place: replaced, removed, doubled, nested."""
    place = config
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = dice.choice(keys)
        if not isinstance(place[key], (dict, list)) or not place[key] or dice.random() < 0.3:
            break
        place = place[key]
    kind = dice.randrange(5)
    if kind == 0:
        del place[key]
    elif kind == 1:
        place[key] = spoilt(dice, place[key]) if isinstance(place[key], str) else _value(dice, EMPTY)
    elif kind == 2:
        place[key] = [copy.deepcopy(place[key])] * dice.choice((1, 2, 20))
    elif kind == 3 and isinstance(place, dict):
        place[strange(dice)] = place[key]
    else:
        place[key] = _value(dice, VALUES)


def _with(path: tuple[t.Union[str, int], ...], value: t.Any) -> dict[str, t.Any]:
    """FULL with this value there. `vxnets` takes the place of `vxnet`."""
    config: dict[str, t.Any] = copy.deepcopy(dict(FULL))
    if path[0] == "vxnets":
        del config["vxnet"]
        config["vxnets"] = ["vxnet-pods001"]
    place: t.Any = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return config
