# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool as a whole where cloud, kernel or process do what they should not."""

from __future__ import annotations

import random
import threading
import typing as t
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from hostnic.agent.loops import follow_links
from hostnic.engine import Engine
from hostnic.errors import Denied, HostnicError, PoolEmpty, VxnetFull
from hostnic.model import CloudNic, Intent, LeaseKey, Nic, Record, Vxnet
from hostnic.ports import Cloud
from hostnic.states import State
from hostnic.store.failure import StoreFailed
from hostnic.store.memory import MemoryStore
from tests.emulator import Settings as CloudSettings
from tests.emulator import jobs
from tests.lab.wait import until
from tests.support.node import INSTANCE, Node

WRITES = ("CreateNics", "AttachNics", "DetachNics", "DeleteNics")


@pytest.fixture
def node(tmp_path: Path) -> t.Iterator[Node]:
    with Node(tmp_path) as node:
        yield node


class Strange:
    """A cloud that refuses to attach NICs of its choice, or shows only a part of an instance's NICs."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.refuses: t.Callable[[str], bool] = lambda nic_id: False
        self.made: list[str] = []
        self.asked: Counter[str] = Counter()
        self.partial = False
        self.tells_room = True

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._cloud, name)

    def create_nics(self, vxnet_id: str, count: int, name: str, private_ips: t.Sequence[str] = ()) -> list[CloudNic]:
        made = self._cloud.create_nics(vxnet_id, count, name, private_ips)
        self.made += [nic.nic_id for nic in made]
        return made

    def attach_nics(self, nic_ids: t.Sequence[str], instance_id: str) -> str:
        self.asked.update(nic_ids)
        if any(map(self.refuses, nic_ids)):
            raise Denied("this NIC cannot be attached")
        return self._cloud.attach_nics(nic_ids, instance_id)

    def describe_nics(
        self,
        nic_ids: t.Optional[t.Sequence[str]] = None,
        name: t.Optional[str] = None,
        instance_id: t.Optional[str] = None,
    ) -> list[CloudNic]:
        found = self._cloud.describe_nics(nic_ids, name, instance_id)
        return [] if self.partial and instance_id else found

    def describe_vxnets(self, vxnet_ids: t.Sequence[str]) -> list[Vxnet]:
        found = self._cloud.describe_vxnets(vxnet_ids)
        return found if self.tells_room else [replace(vxnet, available=None) for vxnet in found]


class StrangeNode(Node):
    """A node whose agent speaks to the cloud through `strange`."""

    def start_agent(self) -> None:
        super().start_agent()
        self.strange = Strange(self.cloud)
        self.engine = Engine(
            self.settings,
            self.instance_id,
            self.boot_id,
            t.cast(Cloud, self.strange),
            self.kernel,
            self.guard,
            self.store,
            self.clock.now,
            dice=lambda: 0.5,
        )
        self.pool = self.engine.pool
        follow = follow_links(self.engine)
        self.kernel.on_change = lambda: follow(None)


def record(node: Node, nic_id: str) -> Nic:
    nic = node.engine.table.nic(nic_id)
    assert nic
    return nic


def leaving(node: Node) -> str:
    """A NIC on its way out."""
    nic = node.engine.table.nics(State.READY)[0]
    node.engine.table.move(nic, State.DRAINING, doomed=True)
    return nic.nic_id


# -- links that do not come -------------------------------------------------------------------------------------------


def test_attached_nics_whose_links_never_come_are_replaced_and_given_back_later(node: Node) -> None:
    node.kernel.netns = "elsewhere"
    node.run(60)
    assert node.states() == {State.ATTACHING: 3}
    lost = set(node.in_cloud())
    node.kernel.netns = "node1"
    node.run(60)
    assert node.states() == {State.BROKEN: 3, State.READY: 3}
    node.run(480)
    assert lost < set(node.in_cloud())
    node.run(400)
    assert node.states() == {State.READY: 3}
    assert not lost & set(node.in_cloud())


def test_a_link_that_comes_late_is_of_use_after_a_rest(node: Node) -> None:
    node.kernel.netns = "elsewhere"
    node.run(90)
    (lost, *__) = node.engine.table.nics(State.BROKEN)
    node.kernel.netns = "node1"
    port = node.emulator.cloud.port_of(node.emulator.cloud.nics[lost.nic_id])
    assert port
    node.kernel.plug([port])
    node.run(40)
    assert record(node, lost.nic_id).state is State.QUARANTINE


def test_a_link_that_comes_back_while_its_nic_was_on_its_way_out_serves_and_counts_again(node: Node) -> None:
    node.run(10)
    nic_id = leaving(node)
    node.emulator.faults.order(
        {"kind": "ret_code", "action": "DetachNics", "ret_code": 1400, "message": "x", "count": 3}
    )
    link = node.kernel.links.pop(nic_id)
    node.run(5)
    assert record(node, nic_id).state is State.BROKEN
    node.kernel.links[nic_id] = link
    node.run(40)
    assert (record(node, nic_id).state, record(node, nic_id).doomed) == (State.QUARANTINE, False)


def test_a_defect_in_one_action_does_not_keep_the_others_from_being_done(tmp_path: Path) -> None:
    with StrangeNode(tmp_path) as node:
        describe = node.strange.describe_vxnets

        def break_for_one(vxnet_ids: t.Sequence[str]) -> list[Vxnet]:
            if "vxnet-bad" in vxnet_ids:
                raise ValueError("a defect")
            return describe(vxnet_ids)

        node.strange.describe_vxnets = break_for_one  # type: ignore[method-assign]
        node.pool._gateways.add("vxnet-bad")
        for __ in range(2):
            with pytest.raises(ValueError, match="a defect"):
                node.engine.reconciler.step()
        assert node.calls("AttachNics") == 1


# -- attaches that the cloud refuses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [3, 10])
def test_one_nic_that_the_cloud_refuses_does_not_hold_up_its_batch(tmp_path: Path, batch: int) -> None:
    with StrangeNode(tmp_path, pool_low=batch, pool_high=batch) as node:
        node.strange.refuses = lambda nic_id: nic_id == node.strange.made[1]
        node.run(15)
        assert node.states()[State.READY] == batch - 1


@pytest.mark.parametrize("batch", [3, 10])
def test_one_nic_that_the_cloud_refuses_is_replaced(tmp_path: Path, batch: int) -> None:
    with StrangeNode(tmp_path, pool_low=batch, pool_high=batch) as node:
        node.strange.refuses = lambda nic_id: nic_id == node.strange.made[1]
        node.run(120)
        assert node.states() == {State.READY: batch}
        assert node.strange.made[1] not in node.in_cloud()
        assert len(node.strange.made) == batch + 1
        assert node.explain()["blocked"] == []


def test_one_nic_that_the_cloud_refuses_is_given_up_and_says_nothing_of_jobs(tmp_path: Path) -> None:
    with StrangeNode(tmp_path) as node:
        node.strange.refuses = lambda nic_id: nic_id == node.strange.made[1]
        node.run(60)
        assert (
            node.strange.asked[node.strange.made[1]] == 5
        )  # four, and one beside another job, which may be the reason
        assert node.explain()["attach_jobs"] == "side by side"


def test_where_the_cloud_refuses_every_nic_growth_pauses(tmp_path: Path) -> None:
    with StrangeNode(tmp_path) as node:
        node.strange.refuses = lambda nic_id: True
        node.run(60)
        creates, attaches = node.calls("CreateNics"), sum(node.strange.asked.values())
        assert creates <= 2
        node.run(500)
        assert (node.calls("CreateNics"), sum(node.strange.asked.values())) == (creates, attaches)
        assert node.in_cloud() == {}
        with pytest.raises(Denied, match="this NIC cannot be attached"):
            node.add("a", 1)
        node.strange.refuses = lambda nic_id: False
        node.run(120)
        assert node.states() == {State.READY: 3}


def test_where_every_attach_job_fails_growth_pauses(node: Node) -> None:
    node.emulator.faults.order({"kind": "job_failed", "action": "AttachNics", "count": None})
    node.run(1200)
    assert node.calls("CreateNics") < 10
    assert node.calls("AttachNics") < 40


def test_one_failed_job_of_many_nics_makes_no_pause(tmp_path: Path) -> None:
    with Node(tmp_path, pool_low=6, pool_high=6) as node:
        node.emulator.faults.order({"kind": "job_failed", "action": "AttachNics"})
        node.run(6)
        assert node.explain()["blocked"] == []
        node.run(30)
        assert node.states() == {State.READY: 6}


def test_where_one_more_fits_on_the_instance_it_is_attached(tmp_path: Path) -> None:
    with Node(tmp_path, cloud=CloudSettings(nics_per_instance=2), pool_low=2, pool_high=2) as node:
        node.run(30)
        assert node.states() == {State.READY: 1, State.DETACHED: 1}


def test_nics_beyond_the_instances_limit_are_marked_swept_and_not_made_again(tmp_path: Path) -> None:
    cloud = CloudSettings(nics_per_instance=5)
    with Node(tmp_path, cloud=cloud, pool_low=8) as node:
        node.run(30)
        assert node.states() == {State.READY: 4, State.DETACHED: 4}
        assert node.explain()["limit"] == 5
        node.run(560)
        assert len(node.in_cloud()) == 8
        node.run(6 * 3600)
        assert node.states() == {State.READY: 4}
        assert len(node.in_cloud()) == 4
        assert node.calls("CreateNics") <= 6  # tried again after 10 minutes, 20, 40...
        assert node.calls("AttachNics") <= 40


def test_in_the_end_the_instances_limit_is_tried_again(tmp_path: Path) -> None:
    with Node(tmp_path, cloud=CloudSettings(nics_per_instance=5), pool_low=8) as node:
        node.run(500)
        assert node.states()[State.READY] == 4
        node.emulator.cloud.settings = CloudSettings()
        node.run(6 * 3600)
        assert node.states() == {State.READY: 8}


def test_a_limit_that_several_nics_have_met_at_once_was_found_once(tmp_path: Path) -> None:
    with Node(tmp_path, cloud=CloudSettings(nics_per_instance=5), pool_low=8) as node:
        node.run(500)
        node.emulator.cloud.settings = CloudSettings()
        node.run(200)
        assert node.states() == {State.READY: 8}


def test_a_pod_beyond_the_instances_limit_hears_of_it(tmp_path: Path) -> None:
    with Node(tmp_path, cloud=CloudSettings(nics_per_instance=5), pool_low=8) as node:
        node.run(30)
        for number in range(4):
            node.add(f"pod{number}", number)
        with pytest.raises(HostnicError, match="one instance at most"):
            node.add("one-more", 9)


def test_attach_jobs_stay_one_at_a_time_after_a_restart(tmp_path: Path) -> None:
    cloud = CloudSettings(parallel_jobs_per_instance="refuse")
    with Node(tmp_path, cloud=cloud, pool_low=30, pool_high=30) as node:
        node.run(60)
        assert node.explain()["attach_jobs"] == "one at a time"
        node.start_agent()
        assert node.explain()["attach_jobs"] == "one at a time"
        rejected = node.emulator.counters.to_dict()["rejected"]
        for number in range(30):
            node.add(f"pod{number}", number)
        node.run(60)
        assert node.states() == {State.IN_USE: 30, State.READY: 30}
        assert node.emulator.counters.to_dict()["rejected"] == rejected


def test_one_attach_job_at_a_time_takes_all_that_wait(tmp_path: Path) -> None:
    cloud = CloudSettings(parallel_jobs_per_instance="refuse")
    with Node(tmp_path, cloud=cloud, pool_low=40, pool_high=40) as node:
        node.run(60)
        assert node.states() == {State.READY: 40}
        # the first, three that it crowds out, one of them alone, all the rest
        assert node.calls("AttachNics") <= 7


def test_a_cloud_that_queues_attach_jobs_gets_long_ones_from_then_on(tmp_path: Path) -> None:
    cloud = CloudSettings(parallel_jobs_per_instance="queue")
    with Node(tmp_path, cloud=cloud, pool_low=30, pool_high=30) as node:
        node.run(60)
        assert node.explain()["attach_jobs"] == "one at a time"
        before = node.calls("AttachNics")
        for number in range(30):
            node.add(f"pod{number}", number)
        node.run(60)
        assert node.states() == {State.IN_USE: 30, State.READY: 30}
        assert node.calls("AttachNics") - before == 1


def test_a_cloud_that_runs_jobs_side_by_side_is_not_taken_for_a_queue(tmp_path: Path) -> None:
    with Node(tmp_path, cloud=CloudSettings(job_pending_seconds=5.0), pool_low=30, pool_high=30) as node:
        node.run(60)
        assert node.states() == {State.READY: 30}
        assert node.explain()["attach_jobs"] == "side by side"


def test_where_long_lists_are_refused_short_ones_are_sent(tmp_path: Path) -> None:
    cloud = CloudSettings(parallel_jobs_per_instance="refuse", attach_list_max=10)
    with Node(tmp_path, cloud=cloud, pool_low=40, pool_high=40) as node:
        node.run(120)
        assert node.states() == {State.READY: 40}


# -- answers that are lost --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [True, False])
def test_an_unanswered_attach_is_settled(node: Node, done: bool) -> None:
    fault = {"kind": "drop_reply", "action": "AttachNics", "when": "after" if done else "before"}
    node.emulator.faults.order(fault)
    node.run(60)
    assert node.states() == {State.READY: 3}
    assert (node.calls("CreateNics"), node.engine.table.intents()) == (1, [])
    assert node.calls("AttachNics") == (1 if done else 4)  # tried again, each by itself


@pytest.mark.parametrize("action", ["DetachNics", "DeleteNics"])
@pytest.mark.parametrize("done", [True, False])
def test_an_unanswered_release_is_settled(node: Node, action: str, done: bool) -> None:
    node.run(10)
    nic_id = leaving(node)
    node.emulator.faults.order({"kind": "drop_reply", "action": action, "when": "after" if done else "before"})
    node.run(90)
    assert node.engine.table.nic(nic_id) is None
    assert nic_id not in node.in_cloud()
    assert node.states() == {State.READY: 3}
    assert node.engine.table.intents() == []
    assert node.calls(action) == (1 if done else 2)


def test_a_half_done_detach_is_settled_nic_by_nic(node: Node) -> None:
    node.run(10)
    gone = {leaving(node), leaving(node)}
    node.emulator.faults.order({"kind": "job_partial", "action": "DetachNics", "done": 1})
    node.run(60)
    assert not gone & set(node.in_cloud())
    assert node.states() == {State.READY: 3}


def test_a_stuck_detach_is_waited_for_and_then_tried_again(node: Node) -> None:
    node.run(10)
    nic_id = leaving(node)
    node.emulator.faults.order({"kind": "job_stuck", "action": "DetachNics"})
    node.run(290)
    assert record(node, nic_id).state is State.DETACHING
    assert node.calls("DetachNics") == 1
    with node.emulator.cloud.lock:
        (job,) = node.emulator.cloud.live_jobs()
        job.ends = job.starts  # it has failed
        job.works_for, job.forced_status = 0, "failed"
    node.run(120)
    assert nic_id not in node.in_cloud()


# -- behind our back --------------------------------------------------------------------------------------------------


def test_a_doomed_nic_that_was_attached_after_all_is_detached_again_and_deleted(node: Node) -> None:
    node.run(10)
    nic_id = leaving(node)
    refusal = {"ret_code": 1400, "message": "PermissionDenied"}
    node.emulator.faults.order({"kind": "ret_code", "action": "DeleteNics", "count": None, **refusal})
    node.run(15)
    assert (record(node, nic_id).state, record(node, nic_id).doomed) == (State.DETACHED, True)
    node.cloud.attach_nics([nic_id], INSTANCE)
    node.emulator.advance(5)
    node.emulator.faults.clear()
    node.run(150)
    assert nic_id not in node.in_cloud()
    assert node.calls("DetachNics") == 2
    assert node.states() == {State.READY: 3}


def test_the_nic_of_a_pod_that_was_taken_away_in_the_cloud_is_used_again(node: Node) -> None:
    node.run(10)
    nic = node.add("a", 1)
    node.run(10)
    node.cloud.detach_nics([nic.nic_id])
    node.emulator.advance(5)
    assert nic.nic_id not in node.kernel.links
    node.run(1)
    assert record(node, nic.nic_id).state is State.IN_USE
    node.run(260)
    assert node.engine.table.leases() == []
    assert record(node, nic.nic_id).state is State.READY


def test_a_pods_nic_that_was_taken_away_and_deleted_is_forgotten(node: Node) -> None:
    node.run(10)
    nic = node.add("a", 1)
    node.run(10)
    node.cloud.detach_nics([nic.nic_id])
    node.emulator.advance(5)
    node.cloud.delete_nics([nic.nic_id])
    node.run(400)
    assert (node.engine.table.nic(nic.nic_id), node.engine.table.leases()) == (None, [])


def test_a_nic_that_was_attached_to_another_instance_is_let_go_of(node: Node) -> None:
    node.run(10)
    nic_id = node.engine.table.nics(State.READY)[0].nic_id
    node.cloud.detach_nics([nic_id])
    node.emulator.advance(5)
    node.cloud.attach_nics([nic_id], "i-node0002")
    node.emulator.advance(5)
    node.run(120)
    assert node.engine.table.nic(nic_id) is None
    assert node.emulator.cloud.nics[nic_id].instance_id == "i-node0002"
    assert node.states() == {State.READY: 3}


@pytest.mark.parametrize("state", [State.DETACHED, State.DRAINING])
def test_a_nic_that_was_renamed_is_not_ours_to_delete(node: Node, state: State) -> None:
    node.run(10)
    nic_id = leaving(node)
    if state is State.DETACHED:
        refusal = {"ret_code": 1400, "message": "PermissionDenied"}
        node.emulator.faults.order({"kind": "ret_code", "action": "DeleteNics", "count": None, **refusal})
        node.run(15)
    assert record(node, nic_id).state is state
    node.emulator.cloud.nics[nic_id].nic_name = "operators-own"
    node.emulator.faults.clear()
    node.run(300)
    assert node.engine.table.nic(nic_id) is None
    assert nic_id in node.emulator.cloud.nics
    assert node.states() == {State.READY: 3}


def test_a_nic_of_ours_that_was_renamed_still_takes_a_place_of_ours(node: Node) -> None:
    node.run(10)
    nic_id = node.engine.table.nics(State.READY)[0].nic_id
    node.emulator.cloud.nics[nic_id].nic_name = "operators-own"
    node.run(130)
    assert (record(node, nic_id).state, node.explain()["foreign"]) == (State.READY, 1)


def test_it_takes_three_looks_to_believe_that_a_nic_is_gone_however_long_they_are_apart(node: Node) -> None:
    node.run(10)
    nic_id = leaving(node)
    refusal = {"ret_code": 1400, "message": "PermissionDenied"}
    node.emulator.faults.order({"kind": "ret_code", "action": "DeleteNics", "count": None, **refusal})
    node.run(15)
    assert record(node, nic_id).state is State.DETACHED
    node.emulator.cloud.nics[nic_id].visible_from = node.clock.now() + 10_000
    for __ in range(2):
        node.emulator.advance(1000)
        node.engine.reconciler.step()
    assert record(node, nic_id).state is State.DETACHED
    node.emulator.advance(1000)
    node.engine.reconciler.step()
    assert node.engine.table.nic(nic_id) is None


def test_nics_of_others_that_are_attached_later_lower_the_cap(node: Node) -> None:
    node.run(10)
    assert node.explain()["cap"] == 60
    made = node.cloud.create_nics("vxnet-pods002", 10, "somebody-elses")
    node.cloud.attach_nics([nic.nic_id for nic in made], INSTANCE)
    node.run(130)
    assert node.explain()["cap"] == 64 - 1 - 10
    node.cloud.detach_nics([nic.nic_id for nic in made])
    node.run(130)
    assert node.explain()["cap"] == 60


def test_a_gateway_whose_link_was_gone_stands_again(node: Node) -> None:
    node.run(10)
    with pytest.raises(PoolEmpty):
        node.pool.gateway("vxnet-pods001", node.clock.now(), lambda: False)
    node.run(20)
    (gateway,) = node.engine.table.nics(State.GATEWAY)
    link = node.kernel.links.pop(gateway.nic_id)
    for __ in range(2):
        node.kernel.on_change()
    assert record(node, gateway.nic_id).state is State.BROKEN
    node.kernel.links[gateway.nic_id] = link
    node.kernel.gateways.clear()
    node.kernel.on_change()
    node.run(130)
    assert record(node, gateway.nic_id).state is State.GATEWAY
    assert node.kernel.gateways == {gateway.nic_id: f"{gateway.private_ip}/24"}


@pytest.mark.parametrize("known", [True, False])
def test_a_nic_on_its_way_out_that_the_cloud_has_detached_already_costs_no_storm_of_calls(
    node: Node, known: bool
) -> None:
    node.run(10)
    nic_id = leaving(node)
    book = node.emulator.cloud.nics
    if known:
        book[nic_id].status, book[nic_id].instance_id = "available", ""
    else:
        del book[nic_id]
    calls = node.calls()
    node.run(60)
    assert node.calls() - calls < 60
    assert node.calls("DetachNics") == 0


def test_a_link_that_comes_before_the_cloud_says_so_costs_no_storm_of_calls(tmp_path: Path) -> None:
    with Node(tmp_path, cloud=CloudSettings(job_working_seconds=30.0), pool_low=2, pool_high=2) as node:
        node.run(1)
        one, __ = node.engine.table.nics(State.ATTACHING)
        port = node.emulator.cloud.port_of(node.emulator.cloud.nics[one.nic_id], INSTANCE)
        assert port
        node.kernel.plug([port])
        gone = threading.Event()
        arguments = (LeaseKey("net", "a", "eth0"), {}, node.clock.now() + 600, gone.is_set)
        pod = threading.Thread(target=lambda: pytest.raises(PoolEmpty, node.pool.acquire, *arguments))
        pod.start()
        until(node.pool.waiting, 5, "a pod that waits")
        calls = node.calls()
        for __ in range(100):  # woken by the pod
            node.engine.reconciler.step()
            node.emulator.advance(0.2)
        told = node.calls() - calls
        gone.set()
        node.pool.poke()
        pod.join(10)
        assert told < 60


def test_a_nic_on_its_way_out_that_a_pod_waits_for_is_kept_for_good(node: Node) -> None:
    node.run(10)
    for number in range(2):
        node.add(f"pod{number}", number)
    nic_id = leaving(node)
    arguments = (LeaseKey("net", "a", "eth0"), {}, node.clock.now() + 600, lambda: False)
    pod = threading.Thread(target=lambda: node.pool.acquire(*arguments))
    pod.start()
    until(node.pool.waiting, 5, "a pod that waits")
    node.engine.reconciler.step()
    pod.join(10)
    assert (record(node, nic_id).state, record(node, nic_id).doomed) == (State.RESERVED, False)
    assert node.calls("DetachNics") == 0


def test_what_was_just_made_is_attached_in_the_same_round(node: Node) -> None:
    node.run(10)
    node.add("a", 1)
    leaving(node)  # something else to do in that round
    attaches = node.calls("AttachNics")
    node.engine.reconciler.step()
    assert node.calls("AttachNics") == attaches + 1


def test_an_address_that_could_not_be_forgotten_is_tried_again_soon(node: Node) -> None:
    node.run(300)
    nic = node.add("a", 1)
    node.run(300)
    node.kernel.unforgettable.add(nic.private_ip)
    node.delete("a")
    node.run(1)
    node.kernel.unforgettable.clear()
    node.run(6)
    assert node.kernel.flushed == [nic.private_ip]


# -- a cloud that is not to be believed -------------------------------------------------------------------------------


def test_a_list_without_the_primary_nic_is_not_believed(tmp_path: Path) -> None:
    with StrangeNode(tmp_path) as node:
        node.run(10)
        pod = node.add("a", 1)
        node.run(10)
        before = node.states()
        node.strange.partial = True
        writes = sum(map(node.calls, WRITES))
        node.run(600)
        assert (node.states(), sum(map(node.calls, WRITES))) == (before, writes)
        assert node.explain()["cap"] == 60
        assert node.add("b", 2)
        node.strange.partial = False
        node.run(60)
        assert record(node, pod.nic_id).state is State.IN_USE
        assert node.states()[State.READY] == 3


def test_an_instance_that_is_not_proven_yet_changes_nothing(tmp_path: Path) -> None:
    with StrangeNode(tmp_path) as node:
        node.strange.partial = True
        node.run(300)
        assert sum(map(node.calls, WRITES)) == 0
        assert node.explain()["proven"] is False
        node.strange.partial = False
        node.run(60)
        assert node.states() == {State.READY: 3}


def test_a_nic_that_the_cloud_does_not_show_for_a_moment_is_kept(node: Node) -> None:
    node.run(10)
    hidden = node.emulator.cloud.nics[node.engine.table.nics(State.READY)[0].nic_id]
    hidden.visible_from = node.clock.now() + 600
    node.run(700)
    assert record(node, hidden.nic_id).state is State.READY
    assert node.calls("CreateNics") == 1


# -- troubles that are told -------------------------------------------------------------------------------------------


def test_where_every_vxnet_is_full_a_pod_that_takes_any_hears_of_it(node: Node) -> None:
    node.cloud.create_nics("vxnet-pods001", 252, "somebody-elses")
    node.run(30)
    with pytest.raises(VxnetFull):
        node.add("a", 1)


def test_where_one_vxnet_is_full_a_pod_that_takes_any_hears_nothing_of_it(tmp_path: Path) -> None:
    with Node(tmp_path, vxnet=("vxnet-pods001", "vxnet-pods002")) as node:
        node.cloud.create_nics("vxnet-pods002", 252, "somebody-elses")
        node.run(10)
        with pytest.raises(PoolEmpty):
            node.add("picky", 1, ("vxnet-pods002",))
        node.run(1)  # the warm pool is wanted there too now
        assert [block["vxnet"] for block in node.explain()["blocked"]] == ["vxnet-pods002"]
        for number in range(3):
            node.add(f"pod{number}", number)
        with pytest.raises(PoolEmpty, match="NICs are on their way"):
            node.add("one-more", 9)


def test_a_vxnet_that_works_is_stayed_with(tmp_path: Path) -> None:
    with Node(tmp_path, vxnet=("vxnet-pods001", "vxnet-pods002")) as node:
        for number in range(6):
            node.run(10)
            node.add(f"pod{number}", number)
        assert {nic.vxnet_id for nic in node.engine.table.nics()} == {"vxnet-pods001"}


def test_a_vxnet_with_less_room_than_is_wanted_gives_what_it_has(node: Node) -> None:
    node.cloud.create_nics("vxnet-pods001", 250, "somebody-elses")
    (vxnet,) = node.cloud.describe_vxnets(["vxnet-pods001"])
    assert vxnet.available == 2
    node.run(10)
    assert node.states() == {State.READY: 2}


def test_a_cloud_that_does_not_tell_the_room_of_a_vxnet_is_asked_all_the_same(tmp_path: Path) -> None:
    with StrangeNode(tmp_path) as node:
        node.strange.tells_room = False
        node.run(10)
        assert node.states() == {State.READY: 3}


def test_a_pod_hears_why_its_gateway_cannot_be_made(node: Node) -> None:
    refusal = {"ret_code": 1400, "message": "PermissionDenied, not for this key"}
    node.emulator.faults.order({"action": "ModifyNicAttributes", "kind": "ret_code", "count": None, **refusal})
    with pytest.raises(PoolEmpty):
        node.pool.gateway("vxnet-pods001", node.clock.now(), lambda: False)
    node.run(5)
    with pytest.raises(Denied, match="not for this key"):
        node.pool.gateway("vxnet-pods001", node.clock.now(), lambda: False)


def test_a_pod_that_wants_a_full_vxnet_hears_of_it(node: Node) -> None:
    node.cloud.create_nics("vxnet-pods001", 252, "somebody-elses")
    node.run(30)
    with pytest.raises(VxnetFull):
        node.add("a", 1, ("vxnet-pods001",))


def test_a_busy_vxnet_holds_up_no_other(tmp_path: Path) -> None:
    with Node(tmp_path, vxnet=("vxnet-pods001",)) as node:
        with pytest.raises(PoolEmpty):
            node.pool.gateway("vxnet-pods002", node.clock.now(), lambda: False)
        busy = {"ret_code": 5300, "message": "ResourceUpdating"}
        node.emulator.faults.order({"kind": "ret_code", "action": "CreateNics", **busy})
        node.engine.reconciler.step()
        assert node.calls("CreateNics") == 2
        node.run(30)
        assert node.states() == {State.READY: 3, State.GATEWAY: 1}


def test_too_many_calls_end_the_round_wherever_they_are_refused(node: Node) -> None:
    node.run(10)
    node.store = MemoryStore()
    node.start_agent()
    refusal = {"ret_code": 2500, "message": "QuotasExceeded, access too frequently"}
    calls = node.calls("DescribeVxnets")
    node.emulator.faults.order({"kind": "ret_code", "action": "DescribeVxnets", "skip": 1, "count": None, **refusal})
    node.engine.reconciler.step()
    assert node.calls("DescribeVxnets") == calls + 2  # one to prove the instance, one that was refused


def test_a_closed_engine_has_closed_its_journal(node: Node) -> None:
    node.engine.close()
    with pytest.raises(StoreFailed):
        node.store.load()


class Recording(MemoryStore):
    """What was written so that it outlasts the machine, and all that was written."""

    def __init__(self) -> None:
        super().__init__()
        self.durable: list[Record] = []
        self.written: list[Record] = []

    def write(self, put: t.Iterable[Record] = (), drop: t.Iterable[Record] = (), durable: bool = False) -> None:
        put = list(put)
        self.written += put
        self.durable += put if durable else []
        super().write(put, drop, durable)


def test_what_the_cloud_is_asked_for_is_on_disk_before_and_what_it_made_after(tmp_path: Path) -> None:
    store = Recording()
    with Node(tmp_path, store=store) as node:
        node.run(10)
        leaving(node)
        node.run(30)
        assert {one.action for one in store.written if isinstance(one, Intent)} == {
            "create",
            "attach",
            "detach",
            "delete",
        }
        begun = [one for one in store.written if isinstance(one, Intent) and not one.job_id]
        assert [one for one in begun if one not in store.durable] == []
        made = {one.nic_id for one in store.durable if isinstance(one, Nic) and one.state is State.DETACHED}
        assert len(made) == 4


# -- whatever happens -------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What `kill -9` is to a process."""


