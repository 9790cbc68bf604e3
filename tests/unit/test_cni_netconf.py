# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from hostnic.cni import netconf
from hostnic.cni.netconf import ConfRoute, NetConf
from hostnic.errors import InvalidConfig

OWN = "127.0.0.1:31080"
# The original's page, with a service network filled in.
SAMPLE: dict[str, t.Any] = {
    "cniVersion": "0.3.1",
    "name": "mynet",
    "type": "qingcni",
    "isGateway": True,
    "args": {"BindAddr": "127.0.0.1:31080"},
    "ipMasq": True,
    "ipam": {"routes": [{"dst": "10.96.0.0/12", "gw": "0.0.0.0"}]},
}


def parse(own: str = OWN, **config: t.Any) -> NetConf:
    return netconf.parse({"name": "pods", "type": "qingcni", **config}, own)


def refused(own: str = OWN, **config: t.Any) -> str:
    with pytest.raises(InvalidConfig) as caught:
        parse(own, **config)
    return caught.value.message


def test_the_originals_sample_is_taken_unchanged() -> None:
    assert netconf.parse(SAMPLE, OWN) == NetConf(
        is_gateway=True, ip_masq=True, routes=(ConfRoute("10.96.0.0/12", "0.0.0.0"),)
    )


def test_nothing_but_a_name_is_enough() -> None:
    assert parse() == NetConf()


def test_every_key_arrives() -> None:
    conf = parse(
        mtu=1400,
        defaultRoute="gateway",
        vxnets=["vxnet-a", "vxnet-b"],
        dns={"nameservers": ["10.96.0.10"], "search": [], "domain": "cluster.local"},
        prevResult={"cniVersion": "1.0.0", "ips": []},
        ipam={"type": "anything", "routes": [{"dst": "10.0.0.0/8"}, {"dst": "0.0.0.0/0", "gw": "172.16.1.2"}]},
        unknown={"to": "us"},
    )
    assert conf.mtu == 1400
    assert conf.default_route == "gateway"
    assert conf.vxnets == ("vxnet-a", "vxnet-b")
    assert conf.dns == {"nameservers": ["10.96.0.10"], "domain": "cluster.local"}
    assert conf.previous == {"cniVersion": "1.0.0", "ips": []}
    assert conf.routes == (ConfRoute("10.0.0.0/8"), ConfRoute("0.0.0.0/0", "172.16.1.2"))
    assert parse(vxnet="vxnet-c").vxnets == ("vxnet-c",)


def test_null_means_absent() -> None:
    assert parse(args=None, ipam=None, dns=None, isGateway=None, mtu=None, prevResult=None) == NetConf()
    assert parse(ipam={"routes": None}) == NetConf()


def test_host_bits_of_a_destination_do_not_matter() -> None:
    assert parse(ipam={"routes": [{"dst": "10.96.0.1/12"}]}).routes == (ConfRoute("10.96.0.0/12"),)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"type": 1}, "type"),
        ({"isGateway": "true"}, "isGateway"),
        ({"isGateway": 1}, "isGateway"),
        ({"ipMasq": "no"}, "ipMasq"),
        ({"args": []}, "args"),
        ({"args": {"BINDADDR": 1}}, "args.BINDADDR"),
        ({"ipam": "x"}, "ipam"),
        ({"ipam": {"routes": {}}}, "ipam.routes"),
        ({"ipam": {"routes": ["10.0.0.0/8"]}}, "ipam.routes[0]"),
        ({"ipam": {"routes": [{"dst": 1}]}}, "ipam.routes[0].dst"),
        ({"ipam": {"routes": [{"dst": "10.0.0.0/8"}, {}]}}, "ipam.routes[1].dst"),
        ({"ipam": {"routes": [{"dst": "10.0.0.1"}]}}, "ipam.routes[0].dst"),
        ({"ipam": {"routes": [{"dst": "10.0.0.0/33"}]}}, "ipam.routes[0].dst"),
        ({"ipam": {"routes": [{"dst": "kubernetes service cidr"}]}}, "ipam.routes[0].dst"),
        ({"ipam": {"routes": [{"dst": "10.0.0.0/8", "gw": "hostip"}]}}, "ipam.routes[0].gw"),
        ({"ipam": {"routes": [{"dst": "10.0.0.0/8", "gw": 1}]}}, "ipam.routes[0].gw"),
        ({"mtu": "1400"}, "mtu"),
        ({"mtu": True}, "mtu"),
        ({"mtu": 1400.0}, "mtu"),
        ({"mtu": 67}, "mtu"),
        ({"mtu": -1}, "mtu"),
        ({"mtu": 65536}, "mtu"),
        ({"defaultRoute": "host"}, "defaultRoute"),
        ({"defaultRoute": 1}, "defaultRoute"),
        ({"vxnet": ["vxnet-a"]}, "vxnet"),
        ({"vxnets": "vxnet-a"}, "vxnets"),
        ({"vxnets": ["vxnet-a", 1]}, "vxnets"),
        ({"vxnet": "vxnet-a", "vxnets": ["vxnet-b"]}, "vxnet and vxnets"),
        ({"dns": []}, "dns"),
        ({"dns": {"nameservers": "1.1.1.1"}}, "dns.nameservers"),
        ({"dns": {"search": [1]}}, "dns.search"),
        ({"dns": {"domain": 1}}, "dns.domain"),
        ({"prevResult": []}, "prevResult"),
        ({"prevResult": {"ips": {}}}, "prevResult.ips"),
        ({"prevResult": {"interfaces": "x"}}, "prevResult.interfaces"),
    ],
)
def test_what_is_wrong_is_named(config: dict[str, t.Any], field: str) -> None:
    assert refused(**config).startswith(f"{field}: ")


