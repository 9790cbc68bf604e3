# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixed addresses: made where they lie, kept for their workload, told about when somebody else has them."""

from __future__ import annotations

import threading
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from hostnic.errors import AddressHeld, HostnicError, InvalidConfig, PoolEmpty
from hostnic.model import Fixed, LeaseKey, Nic, PodLink
from hostnic.states import State
from tests.lab.wait import until
from tests.support.node import Node

ADDRESS, NEXT = "172.16.1.50", "172.16.1.51"
ELSEWHERE = "172.16.2.50"  # in vxnet-pods002


class Pods:
    """Pods of a node with a workload each. Their ADDs wait in threads while the node's own time goes on."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._gone = threading.Event()
        self._threads = ThreadPoolExecutor(10)
        self._netns = 0

    def close(self) -> None:
        self._gone.set()
        self.node.pool.poke()
        self._threads.shutdown()

    def ask(
        self, container: str, fixed: t.Optional[Fixed], vxnets: tuple[str, ...] = (), seconds: float = 600.0
    ) -> Future[Nic]:
        """Returns once the ADD stands in the queue, or has its answer."""
        before = len(self.node.pool.waiting())
        key = LeaseKey("net", container, "eth0")
        deadline = self.node.clock.now() + seconds

        def acquire() -> Nic:
            return self.node.pool.acquire(key, {}, deadline, self._gone.is_set, vxnets, fixed)[0]

        answer = self._threads.submit(acquire)
        until(lambda: answer.done() or len(self.node.pool.waiting()) > before, 5, "an ADD in the queue")
        return answer

    def answer(self, asked: Future[Nic], seconds: float = 10.0) -> Nic:
        """What it has by then; raises what it was refused with."""
        self.node.run(seconds)
        self.node.pool.poke()
        return asked.result(5)

    def start(self, container: str, fixed: t.Optional[Fixed]) -> Nic:
        """A pod that runs."""
        nic = self.answer(self.ask(container, fixed))
        self._netns += 1
        ifindex = self.node.kernel.to_pod(nic.nic_id, self._netns, PodLink("eth0", f"{nic.private_ip}/24")).ifindex
        self.node.pool.commit(LeaseKey("net", container, "eth0"), self._netns, ifindex)
        return nic

    def state(self, address: str = ADDRESS) -> State:
        (state,) = {nic.state for nic in self.node.engine.table.nics() if nic.private_ip == address}
        return state


@pytest.fixture
def pods(tmp_path: Path) -> t.Iterator[Pods]:
    with Node(tmp_path) as node:
        node.run(10)
        pods = Pods(node)
        yield pods
        pods.close()


def db(address: str = ADDRESS, keep: float = 300.0) -> Fixed:
    return Fixed(address, "db", keep)


WEB = Fixed(ADDRESS, "web", 300.0)


# -- on demand --------------------------------------------------------------------------------------------------------


def test_an_address_is_made_on_demand_in_the_vxnet_that_contains_it(tmp_path: Path) -> None:
    with Node(tmp_path, vxnet=("vxnet-pods001", "vxnet-pods002")) as node:
        node.run(10)
        pods = Pods(node)
        nics = [pods.answer(pods.ask(one, Fixed(one, "db"))) for one in (ADDRESS, ELSEWHERE)]
        pods.close()
        assert [(nic.private_ip, nic.vxnet_id) for nic in nics] == [
            (ADDRESS, "vxnet-pods001"),
            (ELSEWHERE, "vxnet-pods002"),
        ]


def test_an_address_takes_no_longer_than_another_nic(pods: Pods) -> None:
    assert pods.answer(pods.ask("a", db()), 6).private_ip == ADDRESS


def test_two_addresses_are_made_side_by_side(pods: Pods) -> None:
    asked = [pods.ask("a", db()), pods.ask("b", Fixed(NEXT, "web"))]
    pods.node.run(6)
    assert [pods.answer(one, 0).private_ip for one in asked] == [ADDRESS, NEXT]


def test_an_unanswered_create_of_an_address_is_found(pods: Pods) -> None:
    pods.node.emulator.faults.order({"kind": "drop_reply", "action": "CreateNics"})
    assert pods.answer(pods.ask("a", db()), 20).private_ip == ADDRESS


def test_a_ready_nic_that_has_the_address_will_do(pods: Pods) -> None:
    calls = pods.node.calls("CreateNics")
    ready = pods.node.engine.table.nics(State.READY)[2]
    assert pods.ask("a", db(ready.private_ip)).result(5).nic_id == ready.nic_id
    assert pods.node.calls("CreateNics") == calls


def test_an_address_is_made_in_a_vxnet_that_only_the_network_configuration_names(tmp_path: Path) -> None:
    with Node(tmp_path, pool_low=0, pool_high=0) as node:
        node.run(10)
        pods = Pods(node)
        asked = pods.ask("a", db(ELSEWHERE), vxnets=("vxnet-pods002",), seconds=15)
        try:
            assert pods.answer(asked, 20).private_ip == ELSEWHERE
        finally:
            pods.close()


def test_a_vxnet_that_does_not_exist_does_not_hide_the_one_with_the_address(tmp_path: Path) -> None:
    with Node(tmp_path, vxnet=("vxnet-nosuch1", "vxnet-pods001")) as node:
        node.run(10)
        pods = Pods(node)
        asked = pods.ask("a", db(), seconds=15)
        try:
            assert pods.answer(asked, 20).private_ip == ADDRESS
        finally:
            pods.close()


@pytest.mark.parametrize("vxnets", [(), ("vxnet-pods001",)])
def test_an_address_that_is_in_no_vxnet_is_refused_at_once(pods: Pods, vxnets: tuple[str, ...]) -> None:
    asked = pods.ask("a", db("10.9.9.9"), vxnets)
    with pytest.raises(InvalidConfig, match=r"10\.9\.9\.9 is in none of the vxnets vxnet-pods001"):
        pods.answer(asked, 1)


@pytest.mark.parametrize("vxnet_id", ["vxnet-nosuch1", "vxnet-lone0001"])
def test_an_address_in_a_vxnet_that_cannot_have_it_is_refused_soon(pods: Pods, vxnet_id: str) -> None:
    pods.node.emulator.cloud.add_vxnet("vxnet-lone0001")  # in no router
    asked = pods.ask("a", db(ELSEWHERE), (vxnet_id,))
    with pytest.raises(InvalidConfig, match=rf"{ELSEWHERE} is in none of the vxnets {vxnet_id}"):
        pods.answer(asked, 1)


def test_an_address_that_is_in_no_vxnet_is_asked_for_nowhere(pods: Pods) -> None:
    calls = pods.node.calls("CreateNics")
    with pytest.raises(InvalidConfig):
        pods.answer(pods.ask("a", db("10.9.9.9")), 1)
    assert pods.node.calls("CreateNics") == calls


# -- refused by the cloud ---------------------------------------------------------------------------------------------


def taken_by_a_stranger(node: Node, address: str = ADDRESS) -> None:
    node.cloud.create_nics("vxnet-pods001", 1, "somebody-elses", [address])


def test_an_address_that_the_cloud_refuses_fails_that_add_alone(pods: Pods) -> None:
    taken_by_a_stranger(pods.node)
    refused = pods.ask("a", db())
    others = [pods.ask(f"plain{number}", None) for number in range(6)]
    with pytest.raises(AddressHeld, match=f"{ADDRESS} is held by NIC .* \\(somebody-elses\\) of no instance") as caught:
        pods.answer(refused, 2)
    assert caught.value.transient
    assert len({pods.answer(other).nic_id for other in others}) == 6
    assert pods.node.explain()["blocked"] == []


def test_an_address_that_the_cloud_refuses_does_not_fail_another_one(pods: Pods) -> None:
    taken_by_a_stranger(pods.node)
    refused, good = pods.ask("a", db()), pods.ask("b", Fixed(NEXT, "web"))
    with pytest.raises(AddressHeld):
        pods.answer(refused)
    assert pods.answer(good).private_ip == NEXT


def test_an_address_in_a_full_vxnet_is_told_so(pods: Pods) -> None:
    left = pods.node.cloud.describe_vxnets(["vxnet-pods001"])[0].available
    assert left
    pods.node.cloud.create_nics("vxnet-pods001", left, "somebody-elses")
    asked = pods.ask("a", db(), vxnets=("vxnet-pods001",), seconds=5)
    with pytest.raises(HostnicError, match="no free address"):
        pods.answer(asked)


# -- two at once ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("between", [0.0, 1.0])
def test_of_two_adds_for_one_address_the_first_gets_it_and_the_other_hears_of_it(pods: Pods, between: float) -> None:
    first = pods.ask("a", db())
    pods.node.run(between)
    second = pods.ask("b", WEB)
    assert pods.answer(first).private_ip == ADDRESS
    with pytest.raises(AddressHeld) as caught:
        second.result(5)
    assert caught.value.details["holder"] == "net/a/eth0"


def test_two_containers_of_one_workload_do_not_share_an_address(pods: Pods) -> None:
    pods.start("a", db())
    with pytest.raises(AddressHeld, match="held by net/a/eth0: delete that pod first"):
        pods.ask("b", db()).result(5)


def test_a_pod_that_takes_any_nic_does_not_take_the_address_that_another_waits_for(tmp_path: Path) -> None:
    with Node(tmp_path, pool_low=0, pool_high=0) as node:
        node.run(10)
        pods = Pods(node)
        plain, fixed = pods.ask("plain", None), pods.ask("a", db())
        try:
            assert pods.answer(fixed).private_ip == ADDRESS
            assert pods.answer(plain).private_ip != ADDRESS
        finally:
            pods.close()


# -- kept -------------------------------------------------------------------------------------------------------------


def test_a_workload_gets_its_address_again(pods: Pods) -> None:
    nic = pods.start("a", db())
    pods.node.delete("a")
    assert pods.state() is State.HELD
    pods.node.run(200)
    assert pods.ask("b", db()).result(5).nic_id == nic.nic_id


def test_another_workload_hears_who_has_the_address(pods: Pods) -> None:
    pods.start("a", db())
    pods.node.delete("a")
    asked = pods.ask("b", WEB)
    with pytest.raises(AddressHeld, match=f"held by db.* qingagent release {ADDRESS}") as caught:
        asked.result(5)
    assert (caught.value.details["holder"], caught.value.transient) == ("db", True)


def test_a_kept_address_serves_nobody_who_did_not_ask_for_it(pods: Pods) -> None:
    nic = pods.start("a", db())
    pods.node.delete("a")
    for number in range(12):
        assert pods.answer(pods.ask(f"plain{number}", None)).nic_id != nic.nic_id


def test_a_kept_address_is_no_supply(pods: Pods) -> None:
    pods.start("a", db())
    pods.node.delete("a")
    pods.node.run(20)
    told = pods.node.explain()
    assert (told["ready"], told["held"]) == (3, 1)


def test_an_address_that_was_kept_long_enough_rests_and_serves_any_pod(pods: Pods) -> None:
    nic = pods.start("a", db(keep=300.0))
    pods.node.delete("a")
    pods.node.run(299)
    assert pods.state() is State.HELD
    pods.node.run(2)
    assert pods.state() is State.QUARANTINE
    pods.node.run(62)
    (after,) = [one for one in pods.node.engine.table.nics(State.READY) if one.nic_id == nic.nic_id]
    assert (after.workload, after.keep) == ("", 0.0)
    assert nic.nic_id in {pods.answer(pods.ask(f"plain{number}", None)).nic_id for number in range(4)}


def test_an_address_that_is_not_kept_rests_at_once_and_is_nobodys(pods: Pods) -> None:
    pods.start("a", db(keep=0.0))
    pods.node.delete("a")
    assert pods.state() is State.QUARANTINE
    assert {nic.workload for nic in pods.node.engine.table.nics()} == {""}


def test_an_address_that_rests_is_waited_for(pods: Pods) -> None:
    nic = pods.start("a", db(keep=0.0))
    pods.node.delete("a")
    calls = pods.node.calls("CreateNics")
    assert pods.answer(pods.ask("b", db(keep=0.0))).nic_id == nic.nic_id
    assert pods.node.calls("CreateNics") == calls


def test_a_pod_that_died_keeps_its_address_too(pods: Pods) -> None:
    pods.start("a", db())
    pods.node.run(1)
    pods.node.kernel.kill_netns(1)
    assert (pods.state(), pods.node.engine.table.leases()) == (State.HELD, [])


def test_the_time_of_the_latest_add_counts(pods: Pods) -> None:
    pods.start("a", db(keep=300.0))
    pods.node.delete("a")
    pods.start("b", db(keep=20.0))
    pods.node.delete("b")
    pods.node.run(21)
    assert pods.state() is State.QUARANTINE


# -- let go -----------------------------------------------------------------------------------------------------------


def test_a_person_may_let_a_kept_address_go(pods: Pods) -> None:
    nic = pods.start("a", db())
    pods.node.delete("a")
    assert pods.node.pool.let_go(ADDRESS)
    assert pods.state() is State.QUARANTINE
    assert pods.answer(pods.ask("b", WEB)).nic_id == nic.nic_id


@pytest.mark.parametrize("address", [ADDRESS, NEXT])
def test_what_is_not_kept_cannot_be_let_go(pods: Pods, address: str) -> None:
    pods.start("a", db())
    assert not pods.node.pool.let_go(address)
    assert pods.state() is State.IN_USE


# -- aborted ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("touched", [False, True])
def test_an_add_that_failed_keeps_its_address(pods: Pods, touched: bool) -> None:
    nic = pods.answer(pods.ask("a", db()))
    pods.node.pool.abort(LeaseKey("net", "a", "eth0"), touched_pod=touched)
    assert pods.state() is State.HELD
    assert pods.ask("b", db()).result(5).nic_id == nic.nic_id


@pytest.mark.parametrize(("touched", "state"), [(False, State.READY), (True, State.QUARANTINE)])
def test_an_add_that_failed_keeps_no_address_that_is_not_kept(pods: Pods, touched: bool, state: State) -> None:
    pods.answer(pods.ask("a", db(keep=0.0)))
    pods.node.pool.abort(LeaseKey("net", "a", "eth0"), touched_pod=touched)
    assert pods.state() is state


def test_an_add_that_hung_up_leaves_the_address_to_the_next(pods: Pods) -> None:
    with pytest.raises(PoolEmpty):
        pods.ask("a", db(), seconds=0.0).result(5)
    assert pods.answer(pods.ask("b", db())).private_ip == ADDRESS


# -- after a restart, a reboot, a loss --------------------------------------------------------------------------------


def test_a_kept_address_is_kept_across_a_restart(pods: Pods) -> None:
    nic = pods.start("a", db(keep=300.0))
    pods.node.delete("a")
    pods.node.run(100)
    pods.node.start_agent()
    with pytest.raises(AddressHeld):
        pods.ask("b", WEB).result(5)
    assert pods.ask("c", db()).result(5).nic_id == nic.nic_id


def test_a_kept_address_is_let_go_in_time_across_a_restart(pods: Pods) -> None:
    pods.start("a", db(keep=300.0))
    pods.node.delete("a")
    pods.node.run(200)
    pods.node.start_agent()
    pods.node.run(102)
    assert pods.state() is State.QUARANTINE


def reboot(node: Node) -> None:
    node.kernel.reboot()
    node.boot_id = "boot-2"
    node.start_agent()


@pytest.mark.parametrize("running", [True, False])
def test_after_a_reboot_the_workload_gets_its_address_again(pods: Pods, running: bool) -> None:
    nic = pods.start("a", db())
    if not running:
        pods.node.delete("a")
    reboot(pods.node)
    assert pods.state() is (State.BROKEN if running else State.HELD)
    pods.node.run(5)
    assert (pods.state(), pods.node.kernel.links[nic.nic_id].place) == (State.HELD, "parking")
    with pytest.raises(AddressHeld):
        pods.ask("b", WEB).result(5)
    assert pods.ask("c", db()).result(5).nic_id == nic.nic_id


def test_an_add_right_after_a_reboot_waits_for_its_address(pods: Pods) -> None:
    nic = pods.start("a", db())
    reboot(pods.node)
    calls = pods.node.calls("CreateNics")
    assert pods.answer(pods.ask("b", db())).nic_id == nic.nic_id
    assert pods.node.calls("CreateNics") == calls


def test_a_kept_address_that_the_cloud_detached_is_still_kept(pods: Pods) -> None:
    nic = pods.start("a", db(keep=3600.0))
    pods.node.delete("a")
    pods.node.cloud.detach_nics([nic.nic_id])
    pods.node.emulator.advance(5)
    pods.node.run(120)
    assert pods.state() is State.HELD
