# SPDX-License-Identifier: GPL-3.0-or-later
"""NICs fetched home from anywhere on the machine, without a descriptor of where they are."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import textwrap
import typing as t
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import hostnic
from hostnic.errors import LinkFailed
from hostnic.net.census import Census, Sighting
from hostnic.net.netlink import Netlink
from hostnic.net.spaces import Spaces
from tests.kernel.lost import POD, Lost, look_past_a_closed_first_process, unique
from tests.kernel.net_world import World, ip, resources, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

FORGED = "02:00:00:00:00:99"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[World]:
    look_past_a_closed_first_process(monkeypatch)
    with World() as world:
        yield world


@pytest.fixture
def lost(world: World) -> Lost:
    return Lost(world)


def is_bare(lost: Lost) -> bool:
    """In parking, and as good as new."""
    name = "q" + lost.mac.replace(":", "")
    link = lost.world.show(lost.world.parking)[name]
    as_it_should = (link["address"], link["mtu"], "UP" in link["flags"]) == (lost.mac, 1500, False)
    return as_it_should and "altnames" not in link and lost.world.addresses(lost.world.parking, name) == []


# -- from where --


def test_from_a_named_namespace_once_it_is_home_it_stays(lost: Lost) -> None:
    lost.world.let_go(lost.descriptor)
    for _ in range(2):
        assert lost.world.links.retrieve(lost.mac) and is_bare(lost)
    assert lost.world.show(lost.pod) == {}


def test_from_a_namespace_that_only_a_process_has(lost: Lost) -> None:
    with lost.held_by_a_process():
        assert lost.world.links.retrieve(lost.mac) and is_bare(lost)


def test_from_a_namespace_that_is_bound_in_another_mount_namespace(lost: Lost, tmp_path: Path) -> None:
    target = tmp_path / "netns"
    with lost.bound_elsewhere(target):
        assert target.stat().st_size == 0
        assert lost.world.links.retrieve(lost.mac) and is_bare(lost)


def test_from_the_host_and_from_parking(world: World) -> None:
    on_host, parked = world.nic(1, mac=unique()), world.nic(2, mac=unique())
    world.links.park(parked)
    assert world.links.retrieve(on_host) and world.links.retrieve(parked)
    assert sorted(link["address"] for link in world.show(world.parking).values()) == sorted((on_host, parked))


def test_from_nowhere(lost: Lost) -> None:
    assert not lost.world.links.retrieve(unique(), lost.inode, 99)
    lost.unbind()
    assert until(lambda: "p1" not in lost.world.show(lost.world.switch))
    assert not lost.world.links.retrieve(lost.mac, lost.inode, lost.index)


# -- whatever was done to it there --


def test_renamed_and_decorated(lost: Lost) -> None:
    for change in ("down", "mtu 1300", "alias hello", "promisc on", "name weird"):
        ip("-n", lost.pod, "link", "set", "eth0", *change.split())
    ip("-n", lost.pod, "link", "set", "weird", "up")
    ip("-n", lost.pod, "link", "property", "add", "dev", "weird", "altname", "first")
    assert lost.world.links.retrieve(lost.mac) and is_bare(lost)


@pytest.mark.parametrize("bound", [True, False])
def test_a_changed_mac_wants_the_leases_namespace_and_index(lost: Lost, bound: bool) -> None:
    ip("-n", lost.pod, "link", "set", "eth0", "address", FORGED)
    elsewhere = Path(lost.world.path(lost.world.pod("elsewhere")[0])).stat().st_ino
    with ExitStack() as stack:
        if not bound:
            stack.enter_context(lost.held_by_a_process())
        for witnesses in ((), (lost.inode, lost.index + 7), (elsewhere, lost.index)):
            assert not lost.world.links.retrieve(lost.mac, *witnesses)
        assert lost.world.links.retrieve(lost.mac, lost.inode, lost.index) and is_bare(lost)


def test_the_leases_witnesses_do_not_take_another_nic(lost: Lost) -> None:
    """The number of a namespace is soon given to another one."""
    assert not lost.world.links.retrieve(unique(), lost.inode, lost.index)
    assert list(lost.world.show(lost.pod)) == ["eth0"]


def test_the_leases_witnesses_do_not_take_a_link_that_no_agent_has_placed(lost: Lost) -> None:
    inode = Path(lost.world.path(lost.world.switch)).stat().st_ino
    index = lost.world.show(lost.world.switch)["p1"]["ifindex"]
    assert not lost.world.links.retrieve(unique(), inode, index)
    assert list(lost.world.show(lost.world.switch)) == ["p1"]


def test_of_two_links_with_its_mac_the_leases_is_taken(world: World) -> None:
    """A container may call a veth of its own by the MAC of another one's NIC."""
    pods = [world.pod("before")[0]]
    lost = Lost(world)
    pods.append(world.pod("after")[0])
    for pod in pods:
        ip("-n", pod, "link", "add", "forged", "address", lost.mac, "type", "veth", "peer", "name", "x")
    assert world.links.retrieve(lost.mac, lost.inode, lost.index) and is_bare(lost)
    assert [set(world.show(pod)) for pod in (*pods, lost.pod)] == [{"forged", "x"}, {"forged", "x"}, set()]


