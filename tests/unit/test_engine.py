# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool as a whole: real client, emulated cloud, a kernel in memory, emulated time."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from hostnic.errors import Denied, PoolEmpty, QuotaExceeded
from hostnic.model import LeaseKey, PodLink, Waiter
from hostnic.states import State
from tests.emulator import Settings as CloudSettings
from tests.support.node import INSTANCE, Node


@pytest.fixture
def node(tmp_path: Path) -> t.Iterator[Node]:
    with Node(tmp_path) as node:
        yield node


def test_an_empty_pool_warms_up_with_one_create_and_one_attach(node: Node) -> None:
    node.run(10)
    assert node.states() == {State.READY: 3}
    assert (node.calls("CreateNics"), node.calls("AttachNics")) == (1, 1)
    assert set(node.in_cloud().values()) == {"in-use"}
    assert {link.place for link in node.kernel.list() if link.mac in node.in_cloud()} == {"parking"}
    assert node.guard.macs == set(node.in_cloud())


def test_a_pod_takes_a_nic_and_gives_it_back_to_rest(node: Node) -> None:
    node.run(10)
    nic = node.add("a", 1)
    assert node.engine.table.nic(nic.nic_id).state is State.IN_USE
    node.delete("a")
    assert node.engine.table.nic(nic.nic_id).state is State.QUARANTINE
    node.run(1)
    assert node.kernel.flushed == [nic.private_ip]
    node.run(70)
    assert node.engine.table.nic(nic.nic_id).state is State.READY


def test_the_same_attachment_gets_the_same_nic(node: Node) -> None:
    node.run(10)
    key = LeaseKey("net", "a", "eth0")
    first = node.pool.acquire(key, {}, node.clock.now(), lambda: False)
    second = node.pool.acquire(key, {}, node.clock.now(), lambda: False)
    assert (first[0].nic_id, first[1], second[1]) == (second[0].nic_id, False, True)


def test_an_empty_pool_says_so_at_the_deadline(node: Node) -> None:
    with pytest.raises(PoolEmpty, match="no NIC became ready in time"):
        node.add("a", 1)


def test_a_nic_that_rests_is_taken_only_after_quarantine_min_and_its_flush(node: Node) -> None:
    node.run(10)
    for name in "abc":
        node.add(name, ord(name))
    node.delete("a")
    with pytest.raises(PoolEmpty):
        node.add("d", 4)
    node.clock.advance(5.1)
    with pytest.raises(PoolEmpty):
        node.add("d", 4)  # its address may still be in connection tracking
    node.engine.survey.run()
    assert node.add("d", 4)


def test_churn_does_not_multiply_nics(node: Node) -> None:
    node.run(10)
    for round_ in range(100):
        node.add_within(5, f"pod{round_}", round_)
        node.run(1)
        node.delete(f"pod{round_}")
    # one live, the warm ones, a pod a second resting for quarantine-min, one batch
    assert len(node.in_cloud()) <= 1 + node.explain()["warm"] + 5 + 3
    node.run(120)
    assert set(node.states()) == {State.READY}


def test_a_pod_whose_netns_died_gives_its_nic_back(node: Node) -> None:
    node.run(10)
    nic = node.add("a", 1)
    node.kernel.kill_netns(1)
    node.run(1)
    assert node.engine.table.nic(nic.nic_id).state is State.QUARANTINE
    assert node.engine.table.leases() == []
    assert node.kernel.links[nic.nic_id].place == "parking"


def test_idle_nics_above_pool_high_are_detached_and_deleted(tmp_path: Path) -> None:
    with Node(tmp_path, pool_low=3, pool_high=3, quarantine=1.0) as node:
        node.run(10)
        for n in range(3):
            node.add(f"pod{n}", n)
        node.run(20)
        assert len(node.in_cloud()) == 6
        for n in range(3):
            node.delete(f"pod{n}")
        node.run(700)
        assert node.states() == {State.READY: 3}
        assert len(node.in_cloud()) == 3


def test_a_restarted_agent_goes_on_where_it_was(node: Node) -> None:
    node.run(10)
    nic = node.add("a", 1)
    node.start_agent()
    assert node.states() == {State.READY: 2, State.IN_USE: 1}
    calls = node.calls("CreateNics")
    node.run(10)
    node.delete("a")
    assert node.engine.table.nic(nic.nic_id).state is State.QUARANTINE
    assert node.calls("CreateNics") == calls + 1  # the replacement of the one in use


def test_after_a_reboot_every_nic_is_parked_again_and_no_lease_is_left(node: Node) -> None:
    node.run(10)
    node.add("a", 1)
    node.run(10)
    node.kernel.reboot()
    node.boot_id = "boot-2"
    node.start_agent()
    node.run(70)
    assert node.engine.table.leases() == []
    assert node.states() == {State.READY: 4}
    assert all(link.place == "parking" for link in node.kernel.list() if link.mac in node.in_cloud())


