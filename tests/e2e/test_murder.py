# SPDX-License-Identifier: GPL-3.0-or-later
"""A pod's netns dies without a DEL: its NIC is back in the pool by itself, whatever name it comes home by."""

from __future__ import annotations

import json
import typing as t

import pytest

from tests.e2e.attachment import DONE, Sandbox
from tests.e2e.cluster import Cluster
from tests.e2e.test_del import HASTE, assert_bare
from tests.lab.lab import Node
from tests.lab.wait import until

HOST = "1"  # a process in the node's own netns
Make = t.Callable[[Node, str], Sandbox]


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> t.Iterator[Node]:
    """A node whose NICs rest for a short time only."""
    node = cluster.nodes[0]
    with cluster.short_rest(node, *HASTE):
        yield node


@pytest.fixture
def victim(node: Node, sandbox: Make) -> Sandbox:
    """A container with a NIC."""
    victim = sandbox(node, "victim")
    victim.add()
    return victim


def back(cluster: Cluster, node: Node, nic: str) -> None:
    """Until it is READY as any other; nobody does anything for it."""
    until(lambda: nic in cluster.parked(node), 30, "the NIC in parking")
    until(lambda: nic not in {lease["nic_id"] for lease in cluster.ask(node, "leases")}, 10, "the end of its lease")
    assert nic in cluster.wait_rest(node)
    assert_bare(cluster.parked(node)[nic])
    cluster.wait_sound(node)


def serves(cluster: Cluster, node: Node, sandbox: Make, nic: str) -> None:
    """Some next pod has it, and packets come back."""
    ready = cluster.in_state(node, "READY")
    pods = {}
    for number in range(len(ready)):
        box = sandbox(node, f"heir-{number}")
        pods[box.add()["interfaces"][0]["mac"]] = box
    (gateway,) = [gateway for dst, gateway, _ in pods[nic].routes() if dst == "default"]
    assert pods[nic].pings(gateway)


def looks(cluster: Cluster) -> None:
    """Until this node's agent has asked the cloud at least twice more: with that it looks into all netns."""

    def asked() -> int:
        return int(cluster.lab.control("GET", "counters")["calls"]["DescribeNics"])

    wanted = asked() + 6  # the other node's agent asks twice a minute
    until(lambda: asked() >= wanted, 90, "the agent's looks")


def process_inside(box: Sandbox) -> str:
    """Its pid on the node."""
    return box.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]).stdout.strip()


def test_a_netns_without_a_name_keeps_its_nic_as_long_as_a_process_is_in_it(
    cluster: Cluster, node: Node, victim: Sandbox
) -> None:
    nic, (lease,) = victim.mac(), victim.leases()
    pid = process_inside(victim)
    victim.kill()
    looks(cluster)
    assert victim.leases() == [lease]
    inside = ["nsenter", "--target", pid, "--net", "--", "ping", "-c", "1", "-W", "2", cluster.lab.vxnets[0].gateway]
    assert node.run(inside, check=False).returncode == 0
    node.run(["kill", "-KILL", pid])
    back(cluster, node, nic)
    assert victim.call_del() == DONE
    cluster.wait_sound(node)


DECOYS = ("eth1", "eth2", "eth3", "dev0", "net1")


def decoys_by_name(node: Node, nic: str) -> tuple[str, ...]:
    """Links of the host that are called as the NIC might want to be."""
    names = (*DECOYS, "q" + nic.replace(":", ""))
    for name in names:
        ip_link(node, "add", name, "type", "bridge")
    return names


def decoys_by_altname(node: Node, nic: str) -> tuple[str, ...]:
    """One link of the host that has all these names beside its own."""
    ip_link(node, "add", "decoy", "type", "bridge")
    for name in (*DECOYS, "q" + nic.replace(":", "")):
        ip_link(node, "property", "add", "dev", "decoy", "altname", name)
    return ("decoy",)


def ip_link(node: Node, *words: str) -> None:
    """Until it works: a NIC on its way into the pool may have that name while it crosses the host."""
    until(lambda: node.run(["ip", "link", *words], check=False).returncode == 0, 30, f"ip link {' '.join(words)}")


@pytest.mark.parametrize("decoys", [decoys_by_name, decoys_by_altname], ids=["names", "altnames"])
def test_links_of_the_host_with_the_same_names_are_in_nobodys_way(
    cluster: Cluster, node: Node, victim: Sandbox, sandbox: Make, decoys: t.Callable[[Node, str], tuple[str, ...]]
) -> None:
    nic = victim.mac()
    names = decoys(node, nic)
    try:
        before = described(node, names)
        victim.kill()
        back(cluster, node, nic)
        assert described(node, names) == before
        serves(cluster, node, sandbox, nic)
    finally:
        for name in names:
            node.run(["ip", "link", "delete", name])


def described(node: Node, names: t.Iterable[str]) -> list[t.Any]:
    links = {link["ifname"]: link for link in json.loads(node.run(["ip", "-json", "link"]).stdout)}
    return [(links[name]["ifindex"], links[name].get("altnames"), links[name]["flags"]) for name in names]


# ► (name on the host, altnames that come along): parking knows its NICs as q and their MAC
RETURNS = {
    "a name of the kernel's": ("dev0", ("web", "a-name-that-is-longer-than-a-link-may-have", "q{own}", "q{other}")),
    "a pod's own name": ("lan0", ()),
}


@pytest.mark.parametrize("way", RETURNS)
def test_a_nic_that_the_kernel_hands_back_is_parked_under_any_name(
    cluster: Cluster, node: Node, victim: Sandbox, way: str
) -> None:
    """As a physical one comes home: with the netns' end the kernel moves it to the host, altnames and all."""
    nic = victim.mac()
    name, altnames = RETURNS[way]
    cluster.wait_ready(node, 1)
    other = sorted(cluster.in_state(node, "READY"))[0]
    for text in altnames:
        altname = text.format(own=nic.replace(":", ""), other=other.replace(":", ""))
        victim.run(["ip", "link", "property", "add", "dev", "eth0", "altname", altname])
    put_back = cluster.links_put_back()
    victim.run(["ip", "link", "set", "eth0", "down", "netns", HOST, "name", name])
    victim.kill()
    back(cluster, node, nic)
    assert cluster.links_put_back() == put_back
    assert_bare(cluster.parked(node)[other])


def test_a_pod_of_containerd_that_was_killed_with_its_netns_can_still_be_deleted(cluster: Cluster, node: Node) -> None:
    placed = cluster.pod(node, "killed")
    nic = placed.mac()
    node.run(["kill", "-KILL", str(placed.pod.pid)])
    node.run(["ip", "netns", "delete", placed.netns.rpartition("/")[2]])
    back(cluster, node, nic)
    cluster.stop(placed)
    with node.cri() as cri:
        assert placed.pod.sandbox_id not in [pod.sandbox_id for pod in cri.pods()]
    cluster.wait_sound(node)


def test_all_pods_die_at_once(cluster: Cluster, node: Node, sandbox: Make) -> None:
    boxes = [sandbox(node, f"many-{number}") for number in range(8)]
    nics = {box.add()["interfaces"][0]["mac"] for box in boxes}
    ended = "".join(f"netns delete {box.name}\n" for box in boxes)
    node.run(["ip", "-batch", "-"], stdin=ended)
    until(lambda: nics <= (cluster.at_rest(node) or set()), 60, "a pool at rest, with all of them")
    cluster.wait_sound(node)
    assert [box.call_del() for box in boxes] == [DONE] * len(boxes)
    assert nics <= set(cluster.parked(node))