# -- what is never touched --


def test_the_link_of_the_default_route(world: World) -> None:
    mac = world.nic(up=True, mac=unique())
    ip("-n", world.host, "route", "add", "default", "dev", "ens1")
    with pytest.raises(LinkFailed, match="never touched"):
        world.links.retrieve(mac)
    assert world.places(mac) == [(world.host, "ens1")]


def test_a_link_in_the_agents_own_namespace(world: World) -> None:
    mac = unique()
    own, _ = world.pod("own")
    ip("-n", own, "link", "add", "eth7", "address", mac, "type", "veth", "peer", "name", "x")
    package = str(Path(hostnic.__file__).parent.parent)
    script = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {package!r})
        from hostnic.net.links import KernelLinks
        links = KernelLinks({world.path(world.parking)!r}, {world.path(world.host)!r})
        try: print(links.retrieve({mac!r}))
        except Exception as error: print(error)
        """
    )
    command = ["ip", "netns", "exec", own, sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "is the agent's own" in done.stdout
    assert set(world.show(own)) == {"eth7", "x"}


# -- honesty --


def test_a_namespace_that_only_a_socket_holds_cannot_be_opened_and_that_is_told(lost: Lost) -> None:
    kept = lost.world.within(lost.pod, socket.socket)
    lost.unbind()
    try:
        with pytest.raises(LinkFailed, match=f"NIC {lost.mac} is in a network namespace that cannot be opened"):
            lost.world.links.retrieve(lost.mac)
    finally:
        kept.close()
    assert until(lambda: "p1" not in lost.world.show(lost.world.switch))
    assert not lost.world.links.retrieve(lost.mac)


def test_a_namespace_that_cannot_be_looked_into_is_told_unless_it_was_found_elsewhere(
    lost: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = Spaces.near
    closed = (77, "/proc/self/status")
    monkeypatch.setattr(Spaces, "near", lambda self: itertools.chain([closed], near(self)))
    with pytest.raises(LinkFailed, match=r"cannot look into net:\[77\]"):
        lost.world.links.retrieve(unique(), lost.inode, lost.index)
    assert lost.world.links.retrieve(lost.mac) and is_bare(lost)


def test_a_link_that_was_moved_on_meanwhile_is_searched_again(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    second, _ = lost.world.pod("second")
    inside = lost.world.links._inside
    moves = iter([("-n", lost.pod, "link", "set", "eth0", "netns", second)])

    @contextmanager
    def late(descriptor: int, calm: bool = False) -> t.Iterator[Netlink]:
        for move in moves:
            ip(*move)
        with inside(descriptor, calm) as channel:
            yield channel

    monkeypatch.setattr(lost.world.links, "_inside", late)
    assert lost.world.links.retrieve(lost.mac) and is_bare(lost)
    assert lost.world.show(second) == {}


def test_a_link_that_comes_home_by_itself_during_the_search_is_parked(
    lost: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(census: Census, *arguments: t.Any) -> t.Optional[Sighting]:
        ip("-n", lost.pod, "link", "set", "eth0", "netns", lost.world.host)
        return look_for(census, *arguments)

    look_for = Census.look_for
    monkeypatch.setattr(Census, "look_for", late)
    assert lost.world.links.retrieve(lost.mac) and is_bare(lost)


def test_descriptors_are_given_back(lost: Lost) -> None:
    lost.world.links.retrieve(lost.mac)
    before = resources()
    for _ in range(3):
        index = lost.world.links.to_pod(lost.mac, lost.descriptor, POD).ifindex
        assert lost.world.links.retrieve(lost.mac, lost.inode, index)
        assert not lost.world.links.retrieve(unique(), lost.inode, index)
    assert resources() == before
