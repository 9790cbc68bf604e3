# SPDX-License-Identifier: GPL-3.0-or-later
"""What the next pod gets is as fresh as what the first one got, whatever root in a container did to the NIC."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import socket
import subprocess
import typing as t
from pathlib import Path

import pytest

from hostnic.errors import LinkFailed
from hostnic.model import PodLink
from hostnic.net import programs, records, requests
from hostnic.net.devices import Device, everything, find
from hostnic.net.links import KernelLinks
from hostnic.net.netlink import Netlink
from tests.kernel import bpf_programs
from tests.kernel.net_world import World, ip

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

POD = PodLink("eth0", "172.16.1.5/24")
NAME = "q52549e000001"

# What a link tells of itself that a move or time changes by itself: statistics, counts of carrier changes, and per-link
# sysctls, which are compared as files
VOLATILE = {7, 23, 26, 35, 47, 48}
# what is right again as soon as the link is up: after a unicast address too many, this (the promiscuity count)
WHILE_DOWN = {30}

# Everything that RTM_SETLINK, tc, bridge, nft and the ioctls let root change on a NIC of this kernel.
CHANGES = {
    "mac": "ip link set eth0 address 02:00:00:00:00:99",
    "broadcast": "ip link set eth0 broadcast 01:02:03:04:05:06",
    "name": "ip link set eth0 down; ip link set eth0 name lo1; ip link set lo1 name eth0",
    "mtu": "ip link set eth0 mtu 1300",
    "large mtu": "ip link set eth0 mtu 9000",
    "txqueuelen": "ip link set eth0 txqueuelen 7",
    "no txqueuelen": "ip link set eth0 txqueuelen 0",
    "group": "ip link set eth0 group 55",
    "alias": "ip link set eth0 alias hello",
    "altnames": "ip link property add dev eth0 altname first altname second",
    "promiscuous": "ip link set eth0 promisc on",
    "allmulticast": "ip link set eth0 allmulticast on",
    "no multicast": "ip link set eth0 multicast off",
    "no arp": "ip link set eth0 arp off",
    "trailers": "ip link set eth0 trailers off",
    "dynamic": "ip link set eth0 dynamic on",
    "dormant": "ip link set eth0 mode dormant; ip link set eth0 state dormant",
    "gso size": "ip link set eth0 gso_max_size 5000",
    "gso segments": "ip link set eth0 gso_max_segs 10",
    "gro size": "ip link set eth0 gro_max_size 5000",
    "large gso": "ip link set eth0 gso_max_size 200000",
    "address generation": "ip link set eth0 addrgenmode random",
    "addresses": "ip addr add 10.1.1.1/24 dev eth0; ip -6 addr add fd00::5/64 dev eth0",
    "neighbours": "ip neigh add 10.1.1.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
    "neighbour table": "ip ntable change name arp_cache dev eth0 retrans 77000",
    "multicast addresses": "ip maddr add 33:33:00:00:12:34 dev eth0",
    "unicast addresses": "bridge fdb add 02:00:00:00:00:77 dev eth0 self",
    "queueing": "tc qdisc add dev eth0 root tbf rate 1kbit burst 2k latency 1ms; tc qdisc add dev eth0 clsact",
    "netfilter": "nft 'table netdev t { chain i { type filter hook ingress device eth0 priority 0; drop; }; "
    "chain e { type filter hook egress device eth0 priority 0; drop; }; }'",
    "ipv4 settings": "sysctl -qw net.ipv4.conf.eth0.arp_ignore=8 net.ipv4.neigh.eth0.gc_stale_time=7",
    "ipv6 settings": "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1 net.ipv6.conf.eth0.mtu=1280",
    "bridge": "ip link add br0 type bridge; ip link set eth0 master br0; ip link set br0 up",
    "macvlan": "ip link add link eth0 name mv type macvlan mode bridge; ip link set mv up",
    "passthru": "ip link add link eth0 name mv type macvlan mode passthru; ip link set mv up",
    "macvlan and mac": "ip link add link eth0 name mv type macvlan; ip link set eth0 address 02:00:00:00:00:99",
    "macvlan of a macvlan": "ip link add link eth0 name mv type macvlan; ip link add link mv name mv2 type macvlan",
}


@pytest.fixture
def world() -> t.Iterator[World]:
    with World() as world:
        yield world


class Placed:
    """NIC 1, in its first pod; `before` is what it was like in parking."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.mac = world.nic()
        world.links.park(self.mac)
        self.before = self.parked()
        self.pod, self.descriptor = world.pod()
        self.index = world.links.to_pod(self.mac, self.descriptor, POD).ifindex
        self.first = _description(world, self.pod)

    def parked(self) -> dict[int, bytes]:
        return _steady(self.world.attributes(self.world.parking, NAME), VOLATILE | WHILE_DOWN)

    def run(self, command: str) -> None:
        done = subprocess.run(["ip", "netns", "exec", self.pod, "sh", "-c", command], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()

    def inside(self, errand: t.Callable[[], t.Any]) -> t.Any:
        return self.world.within(self.pod, errand)

    def back(self, links: t.Optional[KernelLinks] = None) -> bool:
        return (links or self.world.links).from_pod(self.mac, self.descriptor, "eth0", self.index)

    def is_like_new(self) -> bool:
        """In parking, and in a next pod."""
        assert self.parked() == self.before
        index = int(self.world.show(self.world.parking)[NAME]["ifindex"])
        left = [self.world.within(self.world.parking, lambda h=hook: bpf_programs.at(index, h)) for hook in (46, 47)]
        assert left == [0, 0]
        pod, descriptor = self.world.pod("next")
        self.world.links.to_pod(self.mac, descriptor, POD)
        assert _description(self.world, pod) == self.first
        return True


@pytest.fixture
def placed(world: World) -> Placed:
    return Placed(world)


@pytest.mark.parametrize("what", CHANGES)
def test_nothing_that_a_pod_changes_is_left(placed: Placed, what: str) -> None:
    placed.run(CHANGES[what])
    assert placed.back() and placed.is_like_new()
    assert placed.world.show(placed.pod).keys() <= {"br0"}


def _change_everything(placed: Placed) -> None:
    for what, command in CHANGES.items():
        if what not in (
            "bridge",
            "passthru",
            "large gso",
            "large mtu",
            "macvlan and mac",
            "macvlan of a macvlan",
        ):  # exclude others
            placed.run(command)
    placed.inside(lambda: bpf_programs.xdp(placed.index, bpf_programs.GENERIC))
    placed.inside(lambda: bpf_programs.tcx(placed.index, bpf_programs.TCX_INGRESS))


def test_of_everything_together_nothing_is_left_and_packets_pass(placed: Placed) -> None:
    _change_everything(placed)
    assert placed.back() and placed.is_like_new()
    world = placed.world
    ip("-n", world.switch, "addr", "add", "172.16.1.1/24", "dev", "p1")
    (pod,) = [pod for pod in world.pods if world.show(pod)]
    ears = world.within(pod, lambda: socket.create_server(("172.16.1.5", 7000)))
    with ears, world.within(world.switch, lambda: socket.create_connection(("172.16.1.5", 7000), 5)):
        pass


@pytest.mark.parametrize("name", ["ens1", "dev7", "eth0"])
def test_a_nic_that_returned_to_the_host_by_itself_is_parked_like_new(placed: Placed, name: str) -> None:
    """As the kernel does for a physical NIC whose netns dies: its old name, or devN where that is taken."""
    world = placed.world
    _change_everything(placed)
    placed.run("ip link del mv")  # dies with the netns
    if name == "dev7":
        ip("-n", world.host, "link", "add", "ens1", "type", "bridge")
    ip("-n", placed.pod, "link", "set", "eth0", "address", placed.mac)  # a veth has no permanent one to be found by
    ip("-n", placed.pod, "link", "set", "eth0", "netns", world.host, "name", name)
    assert world.links.park(placed.mac).mtu == 1500
    assert placed.is_like_new()
    assert world.show(world.host).keys() <= {"ens1"}


def test_a_name_of_another_nic_of_ours_does_no_harm(placed: Placed) -> None:
    """A container may call its NIC as another one is called in parking."""
    world = placed.world
    other = world.nic(2)
    world.links.park(other)
    placed.run("ip link set eth0 down; ip link set eth0 name q52549e000002")
    ip("-n", placed.pod, "link", "set", "q52549e000002", "netns", world.host)
    assert world.links.park(placed.mac).name == NAME
    assert world.links.park(other).name == "q52549e000002"
    assert {name: link["address"] for name, link in world.show(world.parking).items()} == {
        NAME: placed.mac,
        "q52549e000002": other,
    }


def test_a_squatter_in_parking_is_told_of_a_nic_in_the_host_too(placed: Placed) -> None:
    world = placed.world
    ip("-n", placed.pod, "link", "set", "eth0", "netns", world.host, "name", "dev7")
    ip("-n", world.parking, "link", "add", NAME, "type", "bridge")
    with pytest.raises(LinkFailed, match=f"cannot bring NIC {placed.mac} into the parking namespace"):
        world.links.park(placed.mac)
    ip("-n", world.parking, "link", "del", NAME)
    world.links.park(placed.mac)
    assert placed.is_like_new()


def test_what_stood_on_it_may_be_gone_already_or_no_link_that_can_be_deleted(world: World) -> None:
    channel = world.within(world.host, Netlink)
    channel.send(requests.drop_link(9999, "drop it"), requests.drop_link(1, "drop lo"))
    channel.close()


# -- programs --


@pytest.mark.parametrize("mode", [bpf_programs.GENERIC, bpf_programs.NATIVE])
def test_an_xdp_program_is_taken_away(placed: Placed, mode: int) -> None:
    placed.inside(lambda: bpf_programs.xdp(placed.index, mode))
    assert placed.back() and placed.is_like_new()


def test_an_xdp_program_that_a_bpf_link_holds_is_taken_away_and_no_other(placed: Placed) -> None:
    """Neither another program on a link of that index, nor that program on another link."""
    other, _ = placed.world.pod("other")
    for name, index in (("same", placed.index), ("none", placed.index + 7)):
        peer = ("peer", "name", name, "netns", placed.world.switch)
        ip("-n", other, "link", "add", name, "index", str(index), "type", "veth", *peer)
    with _descriptors() as held:
        held += [bpf_programs.program(bpf_programs.XDP, 1) for _ in range(2)]
        first, second = held
        for namespace, index, program in (
            (other, placed.index, second),
            (other, placed.index + 7, first),
            (placed.pod, placed.index, first),
        ):
            attach = functools.partial(bpf_programs.link, index, bpf_programs.AT_XDP, program, bpf_programs.GENERIC)
            held.append(placed.world.within(namespace, attach))
        assert placed.back() and placed.is_like_new()
        assert [name for name, link in placed.world.show(other).items() if "xdp" in link] == ["same", "none"]


@contextlib.contextmanager
def _descriptors() -> t.Iterator[list[int]]:
    held: list[int] = []
    try:
        yield held
    finally:
        for descriptor in held:
            os.close(descriptor)


@pytest.mark.parametrize("hook", [bpf_programs.TCX_INGRESS, bpf_programs.TCX_EGRESS])
def test_tcx_programs_are_taken_away_whoever_holds_them(placed: Placed, hook: int) -> None:
    for _ in range(3):
        placed.inside(lambda: bpf_programs.tcx(placed.index, hook))
    with _descriptors() as held:
        held.append(bpf_programs.program(bpf_programs.SCHED_CLS, 2))
        held.append(placed.inside(lambda: bpf_programs.link(placed.index, hook, held[0])))
        placed.inside(lambda: bpf_programs.tcx(placed.index, hook))
        assert placed.inside(lambda: bpf_programs.at(placed.index, hook)) == 5
        assert placed.back() and placed.is_like_new()


def _refuse_bpf(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: t.Any) -> t.NoReturn:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(programs, "_bpf", refuse)


def test_where_bpf_is_refused_that_is_logged_once_and_netlink_does_what_it_can(
    placed: Placed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    placed.inside(lambda: bpf_programs.xdp(placed.index, bpf_programs.GENERIC))
    with monkeypatch.context() as refusing:
        _refuse_bpf(refusing, errno.EPERM)
        assert placed.back() and placed.back()
    assert caplog.text.count("may not call bpf(2)") == 1
    assert placed.is_like_new()


def test_a_program_that_stays_is_told(placed: Placed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The NIC is in parking, and nobody takes it for free."""
    with _descriptors() as held:
        held.append(bpf_programs.program(bpf_programs.XDP, 1))
        at_xdp = (bpf_programs.AT_XDP, held[0], bpf_programs.GENERIC)
        held.append(placed.inside(lambda: bpf_programs.link(placed.index, *at_xdp)))
        with monkeypatch.context() as refusing:
            _refuse_bpf(refusing, errno.EPERM)
            with pytest.raises(LinkFailed, match="BPF XDP link"):
                placed.back()
            _refuse_bpf(refusing, errno.ENOMEM)
            with pytest.raises(LinkFailed, match="cannot take the BPF programs off"):
                placed.back()
        assert placed.world.places(placed.mac, placed.pod) == [(placed.world.parking, NAME)]
        assert placed.back() and placed.is_like_new()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
def test_a_kernel_without_tcx_or_without_bpf_has_no_programs(
    placed: Placed, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    placed.inside(lambda: bpf_programs.xdp(placed.index, bpf_programs.GENERIC))
    with monkeypatch.context() as refusing:
        _refuse_bpf(refusing, code)
        assert placed.back()
    assert caplog.text == "" and placed.is_like_new()


# -- what a NIC was like --


def test_a_restarted_agent_knows_what_it_was_like(placed: Placed) -> None:
    world = placed.world
    _change_everything(placed)
    links = KernelLinks(world.path(world.parking), world.path(world.host))
    try:
        assert placed.back(links) and placed.is_like_new()
    finally:
        links.close()


def test_what_the_cloud_gave_is_kept_also_where_it_is_unusual(world: World) -> None:
    mac = world.nic()
    for change in ("mtu 8500", "txqueuelen 0", "gso_max_size 60000"):
        ip("-n", world.host, "link", "set", "ens1", *change.split())
    world.links.park(mac)
    _, descriptor = world.pod()
    links = KernelLinks(world.path(world.parking), world.path(world.host))
    try:
        placed = links.to_pod(mac, descriptor, PodLink("eth0", "172.16.1.5/24", mtu=1400))
        assert placed.mtu == 1400
        links.from_pod(mac, descriptor, "eth0", placed.ifindex)
        assert links.park(mac).mtu == 8500
        parked = world.show(world.parking)[NAME]
        assert (parked["mtu"], parked.get("txqlen", 0), parked["gso_max_size"]) == (8500, 0, 60000)
    finally:
        links.close()


def test_what_is_recorded_already_is_not_told_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    links = KernelLinks(world.path(world.parking), world.path(world.host))
    try:
        mac = world.nic()
        assert world.links.park(mac) == links.park(mac)
        assert caplog.text == ""
    finally:
        links.close()


def test_only_so_many_nics_are_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST", 2)
    for number in (1, 2, 3):
        world.links.park(world.nic(number))
    (loopback,) = [d for d in _devices(world, world.parking) if d.name == "lo"]
    found = [records.parse(name.decode()) for name in loopback.altnames]
    assert [record[0][-2:] for record in found if record] == ["02", "03"]
    links = KernelLinks(world.path(world.parking), world.path(world.host))
    assert links._parking._records.of("52:54:9e:00:00:03")["IFLA_MTU"] == 1500
    links.close()


def test_where_it_cannot_be_kept_the_nic_is_parked_all_the_same(world: World, caplog: pytest.LogCaptureFixture) -> None:
    ip("-n", world.parking, "link", "set", "lo", "down")
    world.links._parking._records._index = 9999
    assert world.links.park(world.nic()).place == "parking"
    assert "may not know the MTU" in caplog.text


# -- whose MAC it is --


def test_a_permanent_mac_tells_whatever_the_container_made_of_the_other(placed: Placed) -> None:
    """No virtual link of this kernel has one, so it is written into what the kernel told."""
    placed.run("ip link set eth0 address 02:00:00:00:00:99; ip link add x address 52:54:9e:00:00:01 type veth")
    devices = _devices(placed.world, placed.pod)
    assert [device.name for device in devices if device is find(devices, placed.mac)] == ["x"]
    real = [_permanent(device, placed.mac) if device.name == "eth0" else device for device in devices]
    found = find(real, placed.mac)
    assert found and (found.name, found.mac) == ("eth0", "02:00:00:00:00:99")
    assert find(real, "02:00:00:00:00:99") is None


def _permanent(device: Device, mac: str) -> Device:
    return Device(**{**vars(device), "permanent": mac})


def _devices(world: World, namespace: str) -> list[Device]:
    channel = world.within(namespace, Netlink)
    try:
        return everything(channel)
    finally:
        channel.close()


def _steady(attributes: dict[int, bytes], without: t.Container[int]) -> dict[int, bytes]:
    return {key: value for key, value in attributes.items() if key not in without}


def _description(world: World, pod: str) -> dict[str, t.Any]:
    """All that there is to see of eth0 in a pod."""

    def settings() -> dict[str, str]:
        folders = [
            Path("/proc/sys/net", family, kind, "eth0") for family in ("ipv4", "ipv6") for kind in ("conf", "neigh")
        ]
        files = [file for folder in folders for file in sorted(folder.iterdir())]
        secret = ("stable_secret", "base_reachable_time", "base_reachable_time_ms", "retrans_time")
        return {str(file): file.read_text() for file in files if file.name not in secret}

    shown = {
        what: ip("-n", pod, *what.split())
        for what in ("maddr", "neigh", "-4 addr show dev eth0", "route show table all")
    }
    shown["qdisc"] = subprocess.run(["tc", "-n", pod, "qdisc"], capture_output=True, text=True, check=True).stdout
    shown["fdb"] = subprocess.run(["bridge", "-n", pod, "fdb"], capture_output=True, text=True, check=True).stdout
    shown["ntable"] = ip("-n", pod, "ntable", "show", "dev", "eth0")
    # drawn anew from time to time; what the kernel is busy with; nobody's promise; IPv6's own, some time after it is up
    passing = re.compile(r" reachable \d+| refcnt \d+|^\d+:\s|^.*(33:33:ff:|ff02::1:ff).*\n", re.M)
    shown = {what: passing.sub("", text) for what, text in shown.items()}
    return {"link": _steady(world.attributes(pod, "eth0"), VOLATILE), "settings": world.within(pod, settings), **shown}
