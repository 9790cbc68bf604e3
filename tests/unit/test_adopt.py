# SPDX-License-Identifier: GPL-3.0-or-later
"""NICs under our name that the journal does not hold: whose they are, and what becomes of them."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from hostnic.cni.netconf import NetConf
from hostnic.cni.netns import Netns
from hostnic.cni.skel import Invocation
from hostnic.cni.spec import Attached
from hostnic.cni.verbs import Verbs, Wait
from hostnic.errors import LinkFailed, PoolEmpty
from hostnic.model import GATEWAY, LeaseKey, Nic, PodPlace
from hostnic.states import State
from hostnic.store.memory import MemoryStore
from tests.emulator import Settings as CloudSettings
from tests.emulator import jobs
from tests.support.node import INSTANCE, Node

POOL_NAME, GATEWAY_NAME = f"qingcni_{INSTANCE}", f"hostnic-gw_{INSTANCE}"


@pytest.fixture
def idle(tmp_path: Path) -> t.Iterator[Node]:
    """A node that wants no NICs by itself and looks at the cloud often."""
    with Node(tmp_path, pool_low=0, pool_high=0, reconcile_interval=5.0) as node:
        yield node


@pytest.fixture
def node(tmp_path: Path) -> t.Iterator[Node]:
    with Node(tmp_path) as node:
        yield node


def made(node: Node, count: int = 1, name: str = POOL_NAME) -> list[str]:
    """By somebody else, with the account's key."""
    return [nic.nic_id for nic in node.cloud.create_nics("vxnet-pods001", count, name)]


def attached(node: Node, name: str = POOL_NAME, instance_id: str = INSTANCE) -> str:
    (nic_id,) = made(node, name=name)
    node.cloud.attach_nics([nic_id], instance_id)
    node.emulator.advance(5)
    return nic_id


def lose_journal(node: Node) -> None:
    node.store = MemoryStore()
    node.start_agent()


def record(node: Node, nic_id: str) -> Nic:
    nic = node.engine.table.nic(nic_id)
    assert nic
    return nic


# -- free -------------------------------------------------------------------------------------------------------------


def test_a_free_nic_is_adopted_once_whoever_made_it_must_be_done(idle: Node) -> None:
    (nic_id,) = made(idle)
    idle.run(19)
    assert idle.engine.table.nics() == []
    idle.run(30)
    assert (record(idle, nic_id).state, record(idle, nic_id).prewarmed) == (State.READY, True)


def test_one_that_is_about_to_be_detached_is_taken_in_once_that_is_over(idle: Node) -> None:
    """A journal that was lost has forgotten the job; a pod would lose its NIC to it."""
    nic_id = attached(idle)
    idle.emulator.faults.order({"kind": "job_stuck", "action": "DetachNics"})
    idle.cloud.detach_nics([nic_id])
    idle.run(120)
    assert idle.engine.table.nic(nic_id) is None
    jobs.release(idle.emulator.cloud)
    idle.run(300)
    assert (record(idle, nic_id).state, record(idle, nic_id).prewarmed) == (State.READY, True)


def test_where_nics_take_long_so_does_adopting_one(tmp_path: Path) -> None:
    slow = CloudSettings(job_working_seconds=40.0)
    with Node(tmp_path, cloud=slow, pool_low=1, pool_high=1, reconcile_interval=5.0) as node:
        node.run(60)
        assert node.engine.table.nics(State.READY)
        lead = node.explain()["lead_time"]
        assert lead > 40
        (nic_id,) = made(node)
        node.run(2 * lead - 1)
        assert node.engine.table.nic(nic_id) is None
        node.run(240)
        assert record(node, nic_id).state is State.READY


def test_a_busy_node_adopts_a_free_nic_too(tmp_path: Path) -> None:
    with Node(tmp_path, reconcile_interval=5.0) as node:
        node.run(10)
        (nic_id,) = made(node)
        for number in range(20):
            node.add_within(10, f"pod{number}", number)
            node.run(10)
        assert node.engine.table.nic(nic_id)


def test_the_vxnet_of_an_adopted_nic_is_known_for_the_pod_that_gets_it(idle: Node) -> None:
    (nic,) = idle.cloud.create_nics("vxnet-pods002", 1, POOL_NAME)
    idle.run(60)
    assert record(idle, nic.nic_id).state is State.READY
    assert idle.pool.vxnet("vxnet-pods002").network == "172.16.2.0/24"


