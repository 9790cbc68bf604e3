# SPDX-License-Identifier: GPL-3.0-or-later
"""`isGateway`: services and the pod's own host by a gateway NIC on the host, everything else by the router."""

from __future__ import annotations

import json
import typing as t

import pytest

from tests.e2e.cluster import Cluster
from tests.lab.lab import Node
from tests.lab.wait import until

SERVICES = "10.96.0.0/12"
NETCONF = {
    "cniVersion": "1.0.0",
    "name": "services",
    "type": "qingcni",
    "isGateway": True,
    "args": {"BindAddr": "127.0.0.1:31080"},
    "ipam": {"routes": [{"dst": SERVICES, "gw": "0.0.0.0"}]},
}


def call(node: Node, verb: str, container: str) -> t.Any:
    """qingcni as a runtime executes it."""
    environment = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": f"/run/netns/{container}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin",
    }
    argv = ["env", *(f"{key}={value}" for key, value in environment.items()), "/opt/cni/bin/qingcni"]
    printed = node.run(argv, stdin=json.dumps(NETCONF), timeout=120).stdout
    return json.loads(printed) if printed else None


def gateway_of(cluster: Cluster, node: Node, result: t.Any) -> dict[str, t.Any]:
    """The node's gateway NIC in the pod's vxnet; it may have others in other vxnets."""
    vxnets = {vxnet.gateway: vxnet.vxnet_id for vxnet in cluster.lab.vxnets}
    vxnet_id = vxnets[result["ips"][0]["gateway"]]
    pool = cluster.pool(node).values()
    (gateway,) = [nic for nic in pool if nic["state"] == "GATEWAY" and nic["vxnet_id"] == vxnet_id]
    return gateway


@pytest.fixture
def pod(cluster: Cluster) -> t.Iterator[tuple[Node, t.Any]]:
    """A netns that had an ADD, and what the ADD answered."""
    node = cluster.nodes[0]
    node.run(["ip", "netns", "add", "gateway-test"])
    try:
        yield node, call(node, "ADD", "gateway-test")
    finally:
        call(node, "DEL", "gateway-test")
        node.run(["ip", "netns", "del", "gateway-test"])


def test_services_and_the_own_host_go_by_the_gateway_nic(cluster: Cluster, pod: tuple[Node, t.Any]) -> None:
    node, result = pod
    gateway = gateway_of(cluster, node, result)
    link = cluster.host_links(node)[gateway["nic_id"]]
    assert {info["local"] for info in link["addr_info"] if info["family"] == "inet"} == {gateway["private_ip"]}

    vxnet = next(vxnet for vxnet in cluster.lab.vxnets if vxnet.vxnet_id == gateway["vxnet_id"])
    expected = {
        ("default", vxnet.gateway),
        (SERVICES, gateway["private_ip"]),
        (node.address, gateway["private_ip"]),
        (vxnet.cidr, ""),
    }
    shown = json.loads(node.run(["ip", "-netns", "gateway-test", "-json", "route"]).stdout)
    assert {(route["dst"], route.get("gateway", "")) for route in shown} == expected
    answered = {(route["dst"], route.get("gw", "")) for route in result["routes"]}
    assert answered == {("0.0.0.0/0", vxnet.gateway), (SERVICES, gateway["private_ip"]),
                        (f"{node.address}/32", gateway["private_ip"])}  # fmt: skip


def test_a_service_address_is_answered_by_its_endpoint_on_another_node(
    cluster: Cluster, pod: tuple[Node, t.Any]
) -> None:
    """What kube-proxy would do, by one rule: the reply finds its way back through the host."""
    node, _ = pod
    endpoint = cluster.pod(cluster.nodes[1], "endpoint")
    rule = f"add rule ip e2e services ip daddr 10.96.0.7 icmp type echo-request dnat to {endpoint.pod.ip}"
    node.run(["nft", "add table ip e2e"])
    try:
        node.run(["nft", "add chain ip e2e services { type nat hook prerouting priority dstnat; }"])
        node.run(["nft", rule])
        inside = ["ip", "netns", "exec", "gateway-test", "ping", "-c", "2", "-W", "2", "10.96.0.7"]
        assert node.run(inside, check=False).returncode == 0
        assert "masquerade" in node.run(["nft", "list table ip qingcni"]).stdout
    finally:
        node.run(["nft", "delete table ip e2e"])


def test_rules_that_somebody_flushes_away_come_back(cluster: Cluster, pod: tuple[Node, t.Any]) -> None:
    """As a restart of nftables.service does."""
    node, _ = pod

    def shown() -> str:
        return node.run(["nft", "--stateless", "list", "table", "ip", "qingcni"], check=False).stdout

    before = shown()
    node.run(["nft", "delete", "table", "ip", "qingcni"])
    until(lambda: shown() == before, 20, "the agent's nftables table")


def test_the_cloud_lets_the_gateway_send_for_others(cluster: Cluster, pod: tuple[Node, t.Any]) -> None:
    node, result = pod
    gateway = gateway_of(cluster, node, result)
    assert cluster.cloud_nics(node)[gateway["nic_id"]]["enable_aspoof"] == 0
    assert gateway["nic_id"] not in cluster.parked(node)


def test_replies_leave_the_host_as_the_requests_came(cluster: Cluster, pod: tuple[Node, t.Any]) -> None:
    """A pod of another node asks this host's primary: the answer goes back by the router, not by the gateway NIC."""
    node, _ = pod
    rules = json.loads(node.run(["ip", "-json", "rule"]).stdout)
    assert [rule["table"] for rule in rules if rule.get("fwmark") == "0x100000"] == ["100"]
    asker = cluster.pod(cluster.nodes[1], "asker")
    reply = f"icmp[icmptype] == icmp-echoreply and src host {node.address} and dst host {asker.pod.ip}"
    with cluster.capture(reply, count=2) as frames:
        assert asker.pings(node.address)
    (primary,) = [nic for nic in cluster.cloud_nics(node).values() if nic["role"] == 1]
    assert primary["nic_id"] in frames[0]
