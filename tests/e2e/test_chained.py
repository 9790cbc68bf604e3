# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution's tuning, sbr and portmap after qingcni: what each of them does is there, and gone with the pod."""

from __future__ import annotations

import typing as t

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.networks import PORTMAP, SERVICES, by_the_host, network, qingcni
from tests.e2e.runtimes import Podman, Runtime, told
from tests.lab.lab import Node
from tests.lab.wait import until

PORT = 18082
OWN_MTU = 1500
OTHER_MAC = "02:11:22:33:44:55"
BACKUPS = "/run/cni/tuning"  # what tuning puts back at a DEL
TUNING = {"type": "tuning", "mtu": 1400, "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1", "net.core.somaxconn": "500"}}
SBR = {"type": "sbr"}
TABLE = ("table", "100")  # the first that sbr takes


def test_a_chain_of_four(cluster: Cluster, runtime: Runtime) -> None:
    node, vxnet = runtime.node, cluster.lab.vxnets[0]
    with runtime.network("chained", by_the_host(vxnet), TUNING, SBR, PORTMAP):
        pod = runtime.start("chained", PORT)
        mac, address = pod.mac(), pod.address()
        (gateway,) = [
            nic["private_ip"]
            for nic in cluster.pool(node).values()
            if nic["state"] == "GATEWAY" and nic["vxnet_id"] == vxnet.vxnet_id
        ]
        for name, value in TUNING["sysctl"].items():  # type: ignore[attr-defined]
            assert pod.run(["sysctl", "-n", name]).stdout.strip() == value
        assert pod.ip("link", "show", "dev", "eth0")[0]["mtu"] == TUNING["mtu"]
        assert [rule["table"] for rule in pod.ip("rule") if rule["src"] == address] == [TABLE[1]]
        assert pod.routes(*TABLE) == {
            ("default", vxnet.gateway, "eth0"),
            (vxnet.cidr, "", "eth0"),
            (SERVICES, gateway, "eth0"),
            (node.address, gateway, "eth0"),
        }
        assert pod.routes() == set()
        assert pod.pings(vxnet.gateway, "-I", address)
        assert pod.pings(node.address, "-I", address)
        until(lambda: told(node, PORT), 20, f"an answer at port {PORT}")
        assert told(node, PORT) == "chained"

        runtime.stop("chained")
        parked = cluster.parked(node)[mac]
        assert (parked["mtu"], parked["addr_info"]) == (OWN_MTU, [])
        assert told(node, PORT) == ""
        assert backups(node) == []
    cluster.wait_sound(node)


@pytest.mark.parametrize("restored", ["by tuning", "by nobody else"])
def test_mac_and_mtu_are_the_nics_own_again_in_parking(cluster: Cluster, runtime: Runtime, restored: str) -> None:
    node, vxnet = runtime.node, cluster.lab.vxnets[0]
    mask = {"type": "tuning", "mac": OTHER_MAC, "mtu": TUNING["mtu"]}
    with runtime.network("masked", qingcni(vxnet=vxnet.vxnet_id), mask, PORTMAP):
        before = {lease["nic_id"] for lease in cluster.ask(node, "leases")}
        pod = runtime.start("masked", PORT)
        assert pod.mac() == OTHER_MAC
        (nic,) = {lease["nic_id"] for lease in cluster.ask(node, "leases")} - before
        if restored == "by nobody else":
            node.run(["rm", *backups(node)])
        runtime.stop("masked")
        assert cluster.parked(node)[nic]["mtu"] == OWN_MTU
        assert OTHER_MAC not in cluster.links(node)
    cluster.wait_sound(node)


def test_source_routing_lets_both_networks_of_a_container_answer(cluster: Cluster, podman: Podman) -> None:
    one, two = cluster.lab.vxnets
    plain, sourced = qingcni(vxnet=two.vxnet_id), (qingcni(vxnet=two.vxnet_id), SBR)
    asker = cluster.pod(cluster.nodes[1], "asker")
    with (
        network(podman.node, "first", qingcni(vxnet=one.vxnet_id)),
        network(podman.node, "plain", plain),
        network(podman.node, "sourced", *sourced),
    ):
        container = podman.run("plain", ["first", "plain:interface_name=net1"])
        assert asker.pings(container.address())
        assert not asker.pings(container.address("net1"))  # the reply leaves by eth0, where the cloud drops it
        podman.remove("plain")

        container = podman.run("sourced", ["first", "sourced:interface_name=net1"])
        assert container.networks()["sourced"]["IPAddress"] == container.address("net1")
        assert container.routes() == {("default", one.gateway, "eth0"), (one.cidr, "", "eth0")}
        assert container.routes(*TABLE) == {("default", two.gateway, "net1"), (two.cidr, "", "net1")}
        assert asker.pings(container.address())
        assert asker.pings(container.address("net1"))
        podman.remove("sourced")
    cluster.wait_sound(podman.node)


def backups(node: Node) -> list[str]:
    found: t.Sequence[str] = node.run(["find", BACKUPS, "-type", "f"], check=False).stdout.splitlines()
    return list(found)