def test_a_free_nic_under_the_gateway_name_that_nobody_wants_is_swept(idle: Node) -> None:
    (nic_id,) = made(idle, name=GATEWAY_NAME)
    idle.run(600)
    assert nic_id in idle.in_cloud()
    idle.run(400)
    assert idle.in_cloud() == {}


# -- made by a call whose answer was lost -----------------------------------------------------------------------------


def test_what_was_seen_before_the_call_is_not_of_its_making(node: Node) -> None:
    node.run(10)
    (stranger,) = made(node)
    node.run(31)  # it is seen, and may still be somebody's work in progress
    node.emulator.faults.order({"kind": "drop_reply", "action": "CreateNics"})
    node.add("a", 1)
    node.run(8)
    assert node.states() == {State.IN_USE: 1, State.READY: 3}
    assert node.engine.table.nic(stranger) is None
    assert (node.calls("CreateNics"), node.engine.table.intents("create")) == (3, [])  # the stranger's maker's is one


def test_what_an_unanswered_create_made_is_taken_as_it_shows(node: Node) -> None:
    node.emulator.faults.order({"kind": "drop_reply", "action": "CreateNics"})
    node.engine.reconciler.step()
    late = sorted(node.in_cloud())[1:]
    assert len(late) == 2
    for nic_id in late:
        node.emulator.cloud.nics[nic_id].visible_from = node.clock.now() + 12
    node.run(10)
    assert sum(node.states().values()) == 1
    assert [intent.count for intent in node.engine.table.intents("create")] == [2]
    node.run(15)
    assert node.states() == {State.READY: 3}
    assert (node.calls("CreateNics"), node.engine.table.intents()) == (1, [])
    assert not any(nic.prewarmed for nic in node.engine.table.nics())


def test_an_unanswered_create_that_made_nothing_is_believed_after_twenty_seconds(node: Node) -> None:
    node.emulator.faults.order({"kind": "drop_reply", "action": "CreateNics", "when": "before"})
    node.run(18)
    assert (node.calls("CreateNics"), node.states()) == (1, {})
    node.run(20)
    assert (node.calls("CreateNics"), node.states()) == (2, {State.READY: 3})


def test_an_unanswered_create_survives_a_restart(node: Node) -> None:
    node.emulator.faults.order({"kind": "drop_reply", "action": "CreateNics"})
    node.engine.reconciler.step()
    node.start_agent()
    node.run(15)
    assert (node.calls("CreateNics"), node.states()) == (1, {State.READY: 3})


def test_an_unanswered_create_of_a_gateway_takes_no_nic_of_pods(node: Node) -> None:
    node.run(10)
    (strange,) = made(node)
    with pytest.raises(PoolEmpty):
        node.pool.gateway("vxnet-pods001", node.clock.now(), lambda: False)
    node.emulator.faults.order({"kind": "drop_reply", "action": "CreateNics"})
    node.run(15)
    assert [nic.purpose for nic in node.engine.table.nics(State.GATEWAY)] == [GATEWAY]
    assert node.engine.table.nic(strange) is None


# -- attached ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["host", "parking"])
def test_an_attached_nic_with_a_link_is_prewarmed_and_rests_first(idle: Node, place: str) -> None:
    nic_id = attached(idle)
    if place == "parking":
        idle.kernel.park(nic_id)
    idle.run(1)
    assert (record(idle, nic_id).state, record(idle, nic_id).prewarmed) == (State.QUARANTINE, True)
    assert idle.kernel.links[nic_id].place == "parking"
    assert idle.guard.macs == {nic_id}
    idle.run(1)
    assert idle.kernel.flushed == [record(idle, nic_id).private_ip]
    idle.run(60)
    assert (record(idle, nic_id).state, record(idle, nic_id).prewarmed) == (State.READY, True)


def test_an_attached_nic_whose_link_is_nowhere_is_broken_and_given_back_in_the_end(idle: Node) -> None:
    nic_id = attached(idle)
    del idle.kernel.links[nic_id]
    idle.run(59)
    assert idle.engine.table.nic(nic_id) is None
    idle.run(120)
    assert record(idle, nic_id).state is State.BROKEN
    idle.run(480)
    assert idle.in_cloud() == {nic_id: "in-use"}
    idle.run(300)
    assert (idle.in_cloud(), idle.engine.table.nics()) == ({}, [])


