# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers live and die by podman and its CNI back end: each has a NIC exactly as long as it runs."""

from __future__ import annotations

import json
import typing as t

from tests.e2e.cluster import Cluster
from tests.e2e.runtimes import LIMITS, Container, Podman
from tests.lab.image import IMAGE, PAUSE
from tests.lab.wait import until

NETWORK = "qingcloud"  # as the role calls it
SEVERAL = 3


def lease_of(cluster: Cluster, container_id: str) -> t.Optional[dict[str, t.Any]]:
    leases = cluster.ask(cluster.nodes[0], "leases")
    return next((lease for lease in leases if lease["container_id"] == container_id), None)


def nic_of(cluster: Cluster, container: Container) -> str:
    """The one that its lease, podman and the kernel agree on."""
    lease = lease_of(cluster, container.container_id)
    assert lease, container.name
    told = container.networks()[NETWORK]
    nic = cluster.pool(container.node)[lease["nic_id"]]
    assert (told["MacAddress"], told["IPAddress"]) == (nic["nic_id"], nic["private_ip"])
    assert (container.mac(), container.address()) == (nic["nic_id"], nic["private_ip"])
    return str(nic["nic_id"])


def test_several_containers_have_a_nic_each(cluster: Cluster, podman: Podman) -> None:
    node = podman.node
    before, put_back = cluster.ask(node, "leases"), cluster.links_put_back()
    containers = [podman.run(f"several-{number}", [NETWORK]) for number in range(SEVERAL)]
    nics = [nic_of(cluster, container) for container in containers]
    assert len(set(nics)) == SEVERAL
    addresses = [container.address() for container in containers]
    peer = cluster.pod(cluster.nodes[1], "podmans-peer").pod.ip
    for container, other in zip(containers, [*addresses[1:], peer]):
        assert container.pings(other)
    podman.remove(*[container.name for container in containers])
    assert cluster.ask(node, "leases") == before
    assert set(nics) <= set(cluster.parked(node))
    assert cluster.links_put_back() == put_back  # each was fetched by its DEL
    cluster.wait_sound(node)


def test_a_container_that_is_stopped_has_none_until_it_is_started(cluster: Cluster, podman: Podman) -> None:
    container = podman.run("pausing", [NETWORK])
    nic = nic_of(cluster, container)
    podman("stop", "--time", "0", container.name)
    assert lease_of(cluster, container.container_id) is None
    assert nic in cluster.parked(podman.node)
    podman("start", container.name)
    assert nic_of(cluster, container) != nic  # which rests
    podman("restart", "--time", "0", container.name)
    nic_of(cluster, container)
    assert container.pings(cluster.lab.vxnets[0].gateway)


def test_a_container_whose_process_is_killed_gives_its_nic_back(cluster: Cluster, podman: Podman) -> None:
    """By the clean-up that podman's monitor starts then."""
    container = podman.run("killed", [NETWORK])
    nic = nic_of(cluster, container)
    pid = podman("inspect", "--format", "{{.State.Pid}}", container.name).strip()
    podman.node.run(["kill", "-KILL", pid])
    until(lambda: lease_of(cluster, container.container_id) is None, 30, "the end of the lease")
    until(lambda: nic in cluster.parked(podman.node), 10, "the NIC in parking")
    podman.remove(container.name)
    cluster.wait_sound(podman.node)


def test_the_containers_of_a_pod_share_one_nic(cluster: Cluster, podman: Podman) -> None:
    node = podman.node
    before = cluster.ask(node, "leases")
    infra = ("--infra-image", IMAGE, "--infra-command", PAUSE)
    podman("pod", "create", "--name", "duo", "--network", NETWORK, *infra)
    for name in ("one", "two"):
        podman("run", "--detach", "--pod", "duo", "--name", name, *LIMITS, IMAGE)
    (lease,) = [lease for lease in cluster.ask(node, "leases") if lease not in before]
    macs = [podman("exec", name, "cat", "/sys/class/net/eth0/address").strip() for name in ("one", "two")]
    assert macs == [lease["nic_id"]] * 2
    podman("pod", "rm", "--force", "--time", "0", "duo")
    assert cluster.ask(node, "leases") == before


def test_podman_lists_the_network_as_one_of_its_own(cluster: Cluster, podman: Podman) -> None:
    listed = json.loads(podman("network", "ls", "--format", "json"))
    assert {"name": NETWORK, "driver": "qingcni"}.items() <= next(
        network for network in listed if network["name"] == NETWORK
    ).items()
    (inspected,) = json.loads(podman("network", "inspect", NETWORK))
    assert (inspected["driver"], inspected["ipv6_enabled"]) == ("qingcni", False)
    podman.run("member", [NETWORK])
    assert podman("ps", "--filter", f"network={NETWORK}", "--format", "{{.Names}}").split() == ["member"]
