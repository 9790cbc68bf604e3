# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a NIC: in order, for the right vxnet, until the deadline, the cancellation or the NIC."""

from __future__ import annotations

import threading
import time
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from hostnic.config import Settings
from hostnic.errors import (
    AuthFailed,
    Busy,
    Denied,
    HostnicError,
    InvalidConfig,
    NotFound,
    PoolEmpty,
    QuotaExceeded,
    Unreachable,
    VxnetFull,
)
from hostnic.model import GATEWAY, Fixed, KnownVxnet, Lease, LeaseKey, Nic, Waiter
from hostnic.pool import Pool
from hostnic.standin import netns_lease
from hostnic.states import State
from hostnic.store.memory import MemoryStore
from hostnic.table import Table
from hostnic.troubles import EVERYWHERE
from tests.lab.wait import until
from tests.support.memory_kernel import MemoryKernel


class Serving:
    """A pool whose NICs the test brings; callers wait in threads of their own."""

    def __init__(self, quarantine_min: float = 0.05) -> None:
        self.table = Table(MemoryStore(), time.monotonic)
        self.table.open("boot-1", "i-1")
        settings = Settings(quarantine_min=quarantine_min, vxnet=("vxnet-a", "vxnet-b"))
        self.pool = Pool(settings, self.table, MemoryKernel("node1"), time.monotonic, self._woken)
        self.wakes = 0
        self._threads = ThreadPoolExecutor(20)
        self._count = 0

    def _woken(self) -> None:
        self.wakes += 1

    def bring(self, vxnet_id: str = "vxnet-a") -> Nic:
        self._count += 1
        fresh = Nic(f"52:54:00:00:00:{self._count:02x}", vxnet_id, f"10.0.0.{self._count}", State.DETACHED, 0.0)
        return self.table.move(self.table.move(fresh, State.DETACHED), State.READY)

    def ask(
        self,
        container: str,
        seconds: float = 10,
        cancelled: t.Callable[[], bool] = lambda: False,
        vxnets: tuple[str, ...] = (),
        fixed: t.Optional[Fixed] = None,
    ) -> Future[tuple[Nic, bool]]:
        """Returns once the caller stands in the queue, or has its answer."""
        before = len(self.pool.waiting())
        deadline = time.monotonic() + seconds
        key = LeaseKey("net", container, "eth0")
        answer = self._threads.submit(self.pool.acquire, key, {}, deadline, cancelled, vxnets, fixed)
        until(lambda: answer.done() or len(self.pool.waiting()) > before, 5, "a caller in the queue")
        return answer


@pytest.fixture
def serving() -> Serving:
    return Serving()


def test_first_come_first_served(serving: Serving) -> None:
    answers = [serving.ask(name) for name in "abc"]
    brought = [serving.bring().nic_id for __ in answers]
    assert [answer.result(5)[0].nic_id for answer in answers] == brought


def test_one_that_wants_another_vxnet_does_not_hold_up_the_queue(serving: Serving) -> None:
    picky, easy = serving.ask("picky", vxnets=("vxnet-b",)), serving.ask("easy")
    first = serving.bring("vxnet-a")
    assert easy.result(5)[0].nic_id == first.nic_id
    assert not picky.done()
    second = serving.bring("vxnet-b")
    assert picky.result(5)[0].nic_id == second.nic_id


def test_no_nic_is_handed_out_twice(serving: Serving) -> None:
    answers = [serving.ask(str(number)) for number in range(16)]
    for __ in answers:
        serving.bring()
    handed = [answer.result(5)[0].nic_id for answer in answers]
    assert len(set(handed)) == 16


def test_a_caller_that_hung_up_leaves_the_queue_at_once(serving: Serving) -> None:
    gone = threading.Event()
    answer = serving.ask("a", seconds=60, cancelled=gone.is_set)
    gone.set()
    serving.pool.poke()
    with pytest.raises(PoolEmpty, match="cancelled"):
        answer.result(5)
    assert serving.pool.waiting() == ()


def test_a_definite_obstacle_is_named_at_the_deadline(serving: Serving) -> None:
    serving.pool.report({EVERYWHERE: AuthFailed("the key is wrong")})
    with pytest.raises(AuthFailed, match="the key is wrong"):
        serving.ask("a", seconds=0.05).result(5)


