# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever has become of a pod, its DEL succeeds without a word, and the pool has the NIC again."""

from __future__ import annotations

import stat
import typing as t

import pytest

from tests.e2e import attachment
from tests.e2e.attachment import DONE, Sandbox
from tests.e2e.cluster import Cluster
from tests.lab.lab import Node
from tests.lab.wait import until
from tests.support.api import Api

SPOOL = "/var/lib/qingagent/spool"
HASTE = ("Environment=QINGAGENT_QUARANTINE=2s", "Environment=QINGAGENT_QUARANTINE_MIN=1s",
         "Environment=QINGAGENT_RECONCILE_INTERVAL=2s")  # fmt: skip
AGENT = ("qingagent.socket", "qingagent.service")
Make = t.Callable[[Node, str], Sandbox]


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> t.Iterator[Node]:
    """A node whose NICs rest for a short time only, and whose agent soon learns what others do in the cloud."""
    node = cluster.nodes[0]
    with cluster.own_boot_id(node) as directive, cluster.short_rest(node, directive, *HASTE):
        yield node


@pytest.fixture
def box(node: Node, sandbox: Make) -> Sandbox:
    """A container with a NIC."""
    box = sandbox(node, "deleted")
    box.add()
    return box


def spooled(node: Node) -> list[str]:
    return node.run(["find", SPOOL, "-type", "f"], check=False).stdout.splitlines()


def nothing(cluster: Cluster, box: Sandbox) -> None:
    pass


def netns_gone(cluster: Cluster, box: Sandbox) -> None:
    box.kill()


def netns_replaced(cluster: Cluster, box: Sandbox) -> None:
    """By another one at the same path."""
    box.kill()
    box.node.run(["ip", "netns", "add", box.name])


def netns_file_left(cluster: Cluster, box: Sandbox) -> None:
    """Unmounted, but the file is there, as after a runtime's crash."""
    box.node.run(["umount", box.netns])


def renamed(cluster: Cluster, box: Sandbox) -> None:
    box.run(["ip", "link", "set", "eth0", "down", "name", "lan0"])


def name_taken_by_another(cluster: Cluster, box: Sandbox) -> None:
    renamed(cluster, box)
    box.run(["ip", "link", "add", "eth0", "type", "bridge"])


def mac_changed(cluster: Cluster, box: Sandbox) -> None:
    box.run(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:01"])


def altnames(cluster: Cluster, box: Sandbox) -> None:
    """Among them those by which parking knows its NICs: its own, and another's."""
    other = sorted(cluster.parked(box.node))[0]
    for mac in (box.mac(), other):
        box.run(["ip", "link", "property", "add", "dev", "eth0", "altname", "q" + mac.replace(":", "")])


def detached_by_hand(cluster: Cluster, box: Sandbox) -> None:
    """In the cloud, by someone else with the account's key."""
    api, nic = Api(cluster.lab), box.mac()
    api.call("DetachNics", nics=[nic])
    until(lambda: api.status(nic) == "available", 30, "the NIC's detachment")
    until(lambda: box.names() == {"lo"}, 10, "the end of its link")


def detached_and_netns_gone(cluster: Cluster, box: Sandbox) -> None:
    detached_by_hand(cluster, box)
    box.kill()


def deleted_before(cluster: Cluster, box: Sandbox) -> None:
    assert box.call_del() == DONE


FATES = (
    nothing,
    netns_gone,
    netns_replaced,
    netns_file_left,
    renamed,
    name_taken_by_another,
    mac_changed,
    altnames,
    detached_by_hand,
    detached_and_netns_gone,
    deleted_before,
)


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.__name__.replace("_", " "))
def test_a_del_succeeds_without_a_word(
    cluster: Cluster, node: Node, box: Sandbox, fate: t.Callable[[Cluster, Sandbox], None]
) -> None:
    nic = box.mac()
    fate(cluster, box)
    assert box.call_del() == DONE
    assert box.call_del() == DONE
    assert box.call_del(netns="") == DONE
    assert box.leases() == []
    if not fate.__name__.startswith("detached"):
        until(lambda: nic in cluster.parked(node), 30, "the NIC in parking")  # the kernel takes its time for a netns
        assert_bare(cluster.parked(node)[nic])
    attachment.delete(node, box.name)
    cluster.wait_sound(node)