def test_a_cloned_image_takes_nothing(node: Node) -> None:
    node.run(10)
    before = node.in_cloud()
    node.instance_id = "i-node0002"  # its primary NIC is no link of this machine
    node.start_agent()
    node.run(60)
    assert node.in_cloud() == before
    assert node.calls("CreateNics") == 1
    with pytest.raises(Denied, match="no link of this machine"):
        node.add("a", 1)


def test_nics_made_under_our_name_are_adopted(node: Node) -> None:
    made = node.cloud.create_nics("vxnet-pods001", 2, f"qingcni_{INSTANCE}")
    node.cloud.attach_nics([made[0].nic_id], INSTANCE)
    node.emulator.advance(5)
    node.run(130)
    assert {nic.nic_id for nic in made} <= {nic.nic_id for nic in node.engine.table.nics(State.READY)}
    assert len(node.in_cloud()) == 4  # three were made before the free one was old enough to be adopted


def test_foreign_nics_are_never_touched(node: Node) -> None:
    made = node.cloud.create_nics("vxnet-pods001", 2, "somebody-elses")
    node.cloud.attach_nics([made[0].nic_id], INSTANCE)
    node.run(60)
    assert node.kernel.links[made[0].nic_id].place == "host"
    assert not {nic.nic_id for nic in made} & {nic.nic_id for nic in node.engine.table.nics()}


def test_what_an_unanswered_create_made_is_found_by_its_name(node: Node) -> None:
    node.emulator.faults.order({"kind": "drop_reply", "action": "CreateNics", "count": 1})
    node.run(60)
    assert node.states() == {State.READY: 3}
    assert len(node.in_cloud()) == 3


def test_a_failed_attach_job_is_tried_again(node: Node) -> None:
    node.emulator.faults.order({"kind": "job_failed", "action": "AttachNics", "count": 1})
    node.run(40)
    assert node.states() == {State.READY: 3}
    assert len(node.in_cloud()) == 3


def test_a_half_done_attach_job_is_settled_nic_by_nic(node: Node) -> None:
    node.emulator.faults.order({"kind": "job_partial", "action": "AttachNics", "count": 1, "done": 1})
    node.run(40)
    assert node.states() == {State.READY: 3}


def test_the_warm_pool_serves_while_the_cloud_is_away(node: Node) -> None:
    node.run(10)
    node.emulator.faults.order({"action": "*", "kind": "http_status", "count": None})
    for n in range(3):
        node.add(f"pod{n}", n)
        node.run(10)
    calls = node.calls()
    node.run(600)
    assert node.calls() - calls <= 40 * 4  # a read and its three repetitions every 15 s
    for n in range(3):
        node.delete(f"pod{n}")
    node.emulator.faults.clear()
    node.run(150)
    assert node.states()[State.READY] >= 3


def test_a_full_vxnet_is_left_alone_and_the_next_is_taken(tmp_path: Path) -> None:
    with Node(tmp_path, vxnet=("vxnet-pods001", "vxnet-pods002")) as node:
        first = node.engine.reconciler.explain()["actions"][0]["vxnet_id"]
        node.cloud.create_nics(first, 252, "somebody-elses")
        node.run(30)
        assert {nic.vxnet_id for nic in node.engine.table.nics(State.READY)} == {"vxnet-pods001", "vxnet-pods002"} - {
            first
        }


def test_one_attach_job_at_a_time_where_the_cloud_wants_that(tmp_path: Path) -> None:
    cloud = CloudSettings(parallel_jobs_per_instance="refuse")
    with Node(tmp_path, cloud=cloud, pool_low=30, pool_high=30) as node:
        node.run(60)
        assert node.states() == {State.READY: 30}


def test_a_nic_taken_away_in_the_cloud_is_forgotten_and_replaced(node: Node) -> None:
    node.run(10)
    nic_id = node.engine.table.nics(State.READY)[0].nic_id
    node.cloud.detach_nics([nic_id])
    node.emulator.advance(5)
    node.cloud.delete_nics([nic_id])
    node.run(120)
    assert node.engine.table.nic(nic_id) is None
    assert node.states() == {State.READY: 3}


def test_a_gateway_nic_is_made_on_demand_without_source_check(node: Node) -> None:
    node.run(10)
    with pytest.raises(PoolEmpty):
        node.pool.gateway("vxnet-pods001", node.clock.now(), lambda: False)
    node.run(20)
    address = node.pool.gateway("vxnet-pods001", node.clock.now(), lambda: False)
    gateway = node.engine.table.nics(State.GATEWAY)[0]
    assert (gateway.private_ip, node.kernel.gateways[gateway.nic_id]) == (address, f"{address}/24")
    assert node.emulator.cloud.nics[gateway.nic_id].enable_aspoof == 0
    node.start_agent()
    node.run(30)
    assert node.pool.gateway("vxnet-pods001", node.clock.now(), lambda: False) == address


def test_the_hosts_own_nic_is_the_gateway_of_its_vxnet(node: Node) -> None:
    node.run(10)
    primary = next(nic for nic in node.emulator.cloud.nics.values() if nic.role == 1 and nic.instance_id == INSTANCE)
    assert node.pool.gateway("vxnet-nodes01", node.clock.now(), lambda: False) == primary.private_ip


