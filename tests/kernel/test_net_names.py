# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that are taken: a NIC that a dead namespace gave back lies on the host under whatever was free there."""

from __future__ import annotations

import os
import typing as t

import pytest

from hostnic.errors import LinkFailed
from hostnic.model import PodLink
from tests.kernel.net_world import World, ip

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NAME, OTHER = "q52549e000001", "q52549e000002"
HOWS = ("name", "altname")


@pytest.fixture
def world() -> t.Iterator[World]:
    with World() as world:
        yield world


def take(namespace: str, name: str, how: str) -> None:
    """A bridge has it as its name or as its altname."""
    own = name if how == "name" else "squatter"
    ip("-n", namespace, "link", "add", own, "type", "bridge")
    if how == "altname":
        add_altname(namespace, own, name)


def add_altname(namespace: str, name: str, altname: str) -> None:
    ip("-n", namespace, "link", "property", "add", "dev", name, "altname", altname)


def rename(world: World, name: str, new: str) -> None:
    ip("-n", world.host, "link", "set", name, "name", new)


def is_parked(world: World, mac: str) -> bool:
    links = [(name, link) for name, link in world.show(world.parking).items() if link["address"] == mac]
    return [name for name, _link in links] == ["q" + mac.replace(":", "")] and "altnames" not in links[0][1]


@pytest.mark.parametrize("how", HOWS)
def test_back_from_a_dead_pod_beside_a_link_of_its_name(world: World, how: str) -> None:
    """As the kernel gives back a NIC: under a free name, without the altnames that are taken."""
    mac = world.nic()
    world.links.park(mac)
    pod, descriptor = world.pod()
    world.links.to_pod(mac, descriptor, PodLink("eth0", "172.16.1.5/24"))
    take(world.host, "eth0", how)
    before = world.show(world.host)
    ip("-n", pod, "link", "set", "eth0", "netns", world.host, "name", "dev%d")
    ((place, name),) = world.places(mac)
    assert place == world.host and name.startswith("dev")
    assert world.links.park(mac).name == NAME and is_parked(world, mac)
    assert world.show(world.host) == before


@pytest.mark.parametrize("way", ["park", "from_pod", "retrieve"])
@pytest.mark.parametrize("how", HOWS)
def test_its_name_is_taken_in_parking(world: World, how: str, way: str) -> None:
    mac = world.nic()
    take(world.parking, "ens1", how)
    calls: dict[str, t.Callable[[], object]] = {
        "park": lambda: world.links.park(mac),
        "from_pod": lambda: world.links.from_pod(mac, None, "ens1", 0),
        "retrieve": lambda: world.links.retrieve(mac),
    }
    assert calls[way]() and is_parked(world, mac)


@pytest.mark.parametrize("how", HOWS)
def test_its_altname_is_taken_in_parking(world: World, how: str) -> None:
    mac = world.nic()
    add_altname(world.host, "ens1", "enp3s0")
    take(world.parking, "enp3s0", how)
    world.links.park(mac)
    assert is_parked(world, mac)


@pytest.mark.parametrize("how", HOWS)
def test_it_has_its_parking_name_on_the_host_already(world: World, how: str) -> None:
    mac = world.nic()
    if how == "name":
        rename(world, "ens1", NAME)
    else:
        add_altname(world.host, "ens1", NAME)
    world.links.park(mac)
    assert is_parked(world, mac)


@pytest.mark.parametrize("how", HOWS)
def test_it_has_the_name_of_another_parked_nic(world: World, how: str) -> None:
    mac, other = world.nic(1), world.nic(2)
    world.links.park(other)
    if how == "name":
        rename(world, "ens1", OTHER)
    else:
        add_altname(world.host, "ens1", OTHER)
    world.links.park(mac)
    assert is_parked(world, mac) and is_parked(world, other)


def test_two_have_each_others_parking_name(world: World) -> None:
    mac, other = world.nic(1), world.nic(2)
    rename(world, "ens1", OTHER)
    rename(world, "ens2", NAME)
    world.links.park(mac)
    world.links.park(other)
    assert is_parked(world, mac) and is_parked(world, other)


def test_the_name_on_the_host_of_the_parking_name_does_not_matter(world: World) -> None:
    mac = world.nic()
    take(world.host, NAME, "name")
    world.links.park(mac)
    assert is_parked(world, mac)


@pytest.mark.parametrize("how", HOWS)
def test_a_stranger_under_its_parking_name_is_told_and_it_comes_once_that_has_gone(world: World, how: str) -> None:
    mac = world.nic()
    take(world.parking, NAME, how)
    with pytest.raises(LinkFailed, match=f"cannot bring NIC {mac} into the parking namespace: .*File exists"):
        world.links.park(mac)
    ip("-n", world.parking, "link", "del", NAME)
    world.links.park(mac)
    assert is_parked(world, mac)


@pytest.mark.parametrize("how", HOWS)
def test_a_gateway_out_of_parking_whose_name_is_taken_is_told_and_stands_once_that_has_gone(
    world: World, how: str
) -> None:
    mac = world.nic()
    world.links.park(mac)
    take(world.host, "qg52549e000001", how)
    for _ in range(2):
        with pytest.raises(LinkFailed, match="gateway NIC .* cannot be called qg52549e000001"):
            world.links.host_gateway(mac, "qg52549e000001", "172.16.1.11/24")
    ip("-n", world.host, "link", "del", "qg52549e000001")
    assert world.links.host_gateway(mac, "qg52549e000001", "172.16.1.11/24").up


def test_a_gateway_that_could_not_be_moved_at_all_is_told_and_stays_parked(world: World) -> None:
    mac = world.nic()
    world.links.park(mac)
    for name in (NAME, "qg52549e000001"):
        take(world.host, name, "name")
    with pytest.raises(LinkFailed, match="cannot bring gateway NIC .* into the host's namespace .*File exists"):
        world.links.host_gateway(mac, "qg52549e000001", "172.16.1.11/24")
    assert is_parked(world, mac)