@pytest.mark.parametrize("quarantine_min", [0.0, 0.2])
def test_a_resting_nic_is_taken_once_it_has_rested_and_is_clean(quarantine_min: float) -> None:
    serving = Serving(quarantine_min)
    nic = serving.bring()
    serving.ask("a").result(5)
    answer = serving.ask("b")
    before = serving.wakes
    serving.pool.release(LeaseKey("net", "a", "eth0"), returned=True)
    released = serving.table.nics()[0].since
    until(lambda: serving.wakes >= before + 2, 5, "the waiting caller's look at what was released")
    assert [dirty.nic_id for dirty in serving.pool.uncleaned()] == [nic.nic_id]
    assert not answer.done()
    serving.pool.cleaned(serving.pool.uncleaned()[0])
    assert answer.result(5)[0].nic_id == nic.nic_id
    assert time.monotonic() - released >= quarantine_min


def test_ending_a_lease_twice_is_ending_it_once(serving: Serving) -> None:
    key = LeaseKey("net", "a", "eth0")
    nic = serving.bring()
    serving.ask("a").result(5)
    for __ in range(2):
        serving.pool.release(key, returned=True)
    assert serving.table.nics()[0].state is State.QUARANTINE
    assert serving.pool.lease(key) is None
    assert serving.pool.nic(nic.nic_id)


@pytest.mark.parametrize(("touched", "state"), [(False, State.READY), (True, State.QUARANTINE)])
def test_a_failed_add_gives_its_nic_back(serving: Serving, touched: bool, state: State) -> None:
    serving.bring()
    serving.ask("a").result(5)
    serving.pool.abort(LeaseKey("net", "a", "eth0"), touched_pod=touched)
    assert serving.table.nics()[0].state is state


# -- who may have which -----------------------------------------------------------------------------------------------


def test_ready_nics_are_taken_before_those_that_rest(serving: Serving) -> None:
    resting = serving.bring()
    serving.ask("a").result(5)
    serving.pool.release(LeaseKey("net", "a", "eth0"), returned=True)
    serving.pool.cleaned(serving.pool.uncleaned()[0])
    fresh = serving.bring()
    until(lambda: time.monotonic() - serving.table.nics(State.QUARANTINE)[0].since >= 0.05, 5, "a rest")
    assert [serving.ask(name).result(5)[0].nic_id for name in "bc"] == [fresh.nic_id, resting.nic_id]
    assert serving.pool.steals == 1


def test_a_gateway_nic_is_nobodys(serving: Serving) -> None:
    gateway = Nic("52:54:00:ff:00:01", "vxnet-a", "10.0.0.99", State.DETACHED, 0.0, purpose=GATEWAY)
    serving.table.move(serving.table.move(gateway, State.DETACHED), State.READY)
    with pytest.raises(PoolEmpty):
        serving.ask("a", seconds=0.05).result(5)


def test_a_pod_takes_over_the_nic_as_its_own_and_nothing_of_the_workload_before(serving: Serving) -> None:
    nic = serving.bring()
    serving.table.amend(nic, workload="db", keep=9.0, prewarmed=True, note="x")
    taken, held_before = serving.ask("a").result(5)
    assert (held_before, taken.workload, taken.keep, taken.prewarmed, taken.note) == (False, "", 0.0, False, "")


def test_one_that_waits_for_its_address_does_not_take_another(serving: Serving) -> None:
    waiting = serving.ask("a", fixed=Fixed("10.0.0.2", "db"))
    serving.bring()
    assert not waiting.done()
    second = serving.bring()
    assert waiting.result(5)[0].nic_id == second.nic_id
    assert (second.private_ip, waiting.result(5)[0].workload) == ("10.0.0.2", "db")


def test_each_waiting_add_is_told_to_the_planner_once(serving: Serving) -> None:
    gone = threading.Event()
    asked = [
        serving.ask("a", cancelled=gone.is_set, vxnets=("vxnet-b",)),
        serving.ask("b", cancelled=gone.is_set, fixed=Fixed("10.0.0.9", "db")),
    ]
    assert serving.pool.waiting() == (Waiter(("vxnet-b",)), Waiter((), "10.0.0.9"))
    gone.set()
    serving.pool.poke()
    until(lambda: all(one.done() for one in asked), 5, "the end of both")
    assert serving.pool.waiting() == ()


def test_a_refused_address_is_refused_to_those_who_wait_for_it_alone(serving: Serving) -> None:
    fixed, plain = serving.ask("a", fixed=Fixed("10.0.0.9", "db")), serving.ask("b")
    serving.pool.refuse([Waiter((), "10.0.0.9"), Waiter((), "10.0.0.8")], Denied("not yours"))
    with pytest.raises(Denied, match="not yours"):
        fixed.result(5)
    assert not plain.done()
    serving.bring()
    assert plain.result(5)