def test_nics_that_are_not_ours_take_room_on_the_instance(node: Node) -> None:
    made = node.cloud.create_nics("vxnet-pods002", 5, "somebody-elses")
    node.cloud.attach_nics([nic.nic_id for nic in made], INSTANCE)
    node.emulator.advance(5)
    node.run(10)
    assert node.engine.reconciler.explain()["cap"] == 64 - 1 - 5


def test_an_exhausted_quota_is_reported_and_not_hammered(node: Node) -> None:
    refusal = {"ret_code": 2500, "message": "QuotasExceeded, no more nics for you"}
    node.emulator.faults.order({"action": "CreateNics", "kind": "ret_code", "count": None, **refusal})
    node.run(300)
    assert node.calls("CreateNics") == 1
    with pytest.raises(QuotaExceeded):
        node.add("a", 1)
    node.emulator.faults.clear()
    node.run(330)
    assert node.states() == {State.READY: 3}


def test_one_link_that_will_not_move_does_not_hold_up_the_others(node: Node) -> None:
    stubborn = node.cloud.create_nics("vxnet-pods001", 1, f"qingcni_{INSTANCE}")[0].nic_id
    node.kernel.stubborn.add(stubborn)
    node.cloud.attach_nics([stubborn], INSTANCE)
    node.emulator.advance(5)
    node.run(20)
    assert node.states() == {State.READY: 3}
    node.kernel.stubborn.clear()
    node.run(130)  # until the next look, and a rest
    assert node.engine.table.nic(stubborn).state is State.READY


def test_a_waiting_pod_does_not_make_the_agent_call_during_a_penalty(node: Node) -> None:
    refusal = {"ret_code": 2500, "message": "QuotasExceeded, access too frequently"}
    node.emulator.faults.order({"action": "*", "kind": "ret_code", "count": None, **refusal})
    node.engine.reconciler.step()
    calls = node.calls()
    for __ in range(20):  # each a wake-up by someone who waits
        assert node.engine.reconciler.step() > 0
    assert node.calls() == calls


def test_a_pod_that_wants_a_blocked_vxnet_does_not_make_the_agent_call(node: Node) -> None:
    node.run(10)
    waiting = [Waiter(("vxnet-nosuch1",))]
    node.pool.waiting = lambda: tuple(waiting)  # type: ignore[method-assign]
    node.run(20)
    calls = node.calls("DescribeVxnets")
    node.run(300)
    assert node.calls("DescribeVxnets") == calls


def test_a_gateway_nic_is_set_up_again_after_a_reboot(node: Node) -> None:
    node.run(10)
    with pytest.raises(PoolEmpty):
        node.pool.gateway("vxnet-pods001", node.clock.now(), lambda: False)
    node.run(20)
    (gateway,) = node.engine.table.nics(State.GATEWAY)
    node.kernel.gateways.clear()
    node.kernel.reboot()
    node.boot_id = "boot-2"
    node.start_agent()
    node.run(60)
    assert node.kernel.gateways == {gateway.nic_id: f"{gateway.private_ip}/24"}


def test_a_key_that_may_not_change_nics_still_gets_pods_their_nics(node: Node) -> None:
    refusal = {"ret_code": 1400, "message": "PermissionDenied, not for this key"}
    node.emulator.faults.order({"action": "ModifyNicAttributes", "kind": "ret_code", "count": None, **refusal})
    with pytest.raises(PoolEmpty):
        node.pool.gateway("vxnet-pods001", node.clock.now(), lambda: False)
    node.run(60)
    assert node.states()[State.READY] == 3


def test_an_address_that_cannot_be_forgotten_keeps_its_nic_at_rest_and_nothing_else(node: Node) -> None:
    node.run(10)
    nic = node.add("a", 1)
    node.delete("a")
    node.kernel.unforgettable.add(nic.private_ip)
    node.start_agent()
    node.run(30)
    assert node.states()[State.READY] == 3
    assert [dirty.nic_id for dirty in node.pool.uncleaned()] == [nic.nic_id]


def test_a_reservation_whose_link_came_back_is_ended(node: Node) -> None:
    node.run(10)
    key = LeaseKey("net", "a", "eth0")
    nic, __ = node.pool.acquire(key, {}, node.clock.now(), lambda: False)
    node.kernel.to_pod(nic.nic_id, 1, PodLink("eth0", "172.16.1.9/24"))
    node.emulator.advance(0.1)
    node.start_agent()  # killed between the move and the commit
    node.clock.advance(0.1)
    node.kernel.kill_netns(1)
    node.run(5)
    assert node.pool.lease(key) is None
    assert node.kernel.links[nic.nic_id].place == "parking"


def test_after_a_reboot_a_nic_that_the_cloud_freed_is_not_lost(node: Node) -> None:
    node.run(10)
    nic = node.add("a", 1)
    node.cloud.detach_nics([nic.nic_id])
    node.emulator.advance(5)
    node.boot_id = "boot-2"
    node.start_agent()
    node.run(60)
    assert node.engine.table.leases() == []
    assert node.engine.table.nic(nic.nic_id).state is State.READY
