# SPDX-License-Identifier: GPL-3.0-or-later
"""The rim: a request in, an answer out, for every version, with descriptors of real files."""

from __future__ import annotations

import json
import logging
import os
import random
import string
import typing as t
from pathlib import Path

import pytest

from hostnic import wire
from hostnic.cni import loglevel, netns, plugin, skel, spec
from hostnic.cni.plugin import Plugin
from hostnic.cni.verbs import Verbs
from hostnic.errors import LinkFailed, PoolEmpty, QuotaExceeded
from hostnic.states import State
from hostnic.wire import Answer, Request
from tests.support.cni import KEY, ScriptedLinks, ScriptedPool, nic

OWN_ADDRESS = "127.0.0.1:31080"
ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}


class Bench:
    """A plugin for which the test's own netns is a pod's, since `host` is another. `more`: NICs beside the first."""

    def __init__(self, host: netns.Identity = (0, 0), more: int = 0) -> None:
        self.one = nic(1)
        others = [nic(number) for number in range(2, 2 + more)]
        self.pool = ScriptedPool(self.one, *others)
        self.links = ScriptedLinks(self.one.nic_id, *(other.nic_id for other in others))
        self.plugin = Plugin(Verbs(self.pool, self.links, wire.boottime), OWN_ADDRESS, wire.boottime, lambda: [host])
        self.netns = os.open("/proc/self/ns/net", os.O_RDONLY)

    def ask(
        self,
        verb: str = "ADD",
        descriptor: t.Optional[int] = -1,
        env: t.Optional[dict[str, str]] = None,
        deadline: float = 10.0,
        netns_error: str = "",
        **config: t.Any,
    ) -> Answer:
        request = Request(
            "cni",
            "r1",
            wire.boottime() + deadline,
            wire.boottime(),
            {**ENV, "CNI_COMMAND": verb, **(env or {})},
            json.dumps({"cniVersion": "1.0.0", "name": "pods", "type": "qingcni", **config}),
            netns_error,
        )
        return self.plugin.handle(request, self.netns if descriptor == -1 else descriptor, lambda: False)


@pytest.fixture
def bench() -> t.Iterator[Bench]:
    one = Bench()
    yield one
    os.close(one.netns)


@pytest.fixture
def wide() -> t.Iterator[Bench]:
    """With a NIC for each of three pods."""
    one = Bench(more=2)
    yield one
    os.close(one.netns)


def error(answer: Answer) -> dict[str, t.Any]:
    assert answer.exit == 1
    told: dict[str, t.Any] = json.loads(answer.stdout)
    assert set(told) == {"cniVersion", "code", "msg", "details"}
    return told


@pytest.mark.parametrize("version", spec.SUPPORTED)
def test_add_and_del_in_every_version(bench: Bench, version: str) -> None:
    answer = bench.ask(cniVersion=version)
    assert (answer.request_id, answer.exit, answer.stderr) == ("r1", 0, "")
    result = json.loads(answer.stdout)
    assert result["cniVersion"] == version
    if version < "0.3.0":
        assert result["ip4"]["ip"] == "172.16.1.101/24"
    else:
        (interface,) = result["interfaces"]
        assert (interface["name"], interface["mac"], interface["sandbox"]) == ("eth0", bench.one.nic_id, "/run/netns/x")
        assert result["ips"][0]["address"] == "172.16.1.101/24"
        assert ("version" in result["ips"][0]) is (version < "1.0.0")
    assert bench.pool.leases[KEY].netns_inode == os.fstat(bench.netns).st_ino
    assert bench.ask("DEL", cniVersion=version) == Answer("r1", 0)
    assert bench.pool.leases == {}


def test_what_came_before_in_the_chain_is_passed_on(bench: Bench) -> None:
    answer = bench.ask(prevResult={"interfaces": [{"name": "br0"}]})
    assert [interface["name"] for interface in json.loads(answer.stdout)["interfaces"]] == ["br0", "eth0"]


def test_the_originals_configuration_works_unchanged(bench: Bench) -> None:
    answer = bench.ask(
        cniVersion="0.3.1",
        isGateway=True,
        args={"BindAddr": OWN_ADDRESS},
        ipMasq=True,
        ipam={"routes": [{"dst": "10.96.0.0/12", "gw": "0.0.0.0"}]},
    )
    assert [route["dst"] for route in json.loads(answer.stdout)["routes"]] == [
        "0.0.0.0/0",
        "10.96.0.0/12",
        "172.16.0.11/32",
    ]