class Fragile(MemoryStore):
    """The process dies at the write after so many, just before it is on disk or just after."""

    spared: t.Optional[int] = None
    after = False

    def write(self, put: t.Iterable[Record] = (), drop: t.Iterable[Record] = (), durable: bool = False) -> None:
        put, drop = list(put), list(drop)
        dies = self.spared == 0
        self.spared = None if self.spared in (None, 0) else self.spared - 1
        if self.after or not dies:
            super().write(put, drop, durable)
        if dies:
            raise Killed


def settled(node: Node) -> None:
    """Nothing is in the way any more: whatever was begun has come to its end, and nothing was lost."""
    node.emulator.faults.clear()
    with node.emulator.cloud.lock:
        jobs.release(node.emulator.cloud)
    node.run(5000)
    assert node.states().keys() == {State.READY}, node.engine.table.nics()
    assert {nic.nic_id for nic in node.engine.table.nics()} == set(node.in_cloud())
    assert set(node.in_cloud().values()) == {"in-use"}
    assert {node.kernel.links[nic_id].place for nic_id in node.in_cloud()} == {"parking"}
    assert (node.engine.table.leases(), node.engine.table.intents()) == ([], [])
    calls = node.calls()
    node.run(3600)
    assert node.calls() - calls < 150


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("spared", range(14))
def test_a_process_that_dies_at_any_write_loses_nothing(tmp_path: Path, spared: int, after: bool) -> None:
    store = Fragile()
    with Node(tmp_path, store=store, pool_low=3, pool_high=3, quarantine=1.0, idle_ttl=60.0) as node:
        store.spared, store.after = spared, after
        try:
            node.run(10)
            for number in range(3):
                node.add(f"pod{number}", number)
            node.run(10)
            leaving(node)
            node.run(30)
        except Killed:
            pass
        assert store.spared is None
        node.start_agent()
        node.run(10)
        for number in range(3):
            node.delete(f"pod{number}")
            node.kernel.kill_netns(number)
        settled(node)
        assert node.states() == {State.READY: 3}


