# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network or a pod wishes of an ADD; CHECK, GC and STATUS on a pool with a script."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from hostnic import wire
from hostnic.cni import spec
from hostnic.cni.netconf import ConfRoute, NetConf
from hostnic.cni.netns import Netns
from hostnic.cni.skel import Invocation
from hostnic.cni.spec import CniError
from hostnic.cni.verbs import Host, Verbs, Wait
from hostnic.cni.wishes import Wishes
from hostnic.errors import InvalidConfig, LinkFailed, PoolEmpty, VxnetFull
from hostnic.model import GATEWAY, Fixed, LeaseKey
from hostnic.states import State
from tests.support.cni import KEY, ScriptedLinks, ScriptedPool, nic

POD = Netns(5, 1000)
SANDBOX = "/run/netns/x"
SERVICES = NetConf(is_gateway=True, routes=(ConfRoute("10.96.0.0/12"),))
NAMED = {"K8S_POD_NAMESPACE": "prod", "K8S_POD_NAME": "db-0"}


def call(key: LeaseKey = KEY, args: t.Optional[dict[str, str]] = None) -> Invocation:
    return Invocation("ADD", "1.0.0", key.network, key.container_id, key.ifname, SANDBOX, {}, args or {})


class Bench:
    def __init__(self, host_policy: str = "FailRotate") -> None:
        self.nics = [nic(number) for number in (1, 2, 3)]
        self.pool = ScriptedPool(*self.nics)
        self.links = ScriptedLinks(*(one.nic_id for one in self.nics))
        host = Host(("vxnet-a", "vxnet-b", "vxnet-c"), host_policy, "eth0")
        self.verbs = Verbs(self.pool, self.links, wire.boottime, host, dice=lambda: 0.5)

    def wait(self) -> Wait:
        return Wait(wire.boottime() + 10.0, lambda: False)

    def add(self, conf: NetConf, key: LeaseKey = KEY, args: t.Optional[dict[str, str]] = None) -> None:
        self.verbs.add(call(key, args), conf, POD, self.wait())

    def asked(self) -> list[tuple[t.Any, ...]]:
        """The vxnets of each ADD, and the fixed address where there was one."""
        return [one[3:] for one in self.pool.named("acquire")]

    def check(self, conf: t.Optional[NetConf] = None, ifname: str = "eth0") -> None:
        previous = {"interfaces": [{"name": ifname, "mac": self.nics[0].nic_id, "sandbox": SANDBOX}]}
        conf = conf or NetConf()
        conf = NetConf(**{**vars(conf), "previous": previous})
        self.verbs.check(call(LeaseKey("pods", "c1", ifname)), conf, POD, self.wait())

    def collect(self, *valid: tuple[str, str], network: str = "pods", asked_at: float = 0.0) -> None:
        self.verbs.collect(network, valid, asked_at, self.wait())


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- which vxnet ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conf", "asked"),
    [
        (NetConf(), [(), ()]),
        (NetConf(vxnets=("vxnet-x", "vxnet-y")), [("vxnet-x", "vxnet-y"), ("vxnet-x", "vxnet-y")]),
        (NetConf(policy="FailRotate"), [("vxnet-a", "vxnet-b", "vxnet-c"), ("vxnet-a", "vxnet-b", "vxnet-c")]),
        (NetConf(policy="RoundRotate"), [("vxnet-a", "vxnet-b", "vxnet-c"), ("vxnet-b", "vxnet-c", "vxnet-a")]),
        (
            NetConf(policy="RoundRotate", vxnets=("vxnet-x", "vxnet-y")),
            [("vxnet-x", "vxnet-y"), ("vxnet-y", "vxnet-x")],
        ),
        (NetConf(policy="Random"), [("vxnet-b", "vxnet-c", "vxnet-a"), ("vxnet-b", "vxnet-c", "vxnet-a")]),
    ],
)
def test_a_network_may_have_a_policy_of_its_own(bench: Bench, conf: NetConf, asked: list[tuple[str, ...]]) -> None:
    for container in ("c1", "c2"):
        bench.add(conf, LeaseKey("pods", container, "eth0"))
    assert bench.asked() == [(vxnets,) for vxnets in asked]


def test_vxnets_without_a_policy_follow_the_agents() -> None:
    bench = Bench("RoundRotate")
    for container in ("c1", "c2"):
        bench.add(NetConf(vxnets=("vxnet-x", "vxnet-y")), LeaseKey("pods", container, "eth0"))
    assert bench.asked() == [(("vxnet-x", "vxnet-y"),), (("vxnet-y", "vxnet-x"),)]