# -- the netns --------------------------------------------------------------------------------------------------------


def test_an_add_without_a_descriptor_says_why(bench: Bench) -> None:
    told = error(bench.ask(descriptor=None, netns_error="No such file or directory"))
    assert told["code"] == 8
    assert "/run/netns/x" in told["msg"]
    assert "No such file" in told["msg"]
    assert bench.pool.calls == []


@pytest.mark.parametrize("kind", ["file", "directory", "pipe", "null", "another namespace"])
def test_a_descriptor_that_is_no_netns_is_refused_before_anything_happens(
    bench: Bench, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "file").touch()
    others: list[int] = []
    if kind == "pipe":
        descriptor, other = os.pipe()
        others.append(other)
    else:
        path = {
            "file": str(tmp_path / "file"),
            "directory": str(tmp_path),
            "null": "/dev/null",
            "another namespace": "/proc/self/ns/uts",
        }[kind]
        descriptor = os.open(path, os.O_RDONLY)
    told = error(bench.ask(descriptor=descriptor))
    assert (told["code"], told["msg"]) == (8, "CNI_NETNS is not a network namespace")
    assert bench.pool.calls == []
    bench.ask()
    assert bench.ask("DEL", descriptor=descriptor).exit == 0  # it is looked for elsewhere
    assert bench.links.calls[-1] == ("from_pod", bench.one.nic_id, None, "eth0", 0)
    for one in (descriptor, *others):
        os.close(one)


def test_the_hosts_own_netns_is_refused_for_an_add() -> None:
    bench = Bench(netns.own())
    told = error(bench.ask())
    assert told["code"] == 8
    assert "should not be the same" in told["msg"]
    assert bench.ask("DEL").exit == 0
    os.close(bench.netns)


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "code"), [(PoolEmpty("a"), 11), (QuotaExceeded("b"), 113), (LinkFailed("c"), 111), (OSError("d"), 102)]
)
def test_whatever_goes_wrong_becomes_an_error_object(bench: Bench, trouble: Exception, code: int) -> None:
    bench.pool.fail["acquire"] = trouble
    told = error(bench.ask(cniVersion="0.4.0"))
    assert (told["code"], told["cniVersion"]) == (code, "0.4.0")
    if code != 102:
        assert told["msg"] == str(trouble)


def test_a_defects_details_stay_in_the_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.pool.fail["acquire"] = RuntimeError("secret")
    answer = bench.ask()
    assert "secret" not in answer.stdout
    assert "RuntimeError" in error(answer)["details"]
    assert "Traceback" in caplog.text


def test_a_wrong_configuration_touches_nothing(bench: Bench) -> None:
    assert error(bench.ask(mtu="x"))["code"] == 7
    assert error(bench.ask(args={"bindADDR": "127.0.0.1:1"}))["code"] == 7
    assert bench.pool.calls == []


def test_a_configuration_that_became_wrong_does_not_keep_a_del_from_working(bench: Bench) -> None:
    bench.ask()
    assert bench.ask("DEL", mtu="x", isGateway=True, args={"BindAddr": "elsewhere:1"}, prevResult=[]).exit == 0
    assert bench.pool.states() == {bench.one.nic_id: State.QUARANTINE}


@pytest.mark.parametrize("verb", ["GC", "STATUS", "ad", ""])
def test_a_verb_that_is_not_allowed_or_not_known_is_never_a_success(bench: Bench, verb: str) -> None:
    assert error(bench.ask(verb))["code"] in (1, 4)
    assert bench.pool.calls == []


# -- the later verbs --------------------------------------------------------------------------------------------------


def test_check_wants_the_result_of_the_add_and_says_nothing_where_all_is_well(bench: Bench) -> None:
    result = json.loads(bench.ask().stdout)
    assert bench.ask("CHECK", prevResult=result) == Answer("r1", 0)
    told = error(bench.ask("CHECK"))
    assert (told["code"], told["msg"].split(":")[0]) == (7, "prevResult")
    bench.links.differs = {"up": False}
    assert error(bench.ask("CHECK", prevResult=result))["code"] == 118