REFUSALS: t.Final[tuple[dict[str, t.Any], ...]] = (
    {"kind": "drop_reply"},
    {"kind": "drop_reply", "when": "before"},
    {"kind": "http_status"},
    {"kind": "http_status", "when": "after"},
    {"kind": "ret_code", "ret_code": 5000, "message": "InternalError"},
    {"kind": "ret_code", "ret_code": 5000, "message": "InternalError", "when": "after"},
    {"kind": "ret_code", "ret_code": 1400, "message": "PermissionDenied"},
    {"kind": "ret_code", "ret_code": 2500, "message": "QuotasExceeded, access too frequently"},
)
ACTIONS = (*WRITES, "DescribeNics", "DescribeJobs", "DescribeVxnets")


class Mishaps:
    """One thing after another, drawn by a seed; whatever dies is started again."""

    def __init__(self, node: Node, store: Fragile, dice: random.Random) -> None:
        self.node = node
        self.store = store
        self.dice = dice
        self.pods: dict[str, tuple[int, str]] = {}
        self._count = 0

    def happen(self) -> None:
        kinds = {
            self.add: 8,
            self.delete: 5,
            self.die: 2,
            self.fault: 4,
            self.bad_job: 2,
            self.outsider: 3,
            self.restart: 2,
            self.reboot: 1,
            self.kill: 2,
        }
        (mishap,) = self.dice.choices([*kinds], [*kinds.values()])
        try:
            mishap()
            self.node.run(self.dice.choice([0.3, 1, 5, 20, 61]))
        except Killed:
            self.node.start_agent()
        except HostnicError:
            pass

    def add(self) -> None:
        self._count += 1
        name = f"pod{self._count}"
        self.pods[name] = (self._count, self.node.add(name, self._count).nic_id)

    def delete(self) -> None:
        if self.pods:
            name = self.dice.choice(sorted(self.pods))
            self.node.delete(name)
            del self.pods[name]

    def die(self) -> None:
        if self.pods:
            netns, __ = self.pods.pop(self.dice.choice(sorted(self.pods)))
            self.node.kernel.kill_netns(netns)

    def fault(self) -> None:
        count = self.dice.choice([1, 2, 4])
        fault = {"action": self.dice.choice(ACTIONS), "count": count, **self.dice.choice(REFUSALS)}
        self.node.emulator.faults.order(fault)

    def bad_job(self) -> None:
        kind = self.dice.choice(["job_failed", "job_stuck", "job_partial"])
        self.node.emulator.faults.order({"action": self.dice.choice(["AttachNics", "DetachNics"]), "kind": kind})

    def outsider(self) -> None:
        ours = sorted(self.node.in_cloud())
        if self.dice.random() < 0.3 or not ours:
            self.node.cloud.create_nics("vxnet-pods001", 1, f"qingcni_{INSTANCE}")
        elif self.dice.random() < 0.7:
            self.node.cloud.detach_nics([self.dice.choice(ours)])
        else:
            self.node.cloud.delete_nics([self.dice.choice(ours)])

    def restart(self) -> None:
        self.node.start_agent()

    def reboot(self) -> None:
        self.pods.clear()
        self.node.kernel.reboot()
        self.node.boot_id += "+"
        self.node.start_agent()

    def kill(self) -> None:
        self.store.spared, self.store.after = self.dice.randrange(6), self.dice.random() < 0.5

    def check(self) -> None:
        """No NIC has two leases, and none that is in a pod is anybody else's."""
        table = self.node.engine.table
        leased = [lease.nic_id for lease in table.leases()]
        assert len(leased) == len(set(leased))
        for netns, nic_id in self.pods.values():
            link = self.node.kernel.links.get(nic_id)
            nic = table.nic(nic_id)
            if nic and link and link.place == f"pod:{netns}":
                assert nic.state in (State.IN_USE, State.RESERVED, State.BROKEN)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_it_comes_to_rest_and_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    cloud = CloudSettings(
        parallel_jobs_per_instance=dice.choice(["allow", "refuse", "queue"]),
        parallel_jobs_per_nic=dice.choice(["refuse", "queue"]),
        describe_lag=dice.choice([0.0, 2.0, 6.0]),
        nic_status_flip=dice.choice(["end", "start"]),
        attach_all_or_nothing=dice.choice([True, False]),
        unknown_nic=dice.choice(["omit", "2100"]),
        nics_per_instance=dice.choice([64, 10]),
    )
    store = Fragile()
    with Node(tmp_path, cloud=cloud, store=store, pool_low=3, pool_high=5, idle_ttl=120.0) as node:
        mishaps = Mishaps(node, store, dice)
        for __ in range(40):
            mishaps.happen()
            mishaps.check()
        store.spared = None
        for place in {link.place for link in node.kernel.links.values() if link.place.startswith("pod:")}:
            node.kernel.kill_netns(int(place[4:]))
        node.run(600)
        settled(node)
        assert node.states()[State.READY] >= 3
