# SPDX-License-Identifier: GPL-3.0-or-later
"""What an interface in a pod is, whatever has become of it there."""

from __future__ import annotations

import os
import typing as t
from dataclasses import replace

import pytest

from hostnic.errors import LinkFailed
from hostnic.model import PodLink, PodState, Route
from tests.kernel.net_world import World, ip

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

ROUTES = (Route("0.0.0.0/0", "172.16.1.1"), Route("10.96.0.0/12", "172.16.1.11"), Route("169.254.20.0/24"))
POD = PodLink("eth0", "172.16.1.5/24", ROUTES, 1400)


class Pod:
    """With NIC 1 in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.mac = world.nic()
        world.links.park(self.mac)
        self.name, self.descriptor = world.pod()
        index = world.links.to_pod(self.mac, self.descriptor, POD).ifindex
        self.as_placed = PodState(self.mac, self.mac, index, True, 1400, ("172.16.1.5/24",), ROUTES)

    def ip(self, *arguments: str) -> None:
        ip("-n", self.name, *arguments)

    def look(self, ifname: str = "eth0") -> t.Optional[PodState]:
        return self.world.links.look(self.descriptor, ifname)


@pytest.fixture
def pod() -> t.Iterator[Pod]:
    with World() as world:
        yield Pod(world)


def test_a_nic_as_it_was_placed(pod: Pod) -> None:
    assert pod.look() == pod.as_placed


def test_routes_that_a_later_plugin_has_moved_into_a_table_of_its_own_are_there(pod: Pod) -> None:
    """As `sbr` does."""
    for table in ("100", "70000"):
        pod.ip("route", "add", "192.168.0.0/16", "via", "172.16.1.9", "table", table)
    seen = pod.look()
    assert (
        seen and [route for route in seen.routes if route not in ROUTES] == [Route("192.168.0.0/16", "172.16.1.9")] * 2
    )


def test_an_interface_that_is_not_there_or_has_the_name_as_an_altname_only(pod: Pod) -> None:
    assert pod.look("eth1") is None
    pod.ip("link", "property", "add", "dev", "eth0", "altname", "eth1")
    assert pod.look("eth1") is None


def test_each_change_shows_and_nothing_else(pod: Pod) -> None:
    pod.ip("link", "set", "eth0", "mtu", "1300")
    assert pod.look() == (now := replace(pod.as_placed, mtu=1300))
    pod.ip("addr", "add", "10.1.1.1/32", "dev", "eth0")
    assert pod.look() == (now := replace(now, addresses=("172.16.1.5/24", "10.1.1.1/32")))
    pod.ip("route", "del", "10.96.0.0/12")
    assert pod.look() == (now := replace(now, routes=(ROUTES[0], ROUTES[2])))
    pod.ip("link", "set", "eth0", "down")
    assert pod.look() == (now := replace(now, up=False, routes=()))
    pod.ip("addr", "flush", "dev", "eth0")
    assert pod.look() == (now := replace(now, addresses=()))
    pod.ip("link", "set", "eth0", "address", "02:00:00:00:00:99")
    assert pod.look() == replace(now, mac="02:00:00:00:00:99", permanent="02:00:00:00:00:99")


def test_routes_of_every_shape_but_those_of_other_links(pod: Pod) -> None:
    pod.ip("link", "add", "other", "type", "veth", "peer", "name", "x")
    pod.ip("link", "set", "other", "up")
    pod.ip("addr", "add", "10.2.0.1/24", "dev", "other")
    for route in (
        "10.3.0.0/16 dev other",
        "10.4.0.0/16 via 172.16.1.9 table 7",
        "10.5.0.0/16 nexthop via 172.16.1.2 dev eth0 nexthop dev other nexthop via 172.16.1.3 dev eth0",
        "10.6.0.0/16 via inet6 fe80::1 dev eth0",
        "blackhole 10.7.0.0/16",
        "default via 172.16.1.8 metric 5",
        "10.8.0.1 dev eth0",
    ):
        pod.ip("route", "add", *route.split())
    seen = pod.look()
    assert seen is not None
    assert sorted(seen.routes, key=str) == sorted(
        (
            *ROUTES,
            Route("10.4.0.0/16", "172.16.1.9"),
            Route("10.5.0.0/16", "172.16.1.2"),
            Route("10.5.0.0/16", "172.16.1.3"),
            Route("10.6.0.0/16", "fe80::1"),
            Route("0.0.0.0/0", "172.16.1.8"),
            Route("10.8.0.1/32"),
        ),
        key=str,
    )


def test_a_bridge_with_the_nics_mac_is_no_nic(pod: Pod) -> None:
    pod.ip("link", "set", "eth0", "down")
    pod.ip("link", "set", "eth0", "name", "hidden")
    pod.ip("link", "add", "eth0", "address", pod.mac, "type", "bridge")
    seen = pod.look()
    assert seen is not None and (seen.mac, seen.permanent) == (pod.mac, "")


def test_a_namespace_that_cannot_be_looked_into_is_told(pod: Pod) -> None:
    with pytest.raises(LinkFailed, match="the host's own"):
        pod.world.links.look(pod.world.descriptor(pod.world.host), "eth0")
    pod.world.let_go(pod.descriptor)
    with pytest.raises(LinkFailed, match="not a network namespace"):
        pod.look()