def test_networks_take_turns_of_their_own(bench: Bench) -> None:
    conf = NetConf(policy="RoundRotate")
    bench.add(conf, LeaseKey("one", "c1", "eth0"))
    bench.add(conf, LeaseKey("two", "c1", "net1"))
    assert bench.asked()[0] == bench.asked()[1]


# -- a fixed address --------------------------------------------------------------------------------------------------


def test_a_pod_with_a_name_keeps_its_address_for_a_while(bench: Bench) -> None:
    bench.add(NetConf(wishes=Wishes(address="172.16.1.9"), keep=60.0), args=NAMED)
    assert bench.asked() == [((), Fixed("172.16.1.9", "prod/db-0", 60.0))]


@pytest.mark.parametrize("args", [{}, {"K8S_POD_NAME": "focused_turing"}], ids=["no name", "podman's"])
def test_a_container_without_a_name_that_comes_back_keeps_nothing(bench: Bench, args: dict[str, str]) -> None:
    bench.add(NetConf(wishes=Wishes(address="172.16.1.9"), keep=60.0), args=args)
    assert bench.asked() == [((), Fixed("172.16.1.9", "c1", 0.0))]


def test_a_mac_stands_for_its_nics_address(bench: Bench) -> None:
    wanted = bench.nics[0]
    bench.pool.nics[wanted.nic_id] = wanted
    bench.add(NetConf(wishes=Wishes(mac=wanted.nic_id)), args=NAMED)
    assert bench.asked() == [((), Fixed(wanted.private_ip, "prod/db-0", 600.0))]


def test_another_nic_with_that_address_is_not_what_was_asked_for(bench: Bench) -> None:
    """The one that had it was deleted meanwhile, and made anew."""
    wanted = bench.nics[1]
    bench.pool.nics[wanted.nic_id] = wanted
    with pytest.raises(CniError) as caught:
        bench.add(NetConf(wishes=Wishes(mac=wanted.nic_id)), args=NAMED)
    assert caught.value.code == spec.UNSUPPORTED_FIELD
    assert bench.pool.named("abort") == [("abort", KEY, False)]


@pytest.mark.parametrize("changes", [{"purpose": GATEWAY}, {"doomed": True}, {"state": State.DRAINING}])
def test_a_nic_that_no_pod_can_have_is_not_given_by_its_mac(bench: Bench, changes: dict[str, t.Any]) -> None:
    wanted = replace(bench.nics[0], **changes)
    bench.pool.nics[wanted.nic_id] = wanted
    with pytest.raises(CniError, match=f"mac={wanted.nic_id} is no NIC") as caught:
        bench.add(NetConf(wishes=Wishes(mac=wanted.nic_id)))
    assert (caught.value.code, bench.asked()) == (spec.UNSUPPORTED_FIELD, [])


def test_a_mac_of_no_nic_is_refused_with_key_and_value(bench: Bench) -> None:
    with pytest.raises(CniError, match="mac=02:00:00:00:00:99 is no NIC") as caught:
        bench.add(NetConf(wishes=Wishes(mac="02:00:00:00:00:99")))
    assert caught.value.code == spec.UNSUPPORTED_FIELD
    assert bench.asked() == []


def test_a_mac_and_another_nics_address_cannot_both_be_had(bench: Bench) -> None:
    wanted = bench.nics[1]
    bench.pool.nics[wanted.nic_id] = wanted
    with pytest.raises(InvalidConfig, match=f"{wanted.private_ip}, not 172.16.1.9"):
        bench.add(NetConf(wishes=Wishes(mac=wanted.nic_id, address="172.16.1.9")))
    assert bench.asked() == []


# -- masquerading -----------------------------------------------------------------------------------------------------


def test_ip_masq_is_told_before_the_pod_has_its_nic(bench: Bench) -> None:
    bench.add(NetConf(ip_masq=True))
    names = [one[0] for one in bench.pool.calls]
    assert bench.pool.named("masquerade") == [("masquerade", "pods", "vxnet-a", True)]
    assert names.index("masquerade") < names.index("commit")


# -- the same ADD again -----------------------------------------------------------------------------------------------


def test_the_same_add_again_has_the_same_result(bench: Bench) -> None:
    results = [bench.verbs.add(call(), SERVICES, POD, bench.wait()) for __ in range(2)]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("first", "then", "differs", "words"),
    [
        (NetConf(), SERVICES, {}, "the route to 10.96.0.0/12"),
        (SERVICES, SERVICES, {"routes": ()}, "the route to 0.0.0.0/0"),
        (NetConf(), NetConf(mtu=1400), {}, "MTU 1500, not 1400"),
    ],
    ids=["another configuration", "the pod has changed it", "another MTU"],
)
def test_an_add_that_would_make_something_else_now_is_an_error_and_changes_nothing(
    bench: Bench, first: NetConf, then: NetConf, differs: dict[str, t.Any], words: str
) -> None:
    bench.add(first)
    bench.links.differs = differs
    with pytest.raises(CniError, match=f"DEL it first: .*{words}") as caught:
        bench.add(then)
    assert caught.value.code == spec.DIFFERS
    assert bench.pool.states()[bench.nics[0].nic_id] is State.IN_USE


