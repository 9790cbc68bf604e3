# SPDX-License-Identifier: GPL-3.0-or-later
"""From parking into a pod: what the pod gets, what its peers hear, and where the link is after a failure."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hostnic import afterwards
from hostnic.errors import LinkFailed
from hostnic.model import Placed, PodLink, Route
from hostnic.net import pci
from tests.kernel.net_world import World, announcements, ip

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

POD = PodLink(
    "eth0",
    "172.16.1.5/24",
    (Route("0.0.0.0/0", "172.16.1.1"), Route("10.96.0.0/12", "172.16.1.11"), Route("169.254.20.0/24")),
)


@pytest.fixture
def world() -> t.Iterator[World]:
    with World() as world:
        yield world


def test_address_mask_routes_and_flags_are_exact(world: World) -> None:
    mac = world.nic()
    world.links.park(mac)
    pod, descriptor = world.pod()
    placed = world.links.to_pod(mac, descriptor, POD)
    link = world.show(pod)["eth0"]
    assert placed == Placed(link["ifindex"], link["mtu"], pci_id="")
    assert link["address"] == mac
    assert {"UP", "LOWER_UP"} <= set(link["flags"])
    (address,) = world.addresses(pod, "eth0")
    assert (address["local"], address["prefixlen"], address["broadcast"]) == ("172.16.1.5", 24, "172.16.1.255")
    assert sorted(world.routes(pod)) == [
        "10.96.0.0/12 via 172.16.1.11 dev eth0 proto static",
        "169.254.20.0/24 dev eth0 proto static scope link",
        "172.16.1.0/24 dev eth0 proto kernel scope link src 172.16.1.5",
        "default via 172.16.1.1 dev eth0 proto static",
    ]
    assert world.places(mac, pod) == [(pod, "eth0")]
    assert world.links.in_pod(mac, descriptor, "eth0")


def test_the_pods_socket_is_closed_when_the_caller_has_its_answer(world: World) -> None:
    def open_sockets() -> int:
        return sum(
            str(entry.readlink()).startswith("socket:")
            for entry in Path("/proc/self/fd").iterdir()
            if entry.is_symlink()
        )

    mac = world.nic()
    world.links.park(mac)
    __, descriptor = world.pod()
    before = open_sockets()
    with afterwards.gathered():
        world.links.to_pod(mac, descriptor, POD)
        assert open_sockets() == before + 1
    assert open_sockets() == before


def test_a_nic_on_pci_is_asked_for_its_address_once_when_it_is_parked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A veth has none, so the kernel's answer for a virtio NIC stands in, by whatever name the link is asked."""
    asked = []

    def answer(_socket: socket.socket, _request: int, ifreq: bytes) -> None:
        name, pointer = struct.unpack("@16sP16x", ifreq)
        asked.append(name.rstrip(bytes(1)).decode())
        ctypes.memmove(pointer + 4 + 3 * 32, b"0000:00:05.0", 12)

    monkeypatch.setattr(fcntl, "ioctl", answer)
    mac = world.nic()
    world.links.park(mac)
    assert asked == ["q52549e000001"]
    monkeypatch.undo()
    pod, descriptor = world.pod()
    for _ in range(2):
        placed = world.links.to_pod(mac, descriptor, POD)
        assert placed.pci_id == "0000:00:05.0"
        world.links.from_pod(mac, descriptor, "eth0", placed.ifindex)