def test_a_broken_nic_is_not_given_back_while_a_netns_has_its_link(idle: Node) -> None:
    nic_id = attached(idle)
    link = idle.kernel.links.pop(nic_id)
    idle.run(180)
    assert record(idle, nic_id).state is State.BROKEN
    idle.kernel.links[nic_id] = replace(link, place="pod:4", name="eth0")
    idle.run(3000)
    assert (record(idle, nic_id).state, idle.in_cloud()) == (State.IN_USE, {nic_id: "in-use"})


def test_the_primary_nic_is_never_ours_whatever_its_name(idle: Node) -> None:
    primary = next(nic for nic in idle.emulator.cloud.nics.values() if nic.role == 1 and nic.instance_id == INSTANCE)
    primary.nic_name = POOL_NAME
    idle.run(200)
    assert idle.engine.table.nics() == []
    assert idle.kernel.links[primary.nic_id].place == "host"


def test_a_nic_of_another_instance_is_never_ours_whatever_its_name(idle: Node) -> None:
    attached(idle, instance_id="i-node0002")
    idle.run(200)
    assert idle.engine.table.nics() == []


def test_an_attached_nic_under_the_gateway_name_becomes_a_gateway(idle: Node) -> None:
    attached(idle)  # beside a NIC of pods, or it is of no use
    nic_id = attached(idle, GATEWAY_NAME)
    idle.run(10)
    gateway = record(idle, nic_id)
    assert (gateway.state, gateway.purpose, gateway.prewarmed) == (State.GATEWAY, GATEWAY, False)
    assert idle.kernel.gateways == {nic_id: f"{gateway.private_ip}/24"}
    assert idle.emulator.cloud.nics[nic_id].enable_aspoof == 0
    assert idle.pool.gateway("vxnet-pods001", idle.clock.now(), lambda: False) == gateway.private_ip


# -- the journal is lost while pods run -------------------------------------------------------------------------------


