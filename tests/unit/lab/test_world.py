# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses and ids of a lab, and what the emulator is told."""

from __future__ import annotations

import pytest

from tests.emulator.emulator import Emulator
from tests.lab import world
from tests.lab.errors import LabError
from tests.lab.world import AccessKey, Layout

LAYOUT = Layout.of(world.NETWORK)
KEY = AccessKey("A" * 20, "s" * 40)


def test_vxnets_and_gateways() -> None:
    assert str(LAYOUT.nodes.network) == "172.16.0.0/24"
    assert [(str(pod.network), pod.gateway) for pod in LAYOUT.pods] == [
        ("172.16.1.0/24", "172.16.1.1"),
        ("172.16.2.0/24", "172.16.2.1"),
    ]


def test_places_follow_the_number() -> None:
    place = LAYOUT.place("node2")
    assert (place.instance_id, place.address) == ("i-lab00002", "172.16.0.12")
    assert Layout.of("10.77.0.0/16").place("node199").address == "10.77.0.209"
    with pytest.raises(LabError, match="199 nodes"):
        LAYOUT.place("node200")


def test_a_primary_among_pods_is_far_from_the_addresses_that_pods_get_first() -> None:
    place = LAYOUT.place("node3", "vxnet-labpods2")
    assert (place.address, place.vxnet) == ("172.16.2.251", LAYOUT.pods[1])
    assert LAYOUT.instance(place)["primary"] == {"vxnet_id": "vxnet-labpods2", "private_ip": "172.16.2.251"}
    assert LAYOUT.place("node3", "vxnet-labnodes") == LAYOUT.place("node3")
    assert LAYOUT.place("node199", "vxnet-labpods1").address == "172.16.1.55"
    with pytest.raises(LabError, match="no vxnet vxnet-1, there are vxnet-labnodes, vxnet-labpods1, vxnet-labpods2"):
        LAYOUT.place("node3", "vxnet-1")


@pytest.mark.parametrize("text", ["172.16.0.0/24", "172.16.0.1/16", "lab"])
def test_a_network_that_cannot_be(text: str) -> None:
    with pytest.raises(LabError, match=f"LAB_NETWORK={text}"):
        Layout.of(text)


def test_taken_networks_are_refused() -> None:
    world.check_free(LAYOUT, ["default", "192.0.2.0/24", "10.0.0.1"])
    for taken in ("172.16.0.0/12", "172.16.9.0/24", "172.16.0.1"):
        with pytest.raises(LabError, match="LAB_NETWORK="):
            world.check_free(LAYOUT, [taken])


def test_the_uplink_is_nobodys() -> None:
    first = world.transit(LAYOUT, ["default"])
    assert first.prefixlen == 30
    assert not world.transit(LAYOUT, [str(first)]).overlaps(first)
    with pytest.raises(LabError, match="no room"):
        world.transit(LAYOUT, ["100.64.0.0/10", "198.18.0.0/15", "10.0.0.0/8"])


def test_the_emulator_takes_the_world() -> None:
    with Emulator(world=LAYOUT.world(["node1", "node2"], KEY)) as emulator:
        instances = {item.instance_id for item in emulator.cloud.instances.values()}
        assert instances == {"i-lab00001", "i-lab00002"}
        nics = {nic.private_ip for nic in emulator.cloud.nics.values()}
        assert nics == {"172.16.0.11", "172.16.0.12"}


def test_every_lab_has_a_key_of_its_own() -> None:
    one, other = AccessKey.new(), AccessKey.new()
    assert one != other
    assert (len(one.key_id), len(one.secret)) == (20, 40)