def test_the_address_on_pci_is_asked_for_where_the_link_is(world: World) -> None:
    world.nic()
    there = world.within(world.host, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with there, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        assert pci.address(there, "ens1") == ""
        with pytest.raises(OSError, match="No such device"):
            pci.address(here, "ens1")


def test_the_address_is_announced_exactly_once(world: World) -> None:
    mac = world.nic()
    world.links.park(mac)
    _, descriptor = world.pod()
    ear = world.ear("p1")
    world.links.to_pod(mac, descriptor, POD)
    assert announcements(ear) == [(mac, "172.16.1.5")]


def test_a_pod_follows_no_redirects(world: World) -> None:
    mac = world.nic()
    world.links.park(mac)
    pod, descriptor = world.pod()
    for namespace in (pod, world.host):  # new namespaces take over whatever the machine has
        ip("netns", "exec", namespace, "sysctl", "-qw", "net.ipv4.conf.all.accept_redirects=1")
    world.links.to_pod(mac, descriptor, POD)
    assert world.sysctl(pod, "ipv4/conf/all/accept_redirects") == "0"
    assert world.sysctl(pod, "ipv4/conf/eth0/accept_redirects") == "0"
    assert world.sysctl(world.host, "ipv4/conf/all/accept_redirects") == "1"


def test_the_mtu_is_set_on_request_and_undone(world: World) -> None:
    mac = world.nic()
    world.links.park(mac)
    pod, descriptor = world.pod()
    placed = world.links.to_pod(mac, descriptor, PodLink("eth0", "172.16.1.5/24", mtu=1400))
    assert (placed.mtu, world.show(pod)["eth0"]["mtu"]) == (1400, 1400)
    assert world.links.from_pod(mac, descriptor, "eth0", placed.ifindex)
    assert [link["mtu"] for link in world.show(world.parking).values()] == [1500]


def test_a_route_that_is_there_already_stays(world: World) -> None:
    mac = world.nic()
    world.links.park(mac)
    pod, descriptor = world.pod()
    ip("-n", pod, "link", "add", "other", "type", "veth", "peer", "name", "x")
    ip("-n", pod, "link", "set", "other", "up")
    ip("-n", pod, "route", "add", "default", "dev", "other")
    world.links.to_pod(mac, descriptor, POD)
    assert world.routes(pod, "default") == ["default dev other scope link linkdown"]


def test_an_ifindex_that_is_taken_in_the_pod_is_looked_up_again(world: World) -> None:
    mac = world.nic()
    parked = world.links.park(mac)
    pod, descriptor = world.pod()
    ip("-n", pod, "link", "add", "x", "type", "veth", "peer", "name", "y")
    assert parked.ifindex in [link["ifindex"] for link in world.show(pod).values()]
    index = world.links.to_pod(mac, descriptor, POD).ifindex
    assert index != parked.ifindex
    assert world.show(pod)["eth0"]["ifindex"] == index
    assert world.addresses(pod, "eth0")


@pytest.mark.parametrize("how", ["name", "altname"])
def test_a_name_that_is_taken_is_told_and_nothing_moves(world: World, how: str) -> None:
    mac = world.nic()
    world.links.park(mac)
    pod, descriptor = world.pod()
    _take(pod, how)
    with pytest.raises(LinkFailed, match="has an interface eth0 already") as caught:
        world.links.to_pod(mac, descriptor, POD)
    assert caught.value.details["ifname"] == "eth0"
    assert world.places(mac, pod) == [(world.parking, "q52549e000001")]


@pytest.mark.parametrize("how", ["name", "altname"])
def test_a_name_that_is_taken_at_the_last_moment_brings_the_link_back(
    world: World, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel answers EEXIST although it has moved the link."""
    mac = world.nic()
    world.links.park(mac)
    pod, descriptor = world.pod()
    send_out = world.links._send_out

    def late(*arguments: t.Any) -> None:
        _take(pod, how)
        send_out(*arguments)

    monkeypatch.setattr(world.links, "_send_out", late)
    with pytest.raises(LinkFailed, match="has an interface eth0 already"):
        world.links.to_pod(mac, descriptor, POD)
    assert world.places(mac, pod) == [(world.parking, "q52549e000001")]
    assert "UP" not in world.show(world.parking)["q52549e000001"]["flags"]


@pytest.mark.parametrize(
    ("pod_link", "says"),
    [
        (PodLink("eth0", "172.16.1.5/24", (Route("0.0.0.0/0", "9.9.9.9"),)), "route 0.0.0.0/0 via 9.9.9.9.*gateway"),
        (PodLink("eth0", "not an address"), "no IPv4 address"),
        (PodLink("eth0", "172.16.1.5/24", (Route("1.2.3.4/8", ""),)), "1.2.3.4/8.*host bits"),
        (PodLink("eth0", "172.16.1.5/24", (Route("0.0.0.0/0", "x"),)), "'x'"),
        (PodLink("eth0", "172.16.1.5/24", mtu=10), "move NIC 52:54:9e:00:00:01 into the pod"),
        (PodLink("much-too-long-for-a-name", "172.16.1.5/24"), "much-too-long-for-a-name"),
        (PodLink("eth%d", "172.16.1.5/24"), "eth%d"),
    ],
)
def test_what_the_kernel_refuses_is_told_and_the_link_is_back(world: World, pod_link: PodLink, says: str) -> None:
    mac = world.nic()
    world.links.park(mac)
    pod, descriptor = world.pod()
    with pytest.raises(LinkFailed, match=says):
        world.links.to_pod(mac, descriptor, pod_link)
    assert world.places(mac, pod) == [(world.parking, "q52549e000001")]
    assert world.show(pod) == {}
    # and it is as good as new
    world.links.to_pod(mac, descriptor, POD)
    assert world.addresses(pod, "eth0")


def test_a_nic_that_is_not_parked_is_missing(world: World) -> None:
    mac = world.nic()
    _, descriptor = world.pod()
    with pytest.raises(LinkFailed, match="not in the parking") as caught:
        world.links.to_pod(mac, descriptor, POD)
    assert caught.value.details["missing"]
    assert world.places(mac) == [(world.host, "ens1")]


def test_only_another_network_namespace_is_a_pod(world: World, tmp_path: Path) -> None:
    mac = world.nic()
    world.links.park(mac)
    plain = os.open(tmp_path, os.O_RDONLY)
    uts = os.open("/proc/self/ns/uts", os.O_RDONLY)
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    cases = [
        (plain, "not a network namespace"),
        (uts, "not a network namespace"),
        (own, "the agent's own"),
        (world.descriptor(world.host), "the host's own"),
        (world.descriptor(world.parking), "the parking own"),
        (12345, "not a network namespace"),
    ]
    try:
        for descriptor, says in cases:
            for call in (
                lambda d: world.links.to_pod(mac, d, POD),
                lambda d: world.links.from_pod(mac, d, "eth0", 1),
                lambda d: world.links.in_pod(mac, d, "eth0"),
                lambda d: world.links.look(d, "eth0"),
            ):
                with pytest.raises(LinkFailed, match=says):
                    call(descriptor)
    finally:
        for descriptor in (plain, uts, own):
            os.close(descriptor)
    assert world.places(mac) == [(world.parking, "q52549e000001")]


def test_eight_threads_at_once_keep_pods_apart_and_the_machine_untouched(world: World) -> None:
    """A request that landed in the caller's namespace would leave a trace there."""
    before = ip("-j", "addr", "show", "lo")
    nics = [world.nic(number) for number in range(1, 17)]
    for mac in nics:
        world.links.park(mac)
    pods = [world.pod(f"pod{number}") for number in range(len(nics))]
    meet = threading.Barrier(8)

    def live(number: int) -> None:
        mac, (_, descriptor) = nics[number], pods[number]
        if number < 8:
            meet.wait(10)
        for _ in range(3):
            link = PodLink("eth0", f"172.16.1.{number + 10}/24", (Route("0.0.0.0/0", "172.16.1.1"),))
            index = world.links.to_pod(mac, descriptor, link).ifindex
            assert world.links.in_pod(mac, descriptor, "eth0")
            assert world.links.from_pod(mac, descriptor, "eth0", index)
        world.links.to_pod(mac, descriptor, link)

    with ThreadPoolExecutor(8) as workers:
        for outcome in [workers.submit(live, number) for number in range(len(nics))]:
            outcome.result(60)
    for number, (mac, (pod, _)) in enumerate(zip(nics, pods)):
        assert [(name, link["address"]) for name, link in world.show(pod).items()] == [("eth0", mac)]
        assert [address["local"] for address in world.addresses(pod, "eth0")] == [f"172.16.1.{number + 10}"]
    assert world.show(world.parking) == {}
    assert ip("-j", "addr", "show", "lo") == before
    traces = ip("link") + ip("addr") + ip("route", "show", "table", "all")
    assert not [trace for trace in ("52:54:9e:00:00:", "172.16.1.", "q52549e") if trace in traces]


def _take(pod: str, how: str) -> None:
    name = "eth0" if how == "name" else "other"
    ip("-n", pod, "link", "add", name, "type", "veth", "peer", "name", "x")
    if how == "altname":
        ip("-n", pod, "link", "property", "add", "dev", "other", "altname", "eth0")