def test_who_comes_later_is_not_refused_by_what_was_refused_before(serving: Serving) -> None:
    first = serving.ask("a", fixed=Fixed("10.0.0.1", "db"))
    serving.pool.refuse([Waiter((), "10.0.0.1")], Denied("not yours"))
    with pytest.raises(Denied):
        first.result(5)
    again = serving.ask("a", fixed=Fixed("10.0.0.1", "db"))
    serving.bring()
    assert again.result(5)


# -- why there is none ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vxnets", "error", "said"),
    [
        (("vxnet-a",), VxnetFull, "a is full"),
        (("vxnet-b",), PoolEmpty, "no connection"),
        (("vxnet-b", "vxnet-a"), PoolEmpty, "no connection"),
        ((), PoolEmpty, "no connection"),
    ],
)
def test_a_pod_hears_what_concerns_its_vxnets(
    serving: Serving, vxnets: tuple[str, ...], error: type[Exception], said: str
) -> None:
    serving.pool.report({"vxnet-a": VxnetFull("a is full"), EVERYWHERE: Unreachable("no connection")})
    with pytest.raises(error, match=said):
        serving.ask("a", seconds=0.05, vxnets=vxnets).result(5)


def test_a_trouble_that_is_over_is_not_told(serving: Serving) -> None:
    serving.pool.report({EVERYWHERE: AuthFailed("the key is wrong")})
    serving.pool.report({})
    with pytest.raises(PoolEmpty, match="NICs are on their way"):
        serving.ask("a", seconds=0.05).result(5)


def test_a_vxnet_that_was_not_read_yet_is_busy(serving: Serving) -> None:
    with pytest.raises(Busy, match="vxnet-a has not been read"):
        serving.pool.vxnet("vxnet-a")
    known = KnownVxnet("vxnet-a", "10.0.0.0/24", "10.0.0.1", "rtr-1")
    serving.table.apply(put=[known])
    assert serving.pool.vxnet("vxnet-a") == known


def test_what_holds_no_lease_cannot_be_committed(serving: Serving) -> None:
    with pytest.raises(NotFound, match="no lease for net/a/eth0"):
        serving.pool.commit(LeaseKey("net", "a", "eth0"), 1, 2)


def test_a_lease_of_a_nic_that_is_with_no_pod_ends_by_itself(serving: Serving) -> None:
    nic = serving.bring()
    serving.table.apply(put=[Lease("net", "a", "eth0", nic.nic_id, 5.0)])
    serving.pool.release(LeaseKey("net", "a", "eth0"), returned=True)
    assert (serving.table.leases(), serving.table.nics()) == ([], [nic])


def test_a_lease_in_the_name_of_a_netns_that_has_ended_is_not_taken_over(serving: Serving) -> None:
    nic = serving.bring()
    stand_in = Lease("", "netns-7", "eth0", nic.nic_id, 0.0, 7, 3)
    key = LeaseKey("net", "a", "eth0")
    assert not serving.pool.take_over(stand_in, key, {})
    assert serving.table.leases() == []
    serving.table.apply(put=[stand_in])
    assert serving.pool.take_over(stand_in, key, {})
    assert [lease.attachment for lease in serving.table.leases()] == [key]


def test_a_gateway_that_stands_is_asked_for_by_nobody_any_more(serving: Serving) -> None:
    """It stays because of the pods beside it, and goes with them."""
    asked = serving._threads.submit(serving.pool.gateway, "vxnet-a", time.monotonic() + 10, lambda: False)
    until(lambda: serving.pool.gateways() == {"vxnet-a"}, 5, "the wish for a gateway")
    serving.table.apply(put=[Nic("52:54:00:00:00:bb", "vxnet-a", "10.0.0.3", State.GATEWAY, 0.0, GATEWAY)])
    assert asked.result(5) == "10.0.0.3"
    assert serving.pool.gateways() == frozenset()
    serving.bring("vxnet-a")
    assert serving.pool.gateways() == {"vxnet-a"}


# -- whether an ADD can be served -------------------------------------------------------------------------------------


def test_an_agent_that_has_just_started_cannot_say_that_it_serves(serving: Serving) -> None:
    reason = serving.pool.unable()
    assert isinstance(reason, Busy) and "just started" in reason.message


def test_a_pool_that_is_empty_for_no_reason_serves_after_a_wait(serving: Serving) -> None:
    serving.pool.report({})
    assert serving.pool.unable() is None


