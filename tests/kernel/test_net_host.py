# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side: parking, listing, gateway NICs, the default route, forgetting an address."""

from __future__ import annotations

import os
import socket
import subprocess
import typing as t

import pytest

from hostnic.errors import LinkFailed
from hostnic.model import Link
from hostnic.net import replies
from tests.kernel.net_world import World, ip, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

GATEWAY = "qg52549e000001"


@pytest.fixture
def world() -> t.Iterator[World]:
    with World() as world:
        yield world


# -- parking and listing --


def test_a_nic_in_use_by_the_host_is_parked_bare_and_listed_there(world: World) -> None:
    mac = world.nic(up=True)
    ip("-n", world.host, "addr", "add", "10.1.1.1/24", "dev", "ens1")
    ip("-n", world.host, "link", "property", "add", "dev", "ens1", "altname", "enp3s0")
    ip("-n", world.host, "link", "set", "ens1", "alias", "hello")
    seen = world.links.park(mac)
    assert seen == Link(mac, "q52549e000001", seen.ifindex, "parking", False, 1500)
    assert world.links.list() == [seen]
    assert world.links.park(mac) == seen
    (link,) = world.show(world.parking).values()
    assert link["ifindex"] == seen.ifindex and not {"altnames", "ifalias"} & link.keys()
    assert world.addresses(world.parking, seen.name) == []


def test_what_someone_has_done_to_a_parked_nic_is_undone(world: World) -> None:
    mac = world.nic()
    world.links.park(mac)
    for change in (("name", "odd"), ("mtu", "1300"), ("alias", "x"), ("up",)):
        ip("-n", world.parking, "link", "set", "odd" if change[0] != "name" else "q52549e000001", *change)
    assert world.links.park(mac).name == "q52549e000001"
    (link,) = world.show(world.parking).values()
    assert (link["ifname"], link["mtu"], "UP" in link["flags"]) == ("q52549e000001", 1500, False)


def test_parked_nics_have_no_ipv6(world: World) -> None:
    assert world.sysctl(world.parking, "ipv6/conf/default/disable_ipv6") == "1"
    assert world.sysctl(world.parking, "ipv6/conf/all/disable_ipv6") == "1"
    assert world.sysctl(world.host, "ipv6/conf/default/disable_ipv6") == "0"


def test_a_nic_that_is_nowhere_is_missing(world: World) -> None:
    with pytest.raises(LinkFailed, match="no link on this host") as caught:
        world.links.park("52:54:9e:00:00:77")
    assert caught.value.details["missing"] is True


def test_stacked_links_and_loopback_are_not_listed(world: World) -> None:
    mac = world.nic(up=True)
    ip("-n", world.host, "link", "add", "link", "ens1", "name", "upper7", "type", "macvlan")
    ip("-n", world.host, "link", "add", "br0", "address", mac, "type", "bridge")
    assert [(link.name, link.place, link.up) for link in world.links.list()] == [("ens1", "host", True)]


# -- the default route --


def test_the_link_of_the_default_route_is_told_and_never_touched(world: World) -> None:
    assert world.links.default_route_link() is None
    mac, other = world.nic(1, up=True), world.nic(2, up=True)
    ip("-n", world.host, "route", "add", "default", "dev", "ens2", "metric", "200")
    assert world.links.default_route_link() == other
    ip("-n", world.host, "route", "add", "default", "dev", "ens1", "metric", "100")
    ip("-n", world.host, "route", "add", "default", "dev", "ens2", "table", "7")
    ip("-n", world.host, "route", "add", "0.0.0.0/1", "dev", "ens2")
    assert world.links.default_route_link() == mac
    before = world.show(world.host)
    for call in (
        lambda: world.links.park(mac),
        lambda: world.links.from_pod(mac, None, "eth0", 1),
        lambda: world.links.host_gateway(mac, GATEWAY, "172.16.1.11/24"),
    ):
        with pytest.raises(LinkFailed, match="never touched"):
            call()
    assert world.show(world.host) == before


def test_a_multipath_default_route_counts_by_its_first_hop(world: World) -> None:
    mac = world.nic(1, up=True)
    world.nic(2, up=True)
    ip("-n", world.host, "route", "add", "default", "nexthop", "dev", "ens1", "nexthop", "dev", "ens2")
    assert world.links.default_route_link() == mac


def test_address_of_the_hosts_own_link(world: World) -> None:
    world.nic(1, up=True)
    world.nic(2, up=True)
    for name, address in (("ens2", "10.2.2.2/24"), ("ens1", "10.1.1.1/24"), ("ens1", "10.1.1.2/24")):
        ip("-n", world.host, "addr", "add", address, "dev", name)
    assert world.links.address_of("ens1") == "10.1.1.1"
    assert world.links.address_of("absent") == ""
    ip("-n", world.host, "addr", "flush", "dev", "ens1")
    assert world.links.address_of("ens1") == ""


# -- gateway NICs --


@pytest.mark.parametrize("parked", [False, True])
def test_a_gateway_nic_stands_in_the_host(world: World, parked: bool) -> None:
    mac = world.nic()
    if parked:
        world.links.park(mac)
    link = world.links.host_gateway(mac, GATEWAY, "172.16.1.11/24")
    assert link == Link(mac, GATEWAY, link.ifindex, "host", True, 1500)
    assert [(a["local"], a["prefixlen"]) for a in world.addresses(world.host, GATEWAY)] == [("172.16.1.11", 24)]
    assert "172.16.1.0/24 dev qg52549e000001 proto kernel scope link src 172.16.1.11" in world.routes(world.host)
    for key, value in {"rp_filter": "2", "arp_ignore": "1", "arp_announce": "2", "send_redirects": "0"}.items():
        assert world.sysctl(world.host, f"ipv4/conf/{GATEWAY}/{key}") == value
    assert world.sysctl(world.host, "ipv4/ip_forward") == "1"


