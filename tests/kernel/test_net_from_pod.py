# SPDX-License-Identifier: GPL-3.0-or-later
"""Back to parking from wherever a link is and whatever a container has done to it."""

from __future__ import annotations

import os
import threading
import typing as t
from pathlib import Path

import pytest

from hostnic.errors import LinkFailed
from hostnic.model import PodLink
from hostnic.net.links import KernelLinks
from tests.kernel.net_world import World, ip, own_namespace, resources, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

POD = PodLink("eth0", "172.16.1.5/24")
NAME = "q52549e000001"


@pytest.fixture
def world() -> t.Iterator[World]:
    with World() as world:
        yield world


class Placed:
    """NIC 1, in a pod."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.mac = world.nic()
        world.links.park(self.mac)
        self.pod, self.descriptor = world.pod()
        self.index = world.links.to_pod(self.mac, self.descriptor, POD).ifindex

    def ip(self, *arguments: str) -> None:
        ip("-n", self.pod, *arguments)

    def back(self) -> bool:
        return self.world.links.from_pod(self.mac, self.descriptor, "eth0", self.index)

    def enter_at_last(self) -> None:
        """The vandal may be quicker than the ADD; then the link has to be back in parking each time."""
        for _ in range(100):
            try:
                self.index = self.world.links.to_pod(self.mac, self.descriptor, POD).ifindex
                return
            except LinkFailed:
                assert self.world.places(self.mac, self.pod) == [(self.world.parking, NAME)]
        raise AssertionError("never got in")

    def is_bare(self) -> bool:
        (link,) = self.world.show(self.world.parking).values()
        as_it_should = (link["ifname"], link["address"], link["mtu"]) == (NAME, self.mac, 1500)
        bare = not {"altnames", "ifalias"} & link.keys() and not {"UP", "PROMISC", "NOARP"} & set(link["flags"])
        nothing_left = self.world.addresses(self.world.parking, NAME) == []
        return as_it_should and bare and nothing_left and self.world.show(self.pod) == {}


@pytest.fixture
def placed(world: World) -> Placed:
    return Placed(world)


def test_it_comes_back_down_and_bare_as_often_as_asked(placed: Placed) -> None:
    assert placed.back() and placed.is_bare()
    assert placed.back() and placed.is_bare()
    assert placed.world.links.from_pod(placed.mac, None, "eth0", 0) and placed.is_bare()


def test_renamed_in_the_pod(placed: Placed) -> None:
    placed.ip("link", "set", "eth0", "down")
    placed.ip("link", "set", "eth0", "name", "weird")
    assert placed.back() and placed.is_bare()


def test_changed_mac_is_found_by_index_and_name_and_restored(placed: Placed) -> None:
    placed.ip("link", "set", "eth0", "address", "02:00:00:00:00:99")
    assert not placed.world.links.in_pod(placed.mac, placed.descriptor, "eth0")
    assert placed.back() and placed.is_bare()


@pytest.mark.parametrize(("ifname", "offset"), [("eth1", 0), ("eth0", 7)])
def test_changed_mac_with_another_index_or_name_is_not_taken(placed: Placed, ifname: str, offset: int) -> None:
    placed.ip("link", "set", "eth0", "address", "02:00:00:00:00:99")
    assert not placed.world.links.from_pod(placed.mac, placed.descriptor, ifname, placed.index + offset)
    assert list(placed.world.show(placed.pod)) == ["eth0"]


def test_altnames_alias_mtu_and_flags_are_undone(placed: Placed) -> None:
    for change in ("alias hello", "mtu 1300", "promisc on", "arp off", "allmulticast on"):
        placed.ip("link", "set", "eth0", *change.split())
    placed.ip("link", "property", "add", "dev", "eth0", "altname", "first", "altname", "second")
    assert placed.back() and placed.is_bare()


def test_an_altname_of_any_bytes_is_undone(placed: Placed) -> None:
    name = os.fsdecode(b"\xff\xfe")
    placed.ip("link", "property", "add", "dev", "eth0", "altname", name)
    assert placed.back() and placed.is_bare()


def test_an_altname_that_is_taken_in_parking_does_not_hold_it_back(placed: Placed) -> None:
    ip("-n", placed.world.parking, "link", "add", "taken", "type", "bridge")
    placed.ip("link", "property", "add", "dev", "eth0", "altname", "taken")
    assert placed.back()
    assert placed.world.places(placed.mac, placed.pod) == [(placed.world.parking, NAME)]


def test_a_squatter_under_its_parking_name_is_told(placed: Placed) -> None:
    ip("-n", placed.world.parking, "link", "add", NAME, "type", "bridge")
    with pytest.raises(LinkFailed, match=f"cannot bring NIC {placed.mac} into the parking namespace"):
        placed.back()
    ip("-n", placed.world.parking, "link", "del", NAME)
    assert placed.back() and placed.is_bare()


def test_a_stacked_link_with_the_same_mac_is_not_taken_for_it(placed: Placed) -> None:
    placed.ip("link", "set", "eth0", "down")
    placed.ip("link", "set", "eth0", "name", "zz")
    placed.ip("link", "add", "link", "zz", "name", "eth0", "type", "macvlan", "mode", "passthru")
    placed.ip("link", "set", "eth0", "address", placed.mac)
    assert not placed.world.links.in_pod(placed.mac, placed.descriptor, "eth0")
    assert placed.back()
    assert placed.world.places(placed.mac) == [(placed.world.parking, NAME)]
    assert placed.world.show(placed.world.parking)[NAME]["linkinfo"]["info_kind"] == "veth"


def test_it_lies_in_the_host_under_any_name(placed: Placed) -> None:
    """A physical NIC returns there when its netns dies."""
    host = placed.world.host
    placed.ip("link", "set", "eth0", "netns", host, "name", "dev7")
    ip("-n", host, "link", "set", "dev7", "up")
    ip("-n", host, "addr", "add", "10.1.1.1/24", "dev", "dev7")
    ip("-n", host, "link", "property", "add", "dev", "dev7", "altname", "enp9s0")
    assert placed.world.links.from_pod(placed.mac, None, "eth0", placed.index) and placed.is_bare()


def test_a_name_in_the_host_that_is_taken_in_parking_does_not_matter(placed: Placed) -> None:
    ip("-n", placed.world.parking, "link", "add", "eth0", "type", "veth", "peer", "name", "x")
    placed.ip("link", "set", "eth0", "netns", placed.world.host)
    assert placed.world.links.from_pod(placed.mac, None, "eth0", placed.index)
    assert placed.world.places(placed.mac) == [(placed.world.parking, NAME)]


def test_a_veth_whose_netns_died_is_nowhere(placed: Placed) -> None:
    placed.world.let_go(placed.descriptor)
    ip("netns", "del", placed.pod)
    # the kernel destroys a namespace some time after its last user left
    assert until(lambda: "p1" not in placed.world.show(placed.world.switch))
    assert not placed.world.links.from_pod(placed.mac, None, "eth0", placed.index)


def test_a_link_that_was_deleted_in_the_pod_is_nowhere(placed: Placed) -> None:
    placed.ip("link", "del", "eth0")
    assert not placed.back()


def test_a_descriptor_keeps_the_netns_of_a_dead_pod_alive(placed: Placed) -> None:
    ip("netns", "del", placed.pod)
    assert placed.back()
    assert placed.world.places(placed.mac) == [(placed.world.parking, NAME)]


def test_while_a_container_renames_and_changes_it_all_the_time_it_comes_back(placed: Placed) -> None:
    over = threading.Event()

    def vandal() -> None:
        names = ("eth0", "weird", "odd")
        while not over.is_set():
            for old, new in zip(names, (*names[1:], names[0])):
                ip("-n", placed.pod, "link", "set", old, "down", check=False)
                ip("-n", placed.pod, "link", "set", old, "name", new, check=False)
                ip("-n", placed.pod, "link", "property", "add", "dev", new, "altname", "a" + new, check=False)

    thread = threading.Thread(target=vandal)
    thread.start()
    try:
        for _ in range(10):
            assert placed.world.links.from_pod(placed.mac, placed.descriptor, "eth0", placed.index)
            assert placed.world.places(placed.mac, placed.pod) == [(placed.world.parking, NAME)]
            assert "altnames" not in placed.world.show(placed.world.parking)[NAME]
            placed.enter_at_last()
    finally:
        over.set()
        thread.join()


def test_a_restarted_agent_brings_it_back(placed: Placed) -> None:
    links = KernelLinks(placed.world.path(placed.world.parking), placed.world.path(placed.world.host))
    try:
        assert links.from_pod(placed.mac, placed.descriptor, "eth0", placed.index) and placed.is_bare()
    finally:
        links.close()


def test_parking_must_be_a_namespace_of_its_own(world: World, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for path, says in (
        (str(empty), "no network namespace here"),
        (str(tmp_path / "absent"), "cannot open"),
        (world.path(world.host), "host's own"),
    ):
        before = resources()
        with pytest.raises(LinkFailed, match=says):
            KernelLinks(path, world.path(world.host))
        assert resources() == before
    assert world.sysctl(world.host, "ipv6/conf/default/disable_ipv6") == "0"


def test_descriptors_and_threads_are_given_back(world: World) -> None:
    mac = world.nic()
    before = resources()
    links = KernelLinks(world.path(world.parking), world.path(world.host))
    links.park(mac)
    pod, descriptor = world.pod()
    for _ in range(5):
        index = links.to_pod(mac, descriptor, POD).ifindex
        links.from_pod(mac, descriptor, "eth0", index)
        with pytest.raises(LinkFailed):
            links.to_pod(mac, descriptor, PodLink("eth0", "x"))
    links.close()
    descriptors, threads = resources()
    assert (descriptors - 1, threads) == before, "the pod's descriptor is ours"
    with pytest.raises(LinkFailed, match="closed"):
        links.park(mac)


def test_the_calling_thread_never_leaves_its_namespace(placed: Placed) -> None:
    seen = []
    own = own_namespace()
    placed.world.links._envoy.visit(placed.descriptor, lambda: seen.append(own_namespace()))
    assert seen == [os.fstat(placed.descriptor).st_ino]
    assert own_namespace() == own