@pytest.mark.parametrize("state", [State.READY, State.QUARANTINE, State.ATTACHING])
def test_what_is_there_or_comes_serves_whatever_the_trouble(serving: Serving, state: State) -> None:
    serving.table.apply(put=[Nic("52:54:00:00:00:aa", "vxnet-a", "10.0.0.9", state, 0.0)])
    serving.pool.report({EVERYWHERE: AuthFailed("the key is wrong")})
    assert serving.pool.unable() is None
    assert serving.pool.unable(("vxnet-a", "vxnet-b")) is None
    assert isinstance(serving.pool.unable(("vxnet-b",)), AuthFailed)


def test_what_is_still_to_be_attached_serves_where_nothing_is_wrong(serving: Serving) -> None:
    serving.table.apply(put=[Nic("52:54:00:00:00:aa", "vxnet-a", "10.0.0.9", State.DETACHED, 0.0)])
    serving.pool.report({"vxnet-a": VxnetFull("a is full")})
    assert serving.pool.unable(("vxnet-a",)) is None
    serving.pool.report({EVERYWHERE: Unreachable("no connection")})
    assert isinstance(serving.pool.unable(("vxnet-a",)), Unreachable)


def test_a_pod_that_needs_the_hosts_foot_is_not_served_without(serving: Serving) -> None:
    serving.bring("vxnet-a")
    serving.pool.report({"vxnet-a": QuotaExceeded("no more NICs"), "vxnet-b": QuotaExceeded("no more NICs")})
    assert serving.pool.unable() is None
    assert isinstance(serving.pool.unable(gateway=True), QuotaExceeded)
    serving.table.apply(put=[Nic("52:54:00:00:00:bb", "vxnet-a", "10.0.0.3", State.GATEWAY, 0.0, GATEWAY)])
    assert serving.pool.unable(gateway=True) is None


@pytest.mark.parametrize("changes", [{"doomed": True}, {"purpose": GATEWAY}, {"state": State.IN_USE}])
def test_what_no_pod_can_have_serves_nobody(serving: Serving, changes: dict[str, t.Any]) -> None:
    nic = Nic("52:54:00:00:00:aa", "vxnet-a", "10.0.0.9", State.ATTACHING, 0.0)
    serving.table.apply(put=[replace(nic, **changes)])
    serving.pool.report({EVERYWHERE: AuthFailed("the key is wrong")})
    assert isinstance(serving.pool.unable(), AuthFailed)


@pytest.mark.parametrize("error", [NotFound("no such vxnet"), InvalidConfig("it is in no router")])
def test_what_cannot_be_had_until_somebody_changes_something_is_told_at_once(
    serving: Serving, error: HostnicError
) -> None:
    serving.pool.report({"vxnet-x": error})
    with pytest.raises(type(error)):
        serving.ask("a", seconds=600, vxnets=("vxnet-x",)).result(5)
    waits = serving.ask("b", seconds=600, vxnets=("vxnet-x", "vxnet-b"))
    serving.bring("vxnet-b")
    assert waits.result(5)


def test_a_nic_of_another_networks_vxnet_goes_to_that_network_alone(serving: Serving) -> None:
    plain = serving.ask("plain")
    serving.bring("vxnet-x")
    assert serving.ask("other", vxnets=("vxnet-x",)).result(5)
    assert not plain.done()
    serving.bring("vxnet-b")
    assert plain.result(5)[0].vxnet_id == "vxnet-b"


def test_one_address_may_be_wrong_for_one_and_right_for_another(serving: Serving) -> None:
    wrong = serving.ask("a", vxnets=("vxnet-b",), fixed=Fixed("10.0.0.1", "db"))
    right = serving.ask("b", vxnets=("vxnet-a",), fixed=Fixed("10.0.0.1", "web"))
    serving.pool.refuse([Waiter(("vxnet-b",), "10.0.0.1")], InvalidConfig("it lies elsewhere"))
    with pytest.raises(InvalidConfig):
        wrong.result(5)
    assert serving.pool.waiting() == (Waiter(("vxnet-a",), "10.0.0.1"),)
    serving.bring("vxnet-a")
    assert right.result(5)


def test_one_vxnet_in_trouble_is_no_reason_where_another_will_do(serving: Serving) -> None:
    serving.pool.report({"vxnet-a": VxnetFull("no address left")})
    assert isinstance(serving.pool.unable(("vxnet-a",)), VxnetFull)
    assert serving.pool.unable(("vxnet-a", "vxnet-b")) is None
    assert serving.pool.unable() is None


def test_attachments_are_told_by_network(serving: Serving) -> None:
    serving.bring()
    serving.ask("a").result(5)
    assert serving.pool.attachments("net") == [LeaseKey("net", "a", "eth0")]
    assert serving.pool.attachments("other") == []