# -- CHECK ------------------------------------------------------------------------------------------------------------


def test_check_is_content_with_what_add_made(bench: Bench) -> None:
    bench.add(SERVICES)
    bench.check(SERVICES)


@pytest.mark.parametrize(
    ("differs", "words"),
    [({"up": False}, "eth0 is down"), ({"routes": ()}, "the route to 10.96.0.0/12"), ({"addresses": ()}, "lacks")],
)
def test_check_compares_with_what_an_add_would_make(bench: Bench, differs: dict[str, t.Any], words: str) -> None:
    bench.add(SERVICES)
    bench.links.differs = differs
    with pytest.raises(CniError, match=words) as caught:
        bench.check(SERVICES)
    assert caught.value.code == spec.DIFFERS


def test_check_names_a_gateway_that_is_not_there_and_makes_none(bench: Bench) -> None:
    bench.add(SERVICES)
    bench.pool.standing = ""
    made = len(bench.pool.named("gateway"))
    with pytest.raises(CniError, match="no gateway NIC in vxnet-a"):
        bench.check(SERVICES)
    assert len(bench.pool.named("gateway")) == made


def test_check_names_what_on_the_host_stops_services_where_the_pod_needs_it(bench: Bench) -> None:
    bench.links.findings = ["the policy of FORWARD is drop"]
    bench.add(NetConf())
    bench.check()
    with pytest.raises(CniError, match="the policy of FORWARD is drop"):
        bench.check(SERVICES)


def test_check_of_what_holds_nothing(bench: Bench) -> None:
    with pytest.raises(CniError, match="no lease"):
        bench.check()


# -- GC ---------------------------------------------------------------------------------------------------------------


def three(bench: Bench) -> list[LeaseKey]:
    keys = [KEY, LeaseKey("pods", "c2", "eth0"), LeaseKey("others", "c1", "eth0")]
    for key in keys:
        bench.add(NetConf(), key)
    return keys


def test_gc_releases_exactly_this_networks_attachments_that_are_not_valid(bench: Bench) -> None:
    mine, stale, others = three(bench)
    bench.collect(("c1", "eth0"), ("c2", "net1"))
    assert set(bench.pool.leases) == {mine, others}
    assert stale not in bench.pool.leases
    assert bench.links.places[bench.nics[1].nic_id] == "parking"


def test_gc_leaves_what_was_added_after_it_was_asked_for(bench: Bench) -> None:
    before = wire.boottime()
    three(bench)
    bench.collect(asked_at=before)
    assert len(bench.pool.leases) == 3


def test_gc_goes_on_after_an_error_and_tells_of_it(bench: Bench) -> None:
    three(bench)
    bench.links.fail["retrieve"] = LinkFailed("cannot look into /proc/7")
    with pytest.raises(CniError, match="cannot look into /proc/7") as caught:
        bench.collect()
    assert caught.value.code == spec.LINK_FAILED
    assert len(bench.pool.attachments("pods")) == 1


def test_gc_of_a_link_that_is_nowhere_ends_the_lease(bench: Bench) -> None:
    bench.add(NetConf())
    del bench.links.places[bench.nics[0].nic_id]
    bench.collect()
    assert bench.pool.leases == {}
    assert bench.pool.states()[bench.nics[0].nic_id] is State.BROKEN


def test_gc_looks_with_the_leases_own_witnesses(bench: Bench) -> None:
    bench.add(NetConf())
    bench.collect()
    assert ("retrieve", bench.nics[0].nic_id, POD.inode, 7) in bench.links.calls


# -- STATUS -----------------------------------------------------------------------------------------------------------


def test_status_asks_for_the_networks_vxnets(bench: Bench) -> None:
    bench.verbs.status(NetConf(vxnets=("vxnet-b",)))
    bench.verbs.status(SERVICES)
    assert bench.pool.calls == [("unable", ("vxnet-b",), False), ("unable", (), True)]


@pytest.mark.parametrize("reason", [VxnetFull("no address left"), PoolEmpty("all 60 NICs are taken")])
def test_status_is_50_with_the_reason(bench: Bench, reason: t.Any) -> None:
    bench.pool.supply.clear()
    bench.pool.why_empty = reason
    with pytest.raises(CniError, match=reason.message) as caught:
        bench.verbs.status(NetConf())
    assert (caught.value.code, caught.value.details) == (50, {"kind": reason.kind})
