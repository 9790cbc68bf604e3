# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node has after a reboot, or without its journal, is what it had before: no NIC is lost, made or given away."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

import pytest

from tests.e2e.cluster import BOOT_ID, Cluster, Placed
from tests.e2e.test_managers import MANAGERS, NEVER_TOUCHES, Watch
from tests.lab.lab import Node
from tests.lab.wait import until

PODS = 3
READY = 4
NETWORK = "qingcloud"  # as the role calls it
STATEDIR = "/var/lib/qingagent"


@dataclass(frozen=True)
class Cloud:
    """What the cloud was told to do for a node: its NICs, each with the time of its making, and its jobs."""

    nics: dict[str, float]
    jobs: set[str]

    @classmethod
    def of(cls, cluster: Cluster, node: Node) -> Cloud:
        nics = cluster.lab.control("GET", "nics")
        jobs = cluster.lab.control("GET", "jobs")
        return cls(
            {nic["nic_id"]: nic["created"] for nic in nics if nic["nic_name"].endswith(f"_{node.instance_id}")},
            {job["job_id"] for job in jobs if node.instance_id in job["instance_ids"]},
        )


@pytest.fixture(scope="module")
def reboots_are_seen(cluster: Cluster) -> t.Iterator[None]:
    node = cluster.nodes[0]
    with cluster.own_boot_id(node) as directive, cluster.short_rest(node, directive):
        yield


@pytest.fixture
def node(cluster: Cluster, reboots_are_seen: None) -> t.Iterator[Node]:
    """A node with a pool at rest; a reboot makes it stale."""
    node = cluster.nodes[0]
    cluster.wait_ready(node)
    cluster.wait_rest(node)
    yield node
    cluster.remove_pods()


@pytest.fixture
def pods(cluster: Cluster, node: Node) -> list[Placed]:
    pods = [cluster.pod(node, f"reboot-{number}") for number in range(PODS)]
    # one more than an agent keeps at least: the first pod after a reboot is no reason to have another
    node.run(["qingagent", "warm", str(READY)])
    cluster.wait_ready(node, READY)
    cluster.wait_rest(node)
    return pods


def nic_of(placed: Placed) -> str:
    (link,) = placed.ip("link", "show", "dev", "eth0")
    return str(link["address"])


def works(cluster: Cluster, placed: Placed) -> bool:
    """By its router, whichever of the vxnets it is in."""
    (route,) = [route for route in placed.ip("route") if route["dst"] == "default"]
    (link,) = placed.ip("addr", "show", "dev", "eth0")
    addresses = [info["local"] for info in link["addr_info"] if info["family"] == "inet"]
    return addresses == [placed.pod.ip] and placed.pings(route["gateway"])


@contextlib.contextmanager
def api_down(cluster: Cluster) -> t.Iterator[None]:
    fault = {"action": "*", "kind": "http_status", "status": 503, "count": None}
    fault_id = cluster.lab.control("POST", "faults", fault)["fault_id"]
    try:
        yield
    finally:
        cluster.lab.control("DELETE", f"faults/{fault_id}")


APIS: dict[str, t.Callable[[Cluster], t.ContextManager[None]]] = {
    "the API answers": lambda cluster: contextlib.nullcontext(),
    "the API is down": api_down,
}


@pytest.mark.parametrize("api", APIS)
def test_after_a_reboot_the_pool_is_what_it_was(cluster: Cluster, node: Node, pods: list[Placed], api: str) -> None:
    before, held = Cloud.of(cluster, node), {nic_of(placed) for placed in pods}
    assert held <= before.nics.keys() == set(cluster.pool(node))
    ours = cluster.pods_nics(node)
    with APIS[api](cluster):
        node = cluster.reboot(node)
        (binding,) = cluster.journal(node, "binding")
        assert binding["boot_id"] == node.run(["cat", BOOT_ID]).stdout.strip()
        assert cluster.ask(node, "leases") == []
        until(lambda: ours == set(cluster.parked(node)), 30, "every NIC in parking")
        # those that were READY are so at once, whatever the cloud does
        first = cluster.pod(node, "first")
        assert nic_of(first) not in held
        assert works(cluster, first)
        # kubelet's late words about pods that it remembers and nobody else
        for placed in pods:
            assert cluster.qingcni(node, "DEL", placed.pod.sandbox_id, placed.pod.netns, NETWORK) == (0, None)
        assert [lease["nic_id"] for lease in cluster.ask(node, "leases")] == [nic_of(first)]
    ready = cluster.wait_rest(node)
    assert ready == ours - {nic_of(first)}
    assert Cloud.of(cluster, node) == before
    cluster.wait_sound(node)
    assert all(works(cluster, cluster.pod(node, f"again-{number}")) for number in range(PODS))