def test_what_networks_with_ip_masq_have_pods_in_is_masqueraded(serving: Serving) -> None:
    """As long as they have, and do not say otherwise."""
    for vxnet_id in ("vxnet-a", "vxnet-b"):
        serving.bring(vxnet_id)
        serving.ask(f"in {vxnet_id}", vxnets=(vxnet_id,)).result(5)
    for network, vxnet_id in (("net", "vxnet-a"), ("net", "vxnet-b"), ("other", "vxnet-a")):
        serving.pool.masquerade(network, vxnet_id, True)
    assert serving.pool.masqueraded() == {"vxnet-a", "vxnet-b"}
    woken = serving.wakes
    serving.pool.masquerade("net", "vxnet-b", True)
    assert serving.wakes == woken
    serving.pool.masquerade("net", "vxnet-b", False)
    assert serving.pool.masqueraded() == {"vxnet-a"}
    serving.pool.release(LeaseKey("net", "in vxnet-a", "eth0"), returned=True)
    assert serving.pool.masqueraded() == frozenset()


# -- found in a netns -------------------------------------------------------------------------------------------------


def test_a_lease_that_was_found_is_taken_over_in_one_step(serving: Serving) -> None:
    key, stand_in = LeaseKey("net", "a", "eth0"), netns_lease(7, "eth0")
    nic = Nic("52:54:00:00:00:aa", "vxnet-a", "10.0.0.9", State.IN_USE, 0.0)
    lease = Lease(stand_in.network, stand_in.container_id, stand_in.ifname, nic.nic_id, 5.0, 7, 3)
    serving.table.move(nic, State.IN_USE)
    serving.table.apply(put=[lease])
    assert serving.pool.found_in(8, "eth0") is None
    assert serving.pool.found_in(7, "eth1") is None
    found = serving.pool.found_in(7, "eth0")
    assert found == lease
    serving.pool.take_over(found, key, {"K8S_POD_NAME": "p"})
    assert serving.table.leases() == [Lease("net", "a", "eth0", nic.nic_id, 5.0, 7, 3, {"K8S_POD_NAME": "p"})]
    assert serving.ask("a").result(5) == (serving.table.nic(nic.nic_id), True)


# -- gateways ---------------------------------------------------------------------------------------------------------


def own_vxnet(serving: Serving, host_address: str) -> None:
    serving.table.apply(put=[KnownVxnet("vxnet-a", "10.0.0.0/24", "10.0.0.1", "rtr-1", host_address)])


def gateway_nic(serving: Serving, **fields: t.Any) -> Nic:
    nic = Nic("52:54:00:ff:00:01", "vxnet-a", "10.0.0.99", State.GATEWAY, 0.0, purpose=GATEWAY, **fields)
    return serving.table.move(nic, State.GATEWAY)


def no_gateway(serving: Serving) -> None:
    with pytest.raises(PoolEmpty):
        serving.pool.gateway("vxnet-a", time.monotonic(), lambda: False)


def test_a_gateway_is_wanted_once_it_was_asked_for(serving: Serving) -> None:
    assert serving.pool.gateways() == frozenset()
    no_gateway(serving)
    assert serving.pool.gateways() == {"vxnet-a"}


def test_a_gateway_that_stands_is_wanted_beside_nics_of_pods(serving: Serving) -> None:
    gateway_nic(serving)
    assert serving.pool.gateways() == frozenset()
    serving.bring("vxnet-a")
    assert serving.pool.gateways() == {"vxnet-a"}


def test_a_gateway_on_its_way_out_is_not_wanted(serving: Serving) -> None:
    gateway_nic(serving, doomed=True)
    serving.bring("vxnet-a")
    assert serving.pool.gateways() == frozenset()


def test_where_the_host_has_an_address_of_its_own_no_gateway_is_wanted(serving: Serving) -> None:
    no_gateway(serving)
    serving.bring("vxnet-a")
    own_vxnet(serving, "10.0.0.77")
    assert (serving.pool.gateways(), serving.pool.own_vxnets()) == (frozenset(), {"vxnet-a"})
    assert serving.pool.gateway("vxnet-a", time.monotonic(), lambda: False) == "10.0.0.77"


def test_a_gateway_that_stands_is_told_at_once(serving: Serving) -> None:
    own_vxnet(serving, "")
    no_gateway(serving)
    gateway_nic(serving)
    assert serving.pool.gateway("vxnet-a", time.monotonic(), lambda: False) == "10.0.0.99"