def assert_bare(link: t.Mapping[str, t.Any]) -> None:
    """As every link in parking: under its own name, down, and nothing of the pod's on it."""
    assert link["ifname"] == "q" + link["address"].replace(":", "")
    assert not link.get("altnames")
    assert "UP" not in link["flags"]
    assert link["addr_info"] == []


def test_a_pod_that_nobody_knows_is_deleted(cluster: Cluster, node: Node) -> None:
    before = (cluster.ask(node, "leases"), cluster.links(node))
    for netns in ("/run/netns/never-was", "", "/proc/1/ns/net", "/etc/hostname"):
        assert attachment.qingcni(node, "DEL", "never-was", netns, {}) == DONE, netns
    assert (cluster.ask(node, "leases"), cluster.links(node)) == before


def test_a_late_del_leaves_the_nics_next_pod_alone(cluster: Cluster, node: Node, sandbox: Make) -> None:
    """The runtime has forgotten a DEL, the netns is gone, and the NIC serves another pod when it remembers."""
    first = sandbox(node, "forgotten")
    nic = first.add()["interfaces"][0]["mac"]
    first.kill()
    until(lambda: nic in cluster.in_state(node, "READY"), 40, "the end of the NIC's rest")
    others = [sandbox(node, f"next-{number}") for number in range(len(cluster.in_state(node, "READY")))]
    macs = {box.add()["interfaces"][0]["mac"]: box for box in others}
    assert nic in macs
    assert first.call_del() == DONE
    assert first.call_del(netns=macs[nic].netns) == DONE  # a path that has come to another pod
    assert [lease["nic_id"] for lease in macs[nic].leases()] == [nic]
    assert macs[nic].pings(cluster.lab.vxnets[0].gateway)
    cluster.wait_sound(node)


def test_dels_are_written_down_while_the_agent_is_away(cluster: Cluster, node: Node, sandbox: Make) -> None:
    boxes = [sandbox(node, f"away-{number}") for number in range(3)]
    nics = [box.add()["interfaces"][0]["mac"] for box in boxes]
    assert spooled(node) == []
    node.run(["systemctl", "stop", *AGENT])
    try:
        assert [box.call_del() for box in boxes] == [DONE] * 3
        assert boxes[0].call_del() == DONE
        files = spooled(node)
        assert len(files) == 4
        assert all(name.endswith(".json") for name in files)
        modes = {stat.S_IMODE(node.path(name).stat().st_mode) for name in files}
        assert modes == {0o600}
        boxes[1].kill()
        boxes[2].run(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:02"])
    finally:
        node.run(["systemctl", "start", *AGENT])
    # before its first answer
    states = {nic_id: record["state"] for nic_id, record in cluster.pool(node).items()}
    assert spooled(node) == []
    assert [states[nic] for nic in nics] == ["QUARANTINE"] * 3
    assert all(box.leases() == [] for box in boxes)
    cluster.wait_sound(node)
    assert set(nics) <= cluster.wait_rest(node)


def moved_on(box: Sandbox, inner: Sandbox) -> Sandbox:
    """Into a netns of the container's own."""
    box.run(["ip", "link", "set", "eth0", "netns", inner.name])
    return inner


def disguised(box: Sandbox, inner: Sandbox) -> Sandbox:
    """As only a link without a permanent MAC can be, which the lab's are."""
    box.run(["ip", "link", "set", "eth0", "down", "name", "lan0", "address", "02:00:00:00:00:01"])
    return box


@pytest.mark.parametrize("hide", [moved_on, disguised], ids=lambda hide: hide.__name__.replace("_", " "))
def test_a_nic_that_its_del_does_not_find_is_not_lost(
    cluster: Cluster, node: Node, box: Sandbox, sandbox: Make, hide: t.Callable[[Sandbox, Sandbox], Sandbox]
) -> None:
    """It is home once the netns ends."""
    nic, place = box.mac(), hide(box, sandbox(node, "inner"))
    assert box.call_del() == DONE
    assert [lease for lease in box.leases() if lease["nic_id"] == nic] == []
    place.kill()
    until(lambda: nic in cluster.parked(node), 30, "the NIC in parking")
    assert nic in cluster.wait_rest(node, 90)
    assert_bare(cluster.parked(node)[nic])
    cluster.wait_sound(node)