class Pods:
    """CNI calls of a node; a pod's netns is a number."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._verbs = Verbs(node.pool, node.kernel, node.clock.now)

    def _wait(self) -> Wait:
        return Wait(self._node.clock.now() + 1, lambda: False)

    def add(self, container: str, netns: int, ifname: str = "eth0") -> Attached:
        call = Invocation("ADD", "1.0.0", "net", container, ifname, f"/run/netns/{netns}")
        return self._verbs.add(call, NetConf(), Netns(netns, netns), self._wait())

    def delete(self, container: str, netns: t.Optional[int], ifname: str = "eth0", asked_at: float = 0.0) -> None:
        inside = None if netns is None else Netns(netns, netns)
        self._verbs.delete(LeaseKey("net", container, ifname), inside, asked_at, self._wait())


@pytest.fixture
def forgotten(node: Node) -> Node:
    """Three pods run; the agent has lost its journal and looked around."""
    node.run(10)
    for number in (1, 2, 3):
        node.add(f"pod{number}", number)
    node.run(10)
    lose_journal(node)
    node.run(5)
    return node


def in_pods(node: Node) -> dict[int, str]:
    return {int(link.place[4:]): mac for mac, link in node.kernel.links.items() if link.place.startswith("pod:")}


def test_the_nic_of_a_pod_that_was_forgotten_is_in_use_in_the_name_of_its_netns(forgotten: Node) -> None:
    leases = {lease.nic_id: lease for lease in forgotten.engine.table.leases()}
    assert len(leases) == 3
    for inode, mac in in_pods(forgotten).items():
        assert record(forgotten, mac).state is State.IN_USE
        assert leases[mac].attachment == LeaseKey("", f"netns-{inode}", "eth0")
        assert (leases[mac].netns_inode, leases[mac].ifindex) == (inode, forgotten.kernel.links[mac].ifindex)


def test_no_nic_of_a_pod_that_was_forgotten_is_handed_out(forgotten: Node) -> None:
    pods = set(in_pods(forgotten).values())
    for number in range(20):
        forgotten.add_within(30, f"new{number}", 100 + number)
    assert len(in_pods(forgotten)) == 23
    assert {in_pods(forgotten)[number] for number in (1, 2, 3)} == pods
    assert {record(forgotten, mac).state for mac in pods} == {State.IN_USE}


def test_before_the_first_look_a_restarted_agent_hands_out_nothing_it_does_not_know(node: Node) -> None:
    node.run(10)
    node.add("a", 1)
    lose_journal(node)
    with pytest.raises(PoolEmpty):
        node.add("b", 2)


def test_del_with_its_netns_gives_a_forgotten_nic_back(forgotten: Node) -> None:
    mac = in_pods(forgotten)[2]
    Pods(forgotten).delete("pod2", 2)
    assert (record(forgotten, mac).state, forgotten.kernel.links[mac].place) == (State.QUARANTINE, "parking")
    assert len(forgotten.engine.table.leases()) == 2
    forgotten.run(70)
    assert record(forgotten, mac).state is State.READY


def test_a_del_from_before_the_journal_was_lost_gives_a_forgotten_nic_back(forgotten: Node) -> None:
    Pods(forgotten).delete("pod2", 2, asked_at=1.0)
    assert 2 not in in_pods(forgotten)


@pytest.mark.parametrize(("netns", "ifname"), [(9, "eth0"), (2, "net1"), (None, "eth0")])
def test_del_elsewhere_leaves_a_forgotten_nic_alone(forgotten: Node, netns: t.Optional[int], ifname: str) -> None:
    before = in_pods(forgotten)
    Pods(forgotten).delete("pod2", netns, ifname)
    assert in_pods(forgotten) == before
    assert len(forgotten.engine.table.leases()) == 3


def test_add_with_its_netns_and_ifname_takes_a_forgotten_nic_over(forgotten: Node) -> None:
    mac = in_pods(forgotten)[2]
    pods = Pods(forgotten)
    assert pods.add("pod2", 2).mac == mac
    lease = forgotten.engine.table.lease(LeaseKey("net", "pod2", "eth0"))
    assert lease and (lease.nic_id, lease.netns_inode) == (mac, 2)
    assert len(forgotten.engine.table.leases()) == 3
    forgotten.start_agent()
    Pods(forgotten).delete("pod2", 2)
    assert record(forgotten, mac).state is State.QUARANTINE


def test_a_forgotten_nic_whose_pod_died_rests(forgotten: Node) -> None:
    mac = in_pods(forgotten)[2]
    forgotten.kernel.kill_netns(2)
    assert (record(forgotten, mac).state, len(forgotten.engine.table.leases())) == (State.QUARANTINE, 2)


def test_all_forgotten_nics_are_of_use_again_after_their_del(forgotten: Node) -> None:
    pods = in_pods(forgotten)
    for inode in pods:
        Pods(forgotten).delete(f"pod{inode}", inode)
    forgotten.run(120)
    assert set(pods.values()) <= {nic.nic_id for nic in forgotten.engine.table.nics(State.READY)}
    assert forgotten.engine.table.leases() == []


def blind(node: Node) -> None:
    """A network namespace of this machine cannot be read from now on."""

    def unreadable(macs: t.Collection[str]) -> dict[str, PodPlace]:
        raise LinkFailed("a network namespace cannot be read")

    node.kernel.in_netns = unreadable  # type: ignore[method-assign]


def test_what_cannot_be_looked_for_is_left_alone(node: Node) -> None:
    node.run(10)
    mac = node.add("a", 1).nic_id
    blind(node)
    lose_journal(node)
    node.run(300)
    assert node.engine.table.nic(mac) is None
    assert node.in_cloud()[mac] == "in-use"
    del node.kernel.in_netns
    node.run(120)
    assert record(node, mac).state is State.IN_USE


def test_a_netns_that_cannot_be_read_does_not_keep_the_pool_from_growing(node: Node) -> None:
    node.run(10)
    node.add("a", 1)
    blind(node)
    lose_journal(node)
    assert node.add_within(60, "b", 2) <= 60


def test_a_gateway_stays_while_it_is_not_known_who_routes_by_it(node: Node) -> None:
    node.run(10)
    for number in range(3):
        node.add(f"pod{number}", number)
    with pytest.raises(PoolEmpty):
        node.pool.gateway("vxnet-pods001", node.clock.now(), lambda: False)
    node.run(20)
    (gateway,) = node.engine.table.nics(State.GATEWAY)
    for spare in node.engine.table.nics(State.READY):
        node.emulator.cloud.nics[spare.nic_id].nic_name = "somebody-elses"
    node.emulator.cloud.settings = CloudSettings(nics_per_account=1)  # no NIC can be made beside it
    blind(node)
    lose_journal(node)
    node.run(60)
    assert node.in_cloud()[gateway.nic_id] == "in-use"