@pytest.mark.parametrize("name", MANAGERS)
def test_network_managers_that_start_before_the_agent_are_left_with_nothing(
    cluster: Cluster, node: Node, name: str
) -> None:
    ours = cluster.pods_nics(node)
    routing = routes_of(node)
    with enabled(cluster, node, *MANAGERS[name]):
        watch = Watch(node)
        try:
            node = cluster.reboot(node)
            until(lambda: ours <= set(cluster.parked(node)), 30, "every NIC in parking")
        finally:
            watch.stop()
        assert node.run(["systemctl", "is-active", MANAGERS[name][0]]).stdout == "active\n"
        assert all(watch.of(mac) for mac in ours)  # each passed by the host
        assert not {mac: watch.names(mac) for mac in ours if len(watch.names(mac)) > 1}
        if name in NEVER_TOUCHES:
            assert not {mac: watch.of(mac) for mac in ours if watch.taken(mac)}
        parked = cluster.parked(node)
        assert not [mac for mac in ours if parked[mac]["addr_info"] or "UP" in parked[mac]["flags"]]
        assert not ours & set(cluster.host_links(node))
        until(lambda: routes_of(node) == routing, 30, "the routes of before, with those of gateway NICs")
        assert cluster.wait_rest(node) == ours


def routes_of(node: Node) -> list[list[str]]:
    return [sorted(node.run(["ip", words]).stdout.splitlines()) for words in ("rule", "route")]


@contextlib.contextmanager
def enabled(cluster: Cluster, node: Node, unit: str, path: str, text: str) -> t.Iterator[None]:
    """A network manager that is started with the machine."""
    node.run(["mkdir", "-p", path.rpartition("/")[0]])
    node.run(["tee", path], stdin=text)
    node.run(["systemctl", "unmask", unit])
    node.run(["systemctl", "enable", unit])
    try:
        yield
    finally:
        node = cluster.lab.node(node.name)
        node.run(["systemctl", "disable", "--now", unit])
        node.run(["systemctl", "mask", unit])
        node.run(["rm", path])


LOSSES = {
    "deleted": ["find", STATEDIR, "-name", "state.db*", "-delete"],
    "overwritten": ["dd", "if=/dev/urandom", f"of={STATEDIR}/state.db", "bs=4096", "count=16"],
}


@pytest.mark.parametrize("loss", LOSSES)
def test_pods_outlive_the_journal(cluster: Cluster, node: Node, pods: list[Placed], loss: str) -> None:
    before = Cloud.of(cluster, node)
    held, ours = cluster.in_state(node, "IN_USE"), cluster.pods_nics(node)
    assert held >= {nic_of(placed) for placed in pods}
    aside = damaged(node)
    node.run(["systemctl", "stop", "qingagent.socket", "qingagent.service"])
    try:
        node.run(LOSSES[loss])
    finally:
        node.run(["systemctl", "start", "qingagent.socket", "qingagent.service"])
    assert bool(damaged(node) - aside) == (loss == "overwritten")
    until(lambda: set(cluster.pool(node)) >= before.nics.keys(), 60, "all NICs in the table again")
    assert held == cluster.in_state(node, "IN_USE")
    assert cluster.wait_rest(node) >= ours - held
    cluster.wait_sound(node)
    assert all(works(cluster, placed) for placed in pods)

    # none of theirs is handed out, not even to the pod itself a second time
    fresh = [cluster.pod(node, f"fresh-{number}") for number in range(PODS)]
    assert all(works(cluster, placed) for placed in (*pods, *fresh))
    again, *others = pods
    status, result = cluster.qingcni(node, "ADD", again.pod.sandbox_id, again.pod.netns, NETWORK)
    assert status == 0, result
    assert result["interfaces"][0]["mac"] == nic_of(again)
    (lease,) = [lease for lease in cluster.ask(node, "leases") if lease["nic_id"] == nic_of(again)]
    assert lease["container_id"] == again.pod.sandbox_id

    nics = {nic_of(placed) for placed in (again, *others)}
    put_back = cluster.links_put_back()
    for placed in (again, *others):
        cluster.stop(placed)
    assert not nics & {lease["nic_id"] for lease in cluster.ask(node, "leases")}
    assert nics <= set(cluster.parked(node))
    assert cluster.links_put_back() == put_back  # each was fetched by its DEL
    assert nics <= cluster.wait_rest(node)
    assert (
        Cloud.of(cluster, node).nics.keys() >= before.nics.keys()
    )  # the pool may have grown while the free ones rested
    cluster.wait_sound(node)
    node.run(["find", STATEDIR, "-name", "state.db.damaged-*", "-delete"])


def damaged(node: Node) -> set[str]:
    """Journals that were set aside."""
    return set(node.run(["find", STATEDIR, "-name", "state.db.damaged-*"]).stdout.splitlines())