@pytest.mark.parametrize("route", [{"dst": "fd00::/8"}, {"dst": "10.0.0.0/8", "gw": "fd00::1"}])
def test_ipv6_is_refused_with_a_sentence(route: dict[str, str]) -> None:
    assert "IPv6" in refused(ipam={"routes": [route]})


@pytest.mark.parametrize("vxnet_id", ["", " ", "a b", "\ud800", "vxnet-ä", "-x", "x" * 65, "a/b"])
def test_a_vxnet_that_can_be_none_is_refused_before_anybody_asks_the_cloud_for_it(vxnet_id: str) -> None:
    assert refused(vxnets=["vxnet-a", vxnet_id]).startswith("vxnets: an id such as")
    if vxnet_id:
        assert refused(vxnet=vxnet_id).startswith("vxnet: an id such as")


def test_long_values_are_not_repeated_in_full() -> None:
    assert len(refused(mtu="x" * 10_000)) < 200


@pytest.mark.parametrize("ipam", [{}, {"routes": []}, None])
def test_is_gateway_needs_routes(ipam: t.Any) -> None:
    message = refused(isGateway=True, ipam=ipam)
    assert "ipam.routes" in message
    assert "10.96.0.0/12" in message


def test_is_gateway_needs_no_routes_where_everything_goes_by_the_host() -> None:
    assert parse(isGateway=True, defaultRoute="gateway").is_gateway


@pytest.mark.parametrize("key", ["BindAddr", "bindaddr", "BINDADDR", "bindAddr"])
def test_bindaddr_in_any_letter_case_must_name_this_agent(key: str) -> None:
    assert parse(args={key: OWN, "cni": {"labels": []}}) == NetConf()
    message = refused(args={key: "127.0.0.1:31099"})
    assert f"args.{key}" in message
    assert OWN in message


@pytest.mark.parametrize(
    ("named", "own"),
    [
        ("localhost:31080", "127.0.0.1:31080"),
        ("127.0.0.1:31080", "0.0.0.0:31080"),
        ("192.168.1.2:31080", "0.0.0.0:31080"),
        ("127.0.0.1:31080", ":31080"),
        ("", "127.0.0.1:31080"),
    ],
)
def test_other_words_for_the_same_address(named: str, own: str) -> None:
    assert parse(own, args={"BindAddr": named}) == NetConf()


@pytest.mark.parametrize(("named", "own"), [("0.0.0.0:31080", OWN), ("127.0.0.1", OWN), ("x:31081", "0.0.0.0:31080")])
def test_another_address_is_another_agent(named: str, own: str) -> None:
    assert own in refused(own, args={"BindAddr": named})


@pytest.mark.parametrize(
    ("key", "wrong"), [("keepAddress", 7), ("keepAddress", "soon"), ("dns", []), ("dns", {"search": 1})]
)
def test_the_networks_word_is_checked_also_where_the_pods_own_counts(key: str, wrong: t.Any) -> None:
    pods = {"dns": {"servers": ["10.0.0.3"]}, "io.kubernetes.cri.pod-annotations": {"qingcloud.cni/keep": "5m"}}
    conf = parse(runtimeConfig=pods, keepAddress="1h", dns={"nameservers": ["10.0.0.2"]})
    assert (conf.keep, conf.dns) == (300.0, {"nameservers": ["10.0.0.3"]})
    assert refused(runtimeConfig=pods, **{key: wrong}).startswith(key)
