# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules laid in kube-proxy's place: what its documentation promises of them, read from their text."""

from __future__ import annotations

import re
import typing as t
from fractions import Fraction

import pytest

from tests.e2e.services import cases
from tests.e2e.services.iptables import iptables
from tests.e2e.services.kubeproxy import Endpoint, Load, Proxy, Service
from tests.e2e.services.modes import MODES
from tests.e2e.services.nftables import nftables

HERE, THERE = Endpoint("172.16.1.2", 8080, "node1"), Endpoint("172.16.1.3", 8080, "node2")
OUTSIDE = Endpoint("192.0.2.2", 8080)
PROXY = Proxy("node1", "172.16.0.11")
EVERYWHERE = Service("web", "10.96.0.1", 80, (HERE, THERE, OUTSIDE), 30080)
LOCAL = Service("local", "10.96.0.2", 80, (HERE, THERE), 30081, local=True)
ABSENT = Service("absent", "10.96.0.3", 80, (THERE,), 30082, local=True)
EMPTY = Service("empty", "10.96.0.4", 80, (), 30083)
ALL = (EVERYWHERE, LOCAL, ABSENT, EMPTY)


def text(load: Load) -> str:
    return "".join(stdin for __, stdin in load.apply)


def chain(load: Load, name: str) -> list[str]:
    """What is in an iptables chain, in order."""
    return [line[len(f"-A {name} ") :] for line in text(load).splitlines() if line.startswith(f"-A {name} ")]


def target(load: Load, chain_: str, match: str) -> str:
    """Where the one rule that has `match` leads to."""
    (found,) = [rule for rule in chain(load, chain_) if match in rule]
    return found.rpartition(" ")[2]


def nft_chain(load: Load, start: str) -> list[str]:
    """What is in the one nftables chain whose name starts so."""
    (found,) = re.findall(rf"^chain {re.escape(start)}\S* {{\n(.*?)^}}", text(load), re.MULTILINE | re.DOTALL)
    return str(found).splitlines()


# -- iptables --


def test_packets_meet_kube_forward_before_the_chains_of_services() -> None:
    inserted = re.findall(r"^-I FORWARD .*-j (\S+)$", text(iptables(PROXY, ALL)), re.MULTILINE)
    assert inserted[::-1] == ["KUBE-PROXY-FIREWALL", "KUBE-FORWARD", "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES"]


def test_what_conntrack_calls_invalid_is_dropped_first_of_all() -> None:
    assert chain(iptables(PROXY, ALL), "KUBE-FORWARD")[0] == "-m conntrack --ctstate INVALID -j DROP"


def test_node_ports_come_last() -> None:
    assert chain(iptables(PROXY, ALL), "KUBE-SERVICES")[-1].endswith("-j KUBE-NODEPORTS")


def test_the_mark_is_taken_away_before_masquerading() -> None:
    unmarked, clear, masquerade = chain(iptables(PROXY, ALL), "KUBE-POSTROUTING")
    assert unmarked == "-m mark ! --mark 0x4000/0x4000 -j RETURN"
    assert clear == "-j MARK --xor-mark 0x4000"
    assert masquerade == "-j MASQUERADE --random-fully"


def test_an_endpoint_that_meets_itself_is_marked_before_dnat() -> None:
    load = iptables(PROXY, ALL)
    service = target(load, "KUBE-SERVICES", "10.96.0.1/32 -p tcp --dport 80 -j KUBE-SVC")
    first = chain(load, service)[0].rpartition(" ")[2]
    assert chain(load, first) == [
        "-s 172.16.1.2/32 -j KUBE-MARK-MASQ",
        "-p tcp -j DNAT --to-destination 172.16.1.2:8080",
    ]


def test_every_endpoint_has_the_same_chance() -> None:
    load = iptables(PROXY, ALL)
    rules = chain(load, target(load, "KUBE-SERVICES", "10.96.0.1/32 -p tcp --dport 80 -j KUBE-SVC"))
    left, chances = Fraction(1), []
    for rule in rules:
        found = re.search(r"--probability (\S+)", rule)
        chance = Fraction(found[1]).limit_denominator(100) if found else Fraction(1)
        chances.append(left * chance)
        left -= left * chance
    assert chances == [Fraction(1, 3)] * 3


def test_a_node_port_of_the_cluster_is_masqueraded_a_local_one_is_not() -> None:
    load = iptables(PROXY, ALL)
    whole, local = (chain(load, target(load, "KUBE-NODEPORTS", f"--dport {port}")) for port in (30080, 30081))
    assert whole[0] == "-j KUBE-MARK-MASQ"
    assert not [rule for rule in local if "MARK" in rule and "--src-type LOCAL" not in rule]
    only = chain(load, local[-1].rpartition(" ")[2])
    assert [chain(load, rule.rpartition(" ")[2])[1] for rule in only] == [
        "-p tcp -j DNAT --to-destination 172.16.1.2:8080"
    ]


