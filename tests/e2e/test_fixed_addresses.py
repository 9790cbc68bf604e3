# SPDX-License-Identifier: GPL-3.0-or-later
"""A pod asks for its address by an annotation that containerd hands on, and finds it again."""

from __future__ import annotations

import json
import typing as t

import pytest

from tests.e2e.cluster import Cluster, Placed
from tests.lab.cri import CriError
from tests.lab.lab import Node
from tests.lab.wait import until


@pytest.fixture
def address(cluster: Cluster) -> str:
    """High in the first pod vxnet, where the cloud gives out addresses last."""
    return cluster.lab.vxnets[0].gateway.rpartition(".")[0] + ".211"


@pytest.fixture
def node(cluster: Cluster) -> t.Iterator[Node]:
    """Kept addresses are let go of in the end, and their NICs are supply again."""
    node = cluster.nodes[0]
    yield node
    cluster.remove_pods()
    for each in cluster.nodes:
        for nic in cluster.pool(each).values():
            if nic["state"] == "HELD":
                each.run(["qingagent", "release", nic["private_ip"]])
    cluster.wait_sound(node)


def asking(cluster: Cluster, node: Node, name: str, address: str, keep: str = "5m") -> Placed:
    annotations = {"qingcloud.cni/ip": address, "qingcloud.cni/keep": keep}
    return cluster.pod(node, name, workload=True, annotations=annotations)


def state(cluster: Cluster, node: Node, address: str) -> str:
    """Of the NIC with this address, "" where the node has none."""
    return next((str(nic["state"]) for nic in cluster.pool(node).values() if nic["private_ip"] == address), "")


def test_a_pod_has_the_address_that_it_asks_for_and_has_it_again_when_it_comes_back(
    cluster: Cluster, node: Node, address: str
) -> None:
    first = asking(cluster, node, "db-0", address)
    assert first.pod.ip == address == first.address()
    assert first.pings(cluster.lab.vxnets[0].gateway)
    (lease,) = [lease for lease in cluster.ask(node, "leases") if lease["container_id"] == first.pod.sandbox_id]
    assert lease["args"]["K8S_POD_NAME"] == "db-0"
    cluster.stop(first)
    assert state(cluster, node, address) == "HELD"
    again = asking(cluster, node, "db-0", address)
    assert (again.pod.ip, again.mac()) == (address, lease["nic_id"])
    assert again.pings(cluster.lab.vxnets[0].gateway)


def test_another_pod_hears_who_has_it_on_this_node_and_on_another(cluster: Cluster, node: Node, address: str) -> None:
    cluster.stop(asking(cluster, node, "db-1", address))
    with pytest.raises(CriError) as here:
        asking(cluster, node, "web", address)
    assert f"address {address} is held by e2e/db-1" in here.value.details
    other = cluster.nodes[1]
    with pytest.raises(CriError) as elsewhere:
        asking(cluster, other, "web", address)
    assert f"address {address} is held by NIC" in elsewhere.value.details
    assert f"of {node.instance_id}" in elsewhere.value.details

    told = json.loads(node.run(["qingagent", "release", address, "--output", "json"]).stdout)
    assert told == {"released": address}
    assert state(cluster, node, address) == "QUARANTINE"


def test_an_address_that_is_kept_for_no_time_is_anybodys_after_a_rest(
    cluster: Cluster, node: Node, address: str
) -> None:
    with cluster.short_rest(node):
        cluster.stop(asking(cluster, node, "job", address, keep="0"))
        until(lambda: state(cluster, node, address) == "READY", 60, "the address among the ready ones")
        assert asking(cluster, node, "another-job", address, keep="0").pod.ip == address
