# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods talk over their own NICs: no NAT, no encapsulation, nothing left on the host."""

from __future__ import annotations

import ipaddress

from tests.e2e.cluster import Cluster, Placed


def nic_of(cluster: Cluster, placed: Placed) -> str:
    leases = cluster.ask(placed.node, "leases")
    return next(str(lease["nic_id"]) for lease in leases if lease["container_id"] == placed.pod.sandbox_id)


def assert_direct(cluster: Cluster, source: Placed, target: Placed) -> None:
    """An echo request leaves with the source's own address and the NIC's id as its MAC."""
    expression = f"icmp[icmptype] == icmp-echo and src host {source.pod.ip} and dst host {target.pod.ip}"
    with cluster.capture(expression, count=2) as frames:
        assert source.pings(target.pod.ip)
    assert frames
    mac = nic_of(cluster, source)
    assert all(mac in frame for frame in frames), (mac, frames)


def test_pods_on_different_nodes_reach_each_other(cluster: Cluster) -> None:
    one, two = (cluster.pod(node, "packets") for node in cluster.nodes[:2])
    assert_direct(cluster, one, two)
    assert_direct(cluster, two, one)


def test_pods_on_one_node_reach_each_other(cluster: Cluster) -> None:
    one, two = (cluster.pod(cluster.nodes[0], name) for name in ("packets-a", "packets-b"))
    assert_direct(cluster, one, two)
    assert_direct(cluster, two, one)


def test_the_pod_holds_the_nic_itself(cluster: Cluster) -> None:
    placed = cluster.pod(cluster.nodes[0], "holder")
    nic = cluster.pool(placed.node)[nic_of(cluster, placed)]
    vxnet = next(vxnet for vxnet in cluster.lab.vxnets if vxnet.vxnet_id == nic["vxnet_id"])
    (link,) = placed.ip("addr", "show", "dev", "eth0")
    assert link["address"] == nic["nic_id"]
    assert "UP" in link["flags"]
    (address,) = [info for info in link["addr_info"] if info["family"] == "inet"]
    assert address["local"] == placed.pod.ip == nic["private_ip"]
    assert address["prefixlen"] == ipaddress.ip_network(vxnet.cidr).prefixlen
    routes = {(route["dst"], route.get("gateway", "")) for route in placed.ip("route")}
    assert routes == {("default", vxnet.gateway), (vxnet.cidr, "")}


def test_the_host_keeps_no_pool_nic(cluster: Cluster) -> None:
    placed = cluster.pod(cluster.nodes[0], "holder")
    cluster.wait_ready(placed.node)
    ours = {nic_id for nic_id, nic in cluster.pool(placed.node).items() if nic["state"] != "GATEWAY"}
    assert ours
    assert not ours & set(cluster.host_links(placed.node))
    assert cluster.in_state(placed.node, "READY") <= set(cluster.parked(placed.node))


def test_the_router_and_the_other_node_are_reached(cluster: Cluster) -> None:
    placed = cluster.pod(cluster.nodes[0], "reach")
    assert all(placed.pings(vxnet.gateway) for vxnet in cluster.lab.vxnets)
    assert placed.pings(cluster.nodes[1].address)