@pytest.mark.parametrize(
    "valid",
    [None, "all", {}, [None], [{"containerID": "c1"}], [{"ifname": "eth0"}], [{"containerID": "", "ifname": "eth0"}]],
)
def test_gc_without_a_list_that_can_be_understood_releases_nothing(bench: Bench, valid: t.Any) -> None:
    bench.ask()
    told = error(bench.ask("GC", None, cniVersion="1.1.0", **{"cni.dev/valid-attachments": valid}))
    assert (told["code"], "nothing was released" in told["msg"]) == (7, True)
    assert KEY in bench.pool.leases


def test_gc_releases_what_is_not_in_the_list(bench: Bench) -> None:
    bench.ask()
    listed = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "other", "ifname": "eth0"}]
    assert bench.ask("GC", None, cniVersion="1.1.0", **{"cni.dev/valid-attachments": listed}) == Answer("r1", 0)
    assert KEY in bench.pool.leases
    assert bench.ask("GC", None, cniVersion="1.1.0", **{"cni.dev/valid-attachments": []}) == Answer("r1", 0)
    assert KEY not in bench.pool.leases


def test_status_says_nothing_where_an_add_can_be_served_and_why_not_otherwise(bench: Bench) -> None:
    assert bench.ask("STATUS", None, cniVersion="1.1.0") == Answer("r1", 0)
    bench.pool.supply.clear()
    bench.pool.why_empty = QuotaExceeded("the account's quota is used up")
    told = error(bench.ask("STATUS", None, cniVersion="1.1.0"))
    assert (told["code"], told["msg"]) == (50, "the account's quota is used up")
    assert told["details"] == "kind=QuotaExceeded; request=r1"
    assert error(bench.ask("STATUS", None, cniVersion="1.1.0", mtu="x"))["code"] == 7


# -- keys that mean nothing, and how much is said ---------------------------------------------------------------------


def test_strange_keys_are_taken_and_told_in_the_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "hostnic"):
        assert bench.ask(bridge="br0").exit == 0
    assert any("'bridge'" in record.getMessage() for record in caplog.records)


def test_a_misspelt_key_stops_an_add_and_no_del(bench: Bench) -> None:
    assert error(bench.ask(isgateway=True))["code"] == 7
    assert bench.pool.calls == []
    bench.ask()
    assert bench.ask("DEL", isgateway=True, logLevel="loud") == Answer("r1", 0)
    assert bench.pool.leases == {}


@pytest.mark.parametrize(("level", "shown"), [("debug", True), ("info", False), ("", False)])
def test_a_network_says_how_much_is_told_of_its_calls(bench: Bench, level: str, shown: bool) -> None:
    log = logging.getLogger("hostnic.test")
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(loglevel.Threshold(logging.INFO))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        bench.links.during_move = lambda: log.debug("moving")
        assert bench.ask(**({"logLevel": level} if level else {})).exit == 0
        log.debug("afterwards")
    finally:
        log.removeHandler(handler)
    assert seen == (["moving"] if shown else [])
    assert error(bench.ask(logLevel="loud"))["msg"].startswith("logLevel: ")


@pytest.mark.parametrize(("level", "shown"), [("error", 0), ("warn", 1), ("info", 2)])
def test_the_last_word_about_a_call_is_said_by_its_network_s_level(bench: Bench, level: str, shown: int) -> None:
    log = logging.getLogger("hostnic.cni")
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(loglevel.Threshold(logging.INFO))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        assert bench.ask(logLevel=level).exit == 0
        assert bench.ask(logLevel=level, mtu=1).exit == 1
    finally:
        log.removeHandler(handler)
    assert len([said for said in seen if "ADD c1 eth0" in said]) == shown


@pytest.mark.parametrize(
    ("asked", "told"), [("0.3.1", "0.3.1"), ("1.0.0", "1.0.0"), ("1.0.1", spec.NEWEST), (7, spec.NEWEST)]
)
def test_an_error_is_in_the_configuration_s_version_where_that_is_spoken(bench: Bench, asked: t.Any, told: str) -> None:
    for env in ({}, {"CNI_PATH": ""}, {"CNI_IFNAME": "a/b"}):
        assert error(bench.ask(env=env, cniVersion=asked, mtu=1))["cniVersion"] == told
    assert error(bench.ask(descriptor=None, cniVersion=asked))["cniVersion"] == told


def test_a_request_whose_time_is_over_is_not_begun(bench: Bench) -> None:
    assert error(bench.ask(deadline=-1.0))["code"] == 11
    assert bench.pool.calls == []