def test_after_a_reboot_a_gateway_nic_is_found_under_whatever_name(world: World) -> None:
    mac = world.nic()
    world.links.park(mac)
    ip("-n", world.parking, "link", "set", "q52549e000001", "name", "odd")
    first = world.links.host_gateway(mac, GATEWAY, "172.16.1.11/24")
    for change in (f"{GATEWAY} down", f"{GATEWAY} name ens9", "ens9 up"):
        ip("-n", world.host, "link", "set", *change.split())
    ip("-n", world.host, "addr", "flush", "dev", "ens9")
    assert world.links.host_gateway(mac, GATEWAY, "172.16.1.12/24") == first
    assert [a["local"] for a in world.addresses(world.host, GATEWAY)] == ["172.16.1.12"]


def test_a_standing_gateway_is_not_interrupted(world: World) -> None:
    mac = world.nic()
    world.links.host_gateway(mac, GATEWAY, "172.16.1.11/24")
    ip("-n", world.host, "route", "add", "10.9.0.0/16", "via", "172.16.1.1")
    # turning forwarding on would reset this
    ip("netns", "exec", world.host, "sysctl", "-qw", f"net.ipv4.conf.{GATEWAY}.accept_redirects=1")
    world.links.host_gateway(mac, GATEWAY, "172.16.1.11/24")
    assert "10.9.0.0/16 via 172.16.1.1 dev qg52549e000001" in world.routes(world.host)
    assert world.sysctl(world.host, f"ipv4/conf/{GATEWAY}/accept_redirects") == "1"


def test_what_a_network_manager_did_to_a_gateway_is_undone(world: World) -> None:
    mac = world.nic(up=True)
    for address in ("172.16.1.11/16", "172.16.1.12/24", "172.16.1.11/24"):
        ip("-n", world.host, "addr", "add", address, "dev", "ens1")
    ip("-n", world.host, "link", "property", "add", "dev", "ens1", "altname", GATEWAY)
    link = world.links.host_gateway(mac, GATEWAY, "172.16.1.11/24")
    assert (link.name, link.up) == (GATEWAY, True)
    assert [(a["local"], a["prefixlen"]) for a in world.addresses(world.host, GATEWAY)] == [("172.16.1.11", 24)]


def test_a_gateway_name_that_is_taken_is_told(world: World) -> None:
    mac = world.nic(1)
    ip("-n", world.host, "link", "add", GATEWAY, "type", "bridge")
    with pytest.raises(LinkFailed, match=f"cannot be called {GATEWAY}"):
        world.links.host_gateway(mac, GATEWAY, "172.16.1.11/24")
    with pytest.raises(LinkFailed, match="no link on this host"):
        world.links.host_gateway("52:54:9e:00:00:77", GATEWAY, "172.16.1.11/24")


def test_symmetric_replies_have_a_rule_and_routes(world: World) -> None:
    world.nic(up=True)
    ip("-n", world.host, "addr", "add", "172.16.0.11/24", "dev", "ens1")
    wanted = replies.ReplyRouting("ens1", "172.16.0.0/24", "172.16.0.1")
    for _ in range(2):
        replies.ensure(wanted, world.path(world.host))
        rules = ip("-n", world.host, "rule").splitlines()
        assert [rule for rule in rules if "fwmark" in rule] == ["99:\tfrom all fwmark 0x100000/0x100000 lookup 100"]
        assert world.routes(world.host, "table", "100") == [
            "default via 172.16.0.1 dev ens1 proto kernel",
            "172.16.0.0/24 dev ens1 proto kernel scope link",
        ]
    for _ in range(2):
        replies.remove(wanted, world.path(world.host))
        assert "fwmark" not in ip("-n", world.host, "rule")
    with pytest.raises(LinkFailed, match="absent is not there"):
        replies.ensure(replies.ReplyRouting("absent", "172.16.0.0/24", "172.16.0.1"), world.path(world.host))


# -- forgetting --


def test_an_address_is_forgotten_and_others_are_not(world: World) -> None:
    world.nic(up=True)
    ip("-n", world.host, "addr", "add", "10.1.1.1/24", "dev", "ens1")
    for last in (5, 6):
        ip("-n", world.host, "neigh", "add", f"10.1.1.{last}", "lladdr", f"02:00:00:00:00:0{last}", "dev", "ens1")
    nat = """table ip t {
        chain output { type nat hook output priority -100; ip daddr 10.1.1.7 dnat to 10.1.1.5; }
    }"""
    subprocess.run(["ip", "netns", "exec", world.host, "nft", "-f", "-"], input=nat, text=True, check=True)

    def talk() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for last in (5, 6, 7):  # 7 is NATed to 5: only the reply's tuple shows that
                for port in range(150):
                    sender.sendto(b"x", (f"10.1.1.{last}", 1000 + port))

    world.within(world.host, talk)
    assert until(lambda: _tracked(world) == 450)
    world.links.flush("10.1.1.5")
    assert _tracked(world) == 150
    assert "10.1.1.5" not in ip("-n", world.host, "neigh") and "10.1.1.6" in ip("-n", world.host, "neigh")
    world.links.flush("10.1.1.5/24")
    assert _tracked(world) == 150
    with pytest.raises(LinkFailed, match="no IPv4 address"):
        world.links.flush("")


def _tracked(world: World) -> int:
    return int(world.sysctl(world.host, "netfilter/nf_conntrack_count"))
