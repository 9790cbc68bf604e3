# SPDX-License-Identifier: GPL-3.0-or-later
"""One container in two networks, each with a NIC of its own vxnet: as Multus and podman ask for it."""

from __future__ import annotations

import typing as t

import pytest

from tests.e2e.attachment import DONE, Sandbox
from tests.e2e.cluster import Cluster
from tests.e2e.inside import Inside
from tests.e2e.networks import network, qingcni
from tests.e2e.runtimes import Container, Podman
from tests.lab.lab import Node, Vxnet

ELSEWHERE = "10.99.0.0/16"  # behind the second network
Make = t.Callable[[Node, str], Sandbox]


def by(inside: Inside, destination: str) -> tuple[str, str]:
    """(gateway, interface) by which a packet would leave."""
    (route,) = inside.ip("route", "get", destination)
    return route.get("gateway", ""), route["dev"]


def first_only(vxnet: Vxnet, ifname: str = "eth0") -> set[tuple[str, str, str]]:
    return {("default", vxnet.gateway, ifname), (vxnet.cidr, "", ifname)}


def second_only(vxnet: Vxnet, ifname: str) -> set[tuple[str, str, str]]:
    return {(ELSEWHERE, vxnet.gateway, ifname), (vxnet.cidr, "", ifname)}


@pytest.fixture
def both(cluster: Cluster, sandbox: Make) -> Sandbox:
    """eth0 and net1, by two calls for one container."""
    one, two = cluster.lab.vxnets
    box = sandbox(cluster.nodes[0], "both")
    box.add("eth0", name="one", vxnet=one.vxnet_id)
    box.add("net1", name="two", vxnet=two.vxnet_id, ipam={"routes": [{"dst": ELSEWHERE}]})
    return box


def test_each_network_has_its_nic_and_its_routes(cluster: Cluster, both: Sandbox) -> None:
    one, two = cluster.lab.vxnets
    leases = {lease["ifname"]: lease for lease in both.leases()}
    assert {ifname: lease["network"] for ifname, lease in leases.items()} == {"eth0": "one", "net1": "two"}
    pool = cluster.pool(both.node)
    for ifname, vxnet in (("eth0", one), ("net1", two)):
        nic = pool[leases[ifname]["nic_id"]]
        assert (both.mac(ifname), both.address(ifname)) == (nic["nic_id"], nic["private_ip"])
        assert nic["vxnet_id"] == vxnet.vxnet_id
        assert both.pings(vxnet.gateway)
    # the first network's default route stands, as with the reference plugins
    assert both.routes() == first_only(one) | second_only(two, "net1")
    assert by(both, "10.99.1.1") == (two.gateway, "net1")
    cluster.wait_sound(both.node)


@pytest.mark.parametrize("ended", ["eth0", "net1"])
def test_the_end_of_one_leaves_the_other(cluster: Cluster, both: Sandbox, ended: str) -> None:
    one, two = cluster.lab.vxnets
    macs = {ifname: both.mac(ifname) for ifname in ("eth0", "net1")}
    assert both.call_del(ended) == DONE
    left, vxnet, routes = {
        "eth0": ("net1", two, second_only(two, "net1")),
        "net1": ("eth0", one, first_only(one)),
    }[ended]
    assert both.names() == {"lo", left}
    assert both.routes() == routes
    assert both.pings(vxnet.gateway)
    assert macs[ended] in cluster.parked(both.node)
    assert [(lease["ifname"], lease["nic_id"]) for lease in both.leases()] == [(left, macs[left])]
    assert both.call_del(left) == DONE
    cluster.wait_sound(both.node)


def test_the_default_route_of_the_first_network_wins(cluster: Cluster, sandbox: Make) -> None:
    one, two = cluster.lab.vxnets
    box = sandbox(cluster.nodes[0], "defaults")
    box.add("eth0", name="one", vxnet=one.vxnet_id)
    box.add("net1", name="two", vxnet=two.vxnet_id)
    assert box.routes() == first_only(one) | {(two.cidr, "", "net1")}
    assert box.pings(one.gateway)
    assert box.pings(two.gateway)


def test_the_same_network_twice_gives_two_nics(cluster: Cluster, sandbox: Make) -> None:
    """Another interface is another attachment."""
    one, _ = cluster.lab.vxnets
    box = sandbox(cluster.nodes[0], "twice")
    for ifname in ("eth0", "net1"):
        box.add(ifname, vxnet=one.vxnet_id)
    assert box.mac("eth0") != box.mac("net1")
    assert box.call_del("eth0") == DONE
    assert box.names() == {"lo", "net1"}
    assert box.pings(one.gateway)


def joined_in_order(cluster: Cluster, podman: Podman, before: list[dict[str, t.Any]]) -> Container:
    """A container of both networks whose first ADD was eth0's: podman goes through a map, in any order."""
    for _ in range(10):
        container = podman.run("member", ["first", "second:interface_name=net1"])
        leases = [lease for lease in cluster.ask(podman.node, "leases") if lease not in before]
        order = [lease["ifname"] for lease in sorted(leases, key=lambda lease: lease["since"])]
        assert sorted(order) == ["eth0", "net1"]
        assert by(container, "192.0.2.1")[1] == order[0]  # the first one's default route stands
        if order[0] == "eth0":
            return container
        podman.remove("member")
    raise AssertionError("podman never began with eth0")


def test_podman_joins_and_leaves_networks(cluster: Cluster, podman: Podman) -> None:
    one, two = cluster.lab.vxnets
    node = podman.node
    before = cluster.ask(node, "leases")
    plugins = (
        qingcni(vxnet=one.vxnet_id),
        qingcni(vxnet=two.vxnet_id, ipam={"routes": [{"dst": ELSEWHERE}]}),
    )
    with network(node, "first", plugins[0]), network(node, "second", plugins[1]):
        container = joined_in_order(cluster, podman, before)
        told = container.networks()
        assert (told["first"]["MacAddress"], told["second"]["MacAddress"]) == (container.mac(), container.mac("net1"))
        assert container.routes() == first_only(one) | second_only(two, "net1")
        assert container.pings(one.gateway)
        assert container.pings(two.gateway)

        podman("network", "disconnect", "second", "member")
        assert container.names() == {"lo", "eth0"}
        assert container.routes() == first_only(one)
        podman("network", "connect", "second", "member")
        (joined,) = container.names() - {"lo", "eth0"}
        assert container.routes() == first_only(one) | second_only(two, joined)

        podman("network", "disconnect", "first", "member")
        assert container.routes() == second_only(two, joined)
        assert container.pings(two.gateway)
        podman.remove("member")
        assert cluster.ask(node, "leases") == before
        cluster.wait_sound(node)