@pytest.mark.parametrize(
    ("stdin", "version"),
    [('{"cniVersion": "0.4.0"}', "0.4.0"), ("", spec.NEWEST), ("[]", spec.NEWEST), ('{"cniVersion": 1}', spec.NEWEST)],
)
def test_version_echoes(bench: Bench, stdin: str, version: str) -> None:
    answer = bench.plugin.handle(Request("cni", "v", 0.0, env={"CNI_COMMAND": "VERSION"}, stdin=stdin), None, bool)
    assert json.loads(answer.stdout) == {"cniVersion": version, "supportedVersions": list(spec.SUPPORTED)}


def test_nonsense_is_always_answered_with_an_error_and_leases_nothing(bench: Bench) -> None:
    dice = random.Random(7)
    signs = string.printable + "\0\udc80\ud800é"
    values: list[t.Any] = [None, True, -1, 1e308, "", "x", [], {}, [{}], {"dst": "::/0"}, "0.0.0.0/0", 10**40]

    def text() -> str:
        return "".join(dice.choice(signs) for __ in range(dice.randrange(20)))

    def value(depth: int = 0) -> t.Any:
        if depth < 3 and dice.random() < 0.4:
            keys = ["routes", "dst", "gw", "BindAddr", "ips", "interfaces", "nameservers", text()]
            return {dice.choice(keys): value(depth + 1) for __ in range(3)}
        if depth < 3 and dice.random() < 0.3:
            return [value(depth + 1) for __ in range(2)]
        return dice.choice([*values, text()])

    keys = [
        "cniVersion",
        "name",
        "type",
        "isGateway",
        "args",
        "ipam",
        "mtu",
        "vxnets",
        "dns",
        "prevResult",
        "defaultRoute",
    ]
    for __ in range(2000):
        env = {name: (text() if dice.random() < 0.4 else old) for name, old in {**ENV, "CNI_ARGS": ""}.items()}
        config: dict[str, t.Any] = {"cniVersion": "1.0.0", "name": "pods"}
        for key in dice.sample(keys, dice.randrange(1, 5)):
            config[key] = value()
        stdin = json.dumps(config) if dice.random() < 0.9 else text()
        request = Request("cni", "f", wire.boottime() + 5, 0.0, env, stdin)
        answer = bench.plugin.handle(request, None, lambda: False)
        if answer.exit == 0:
            assert env["CNI_COMMAND"] == "DEL"
            assert answer.stdout == ""
        else:
            assert error(answer)["code"] in (1, 2, 4, 6, 7, 8)
        wire.encode_answer(answer)
    assert bench.pool.named("acquire") == []


def test_the_same_text_is_read_once_whoever_comes_with_it(wide: Bench) -> None:
    assert wide.ask(mtu=1404).exit == 0
    before = plugin._read.cache_info(), skel.configuration.cache_info()
    wide.ask("DEL", mtu=1404)
    assert wide.ask(env={"CNI_CONTAINERID": "c2", "CNI_ARGS": "K8S_POD_NAME=b;K8S_POD_NAMESPACE=a"}, mtu=1404).exit == 0
    after = plugin._read.cache_info(), skel.configuration.cache_info()
    assert [now.misses for now in after] == [then.misses for then in before]
    assert [now.hits - then.hits for now, then in zip(after, before)] == [1, 2]


def test_each_pods_own_wish_counts_where_the_text_is_the_same(wide: Bench) -> None:
    assert wide.ask(env={"CNI_ARGS": "IP=172.16.1.77"}).exit == 0
    wide.ask("DEL")
    assert wide.ask(env={"CNI_ARGS": "IP=172.16.1.78"}).exit == 0
    wide.ask("DEL")
    assert wide.ask().exit == 0
    asked = [call[4:] for call in wide.pool.calls if call[0] == "acquire"]
    assert [fixed[0].address if fixed else "" for fixed in asked] == ["172.16.1.77", "172.16.1.78", ""]


def test_what_one_call_makes_of_a_text_is_not_the_next_ones(wide: Bench) -> None:
    previous = {"interfaces": [{"name": "lo"}], "ips": [], "routes": [], "dns": {"search": ["a"]}}
    answers = []
    for __ in range(2):
        answers.append(json.loads(wide.ask(prevResult=previous).stdout))
        wide.ask("DEL", prevResult=previous)
    for answer in answers:
        assert [one["name"] for one in answer["interfaces"]] == ["lo", "eth0"]
    with pytest.raises(TypeError):
        skel.configuration('{"name": "pods"}')[0]["name"] = "others"  # type: ignore[index]