def test_what_has_nowhere_to_go_is_refused_or_dropped() -> None:
    load = iptables(PROXY, ALL)
    external = chain(load, "KUBE-EXTERNAL-SERVICES")
    assert [rule.split()[-3:] for rule in external] == [["30082", "-j", "DROP"], ["30083", "-j", "REJECT"]]
    assert "-d 10.96.0.4/32 -p tcp --dport 80 -j REJECT" in chain(load, "KUBE-SERVICES")


def test_removal_undoes_every_line_and_touches_nothing_else() -> None:
    load = iptables(PROXY, ALL)
    added, removed = text(load), "".join(stdin for __, stdin in load.remove)
    assert sorted(re.findall(r"^:(\S+)", added, re.M)) == sorted(re.findall(r"^-X (\S+)", removed, re.M))
    assert re.findall(r"^-I (.+)", added, re.M) == re.findall(r"^-D (.+)", removed, re.M)
    assert {len(name) <= 28 for name in re.findall(r"^:(\S+)", added, re.M)} == {True}
    used = set(re.findall(r"-j (KUBE-\S+)", added))
    assert used <= set(re.findall(r"^:(\S+)", added, re.M))


# -- nftables --


def test_nftables_mode_has_no_workaround_for_conntrack() -> None:
    assert "invalid" not in text(nftables(PROXY, ALL))


def test_where_the_chains_of_nftables_mode_hang() -> None:
    hooks = re.findall(r"type (\w+) hook (\w+) priority (-?\d+);", text(nftables(PROXY, ALL)))
    assert {(kind, hook, number) for kind, hook, number in hooks if kind == "nat"} == {
        ("nat", "prerouting", "-100"), ("nat", "output", "-100"), ("nat", "postrouting", "100"),
    }  # fmt: skip
    assert {number for kind, __, number in hooks if kind == "filter"} == {"-110", "-90"}


def test_node_ports_of_nftables_mode_are_on_the_primary_address_alone() -> None:
    load = nftables(PROXY, ALL)
    assert "set nodeport-ips {\ntype ipv4_addr\nelements = { 172.16.0.11 }\n}" in text(load)
    assert nft_chain(load, "services")[1].startswith("ip daddr @nodeport-ips ")


def test_endpoints_of_nftables_mode() -> None:
    load = nftables(PROXY, ALL)
    (pick,) = [line for line in text(load).splitlines() if line.startswith("numgen random mod 3")]
    first, *others = re.findall(r"goto (endpoint-\S+?)[, ]", pick)
    assert len(others) == 2
    assert nft_chain(load, first) == ["ip saddr 172.16.1.2 jump mark-for-masquerade",
                                      "meta l4proto tcp dnat to 172.16.1.2:8080"]  # fmt: skip


def test_node_ports_of_nftables_mode_by_policy() -> None:
    load = nftables(PROXY, ALL)
    whole, local = (nft_chain(load, name) for name in (named(load, "30080"), named(load, "30081")))
    assert whole[0] == "jump mark-for-masquerade"
    assert not [rule for rule in local if "mark" in rule and "fib saddr type local" not in rule]
    assert nft_chain(load, local[-1].rpartition(" ")[2])[0].startswith("numgen random mod 1 ")
    assert "tcp . 30082 : drop" in text(load)
    assert "10.96.0.4 . tcp . 80 : goto reject-chain" in text(load)


def named(load: Load, port: str) -> str:
    (found,) = re.findall(rf"tcp \. {port} : goto (external-\S+?)[, ]", text(load))
    return str(found)


# -- both --


@pytest.mark.parametrize("mode", MODES)
def test_masquerade_all_marks_what_goes_to_a_cluster_ip(mode: str) -> None:
    """And that alone; a cluster CIDR marks what does not come from it."""
    make = MODES[mode]
    plain, every, cidr = (
        set(text(make(Proxy("node1", "172.16.0.11", **flags), [EVERYWHERE])).splitlines())
        for flags in ({}, {"masquerade_all": True}, {"cluster_cidr": "172.16.0.0/16"})
    )
    (added,), (limited,) = every - plain, cidr - plain
    assert "10.96.0.1" in added and "80" in added and "172.16.0.0/16" not in added
    assert re.search(r"! -s 172\.16\.0\.0/16|ip saddr != 172\.16\.0\.0/16", limited)
    assert plain < every and plain < cidr


def test_each_case_has_a_service_of_its_own() -> None:
    addresses: t.Mapping[str, str] = {name: f"172.16.9.{number}" for number, name in enumerate(
        ("a1", "a2", "a3", "b1", "b3", "h1", "h2", "out"), 1)}  # fmt: skip
    known = cases.services(cases.CASES, addresses)
    assert len({service.cluster_ip for service in known}) == len(known) == 22
    by_name = {service.name: service for service in known}
    assert by_name["case-30"].local and by_name["case-30"].node_port
    assert by_name["case-6"].endpoints[0].node == "" and by_name["case-2"].endpoints[0].node == "h2"
