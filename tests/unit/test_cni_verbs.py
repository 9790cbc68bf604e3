# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
import typing as t
from dataclasses import replace

import pytest

from hostnic import wire
from hostnic.cni.locks import HungUp
from hostnic.cni.netconf import ConfRoute, NetConf
from hostnic.cni.netns import Netns
from hostnic.cni.skel import Invocation
from hostnic.cni.spec import HELD_ELSEWHERE, Attached, CniError
from hostnic.cni.verbs import Verbs, Wait
from hostnic.errors import HostnicError, LinkFailed, NotFound, PoolEmpty, Timeout
from hostnic.model import Lease, LeaseKey, PodLink, Route
from hostnic.states import State
from tests.support.cni import GATEWAY_ADDRESS, HOST_ADDRESS, KEY, ScriptedLinks, ScriptedPool, eventually, nic

ONE, TWO = nic(1), nic(2)
# no open descriptors: nothing here looks behind them
POD, OTHER_POD = Netns(100_000, 1000), Netns(200_000, 2000)
ROUTER_ROUTE = Route("0.0.0.0/0", "172.16.1.1")


def call(key: LeaseKey = KEY, **changes: t.Any) -> Invocation:
    return replace(
        Invocation(
            "ADD", "1.0.0", key.network, key.container_id, key.ifname, "/run/netns/x", args={"K8S_POD_NAME": "p"}
        ),
        **changes,
    )


class Bench:
    """Verbs over a pool and links with a script."""

    def __init__(self, *supply: t.Any) -> None:
        self.pool = ScriptedPool(*supply)
        self.links = ScriptedLinks(ONE.nic_id, TWO.nic_id)
        self.verbs = Verbs(self.pool, self.links, wire.boottime)
        self.gone = threading.Event()

    def wait(self, seconds: float = 10.0) -> Wait:
        return Wait(wire.boottime() + seconds, self.gone.is_set)

    def add(
        self, key: LeaseKey = KEY, conf: t.Optional[NetConf] = None, netns: Netns = POD, seconds: float = 10.0
    ) -> Attached:
        return self.verbs.add(call(key), conf or NetConf(), netns, self.wait(seconds))

    def delete(self, key: LeaseKey = KEY, netns: t.Optional[Netns] = POD, asked_at: float = 0.0) -> None:
        self.verbs.delete(key, netns, asked_at, self.wait())


@pytest.fixture
def bench() -> Bench:
    return Bench(ONE, TWO)


# -- ADD --------------------------------------------------------------------------------------------------------------


def test_add_reserves_moves_commits_and_tells(bench: Bench) -> None:
    attached = bench.add(conf=NetConf(mtu=1400, dns={"domain": "x"}, vxnets=("vxnet-a",)))
    assert attached == Attached(
        ifname="eth0",
        mac=ONE.nic_id,
        sandbox="/run/netns/x",
        address="172.16.1.101/24",
        gateway="172.16.1.1",
        routes=(ROUTER_ROUTE,),
        dns={"domain": "x"},
        mtu=1400,
    )
    assert bench.links.calls == [
        ("to_pod", ONE.nic_id, POD.descriptor, PodLink("eth0", "172.16.1.101/24", (ROUTER_ROUTE,), 1400)),
    ]
    assert bench.pool.calls == [
        ("acquire", KEY, {"K8S_POD_NAME": "p"}, ("vxnet-a",)),
        ("vxnet", "vxnet-a"),
        ("masquerade", "pods", "vxnet-a", False),
        ("commit", KEY, 1000, 7),
    ]
    assert bench.pool.states() == {ONE.nic_id: State.IN_USE}


def test_add_as_gateway_goes_by_the_hosts_foot_in_the_vxnet(bench: Bench) -> None:
    attached = bench.add(conf=NetConf(is_gateway=True, routes=(ConfRoute("10.96.0.0/12"),)))
    assert attached.routes == (
        ROUTER_ROUTE,
        Route("10.96.0.0/12", GATEWAY_ADDRESS),
        Route(f"{HOST_ADDRESS}/32", GATEWAY_ADDRESS),
    )
    assert bench.pool.named("gateway") == [("gateway", "vxnet-a")]


def test_the_same_add_again_has_the_same_result_and_moves_nothing(bench: Bench) -> None:
    first = bench.add()
    moves = len(bench.links.calls)
    assert bench.add() == first
    assert len(bench.links.calls) == moves
    assert len(bench.pool.named("acquire")) == 1


def test_a_failure_to_tell_the_same_result_again_takes_nothing_away(bench: Bench) -> None:
    bench.add()
    bench.pool.fail["vxnet"] = NotFound("x")
    with pytest.raises(NotFound):
        bench.add()
    assert bench.pool.states() == {ONE.nic_id: State.IN_USE}


def test_another_attachment_gets_another_nic(bench: Bench) -> None:
    assert bench.add().mac != bench.add(LeaseKey("pods", "c1", "net1")).mac


@pytest.mark.parametrize("error", [PoolEmpty("x"), Timeout("x")])
def test_no_nic_means_nothing_to_undo(bench: Bench, error: HostnicError) -> None:
    bench.pool.fail["acquire"] = error
    with pytest.raises(type(error)):
        bench.add()
    assert bench.links.calls == []
    assert bench.pool.named("abort", "release") == []


@pytest.mark.parametrize("method", ["vxnet", "gateway"])
def test_a_failure_before_the_move_leaves_the_nic_ready(bench: Bench, method: str) -> None:
    bench.pool.fail[method] = NotFound("x")
    with pytest.raises(NotFound):
        bench.add(conf=NetConf(default_route="gateway"))
    assert bench.pool.named("abort") == [("abort", KEY, False)]
    assert bench.links.calls == []


def test_a_failed_move_brings_the_link_home_and_lets_the_nic_rest(bench: Bench) -> None:
    bench.links.fail["to_pod"] = LinkFailed("the pod has an interface eth0 already")
    with pytest.raises(LinkFailed, match="already"):
        bench.add()
    assert bench.links.calls[-1] == ("from_pod", ONE.nic_id, POD.descriptor, "eth0", 0)
    assert bench.pool.named("abort") == [("abort", KEY, True)]


def test_a_link_that_is_nowhere_breaks_the_nic(bench: Bench) -> None:
    del bench.links.places[ONE.nic_id]
    with pytest.raises(LinkFailed):
        bench.add()
    assert bench.pool.named("abort", "release") == [("release", KEY, False)]
    assert bench.add().mac == TWO.nic_id


def test_a_journal_that_cannot_be_written_undoes_the_move(bench: Bench) -> None:
    bench.pool.fail["commit"] = OSError("disk full")
    with pytest.raises(OSError, match="disk full"):
        bench.add()
    assert bench.links.places[ONE.nic_id] == "parking"
    assert bench.pool.named("abort") == [("abort", KEY, True)]


@pytest.mark.parametrize("trouble", [LinkFailed("busy"), OSError("x")])
def test_what_cannot_be_undone_stays_reserved_for_the_del(bench: Bench, trouble: t.Any) -> None:
    bench.pool.fail["commit"] = NotFound("the first error")
    bench.links.fail["from_pod"] = trouble
    with pytest.raises(NotFound, match="the first error"):
        bench.add()
    assert bench.pool.states() == {ONE.nic_id: State.RESERVED}
    bench.delete()
    assert bench.links.places[ONE.nic_id] == "parking"
    assert bench.pool.leases == {}


# -- ADD, hung up or late ---------------------------------------------------------------------------------------------


def test_who_hangs_up_while_waiting_for_a_nic_gets_none() -> None:
    bench = Bench()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            bench.add(seconds=60)
        except HostnicError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert bench.pool.waiting.wait(10)
    bench.gone.set()
    bench.verbs.poke()
    thread.join(10)
    assert [type(error) for error in caught] == [PoolEmpty]
    assert bench.pool.leases == {}


def test_who_hangs_up_before_the_move_leaves_the_nic_ready(bench: Bench) -> None:
    bench.pool.after_acquire = bench.gone.set
    with pytest.raises(HungUp):
        bench.add()
    assert bench.links.calls == []
    assert bench.pool.named("abort") == [("abort", KEY, False)]


def test_who_hangs_up_during_the_move_has_it_undone(bench: Bench) -> None:
    bench.links.during_move = bench.gone.set
    with pytest.raises(HungUp):
        bench.add()
    assert bench.links.places[ONE.nic_id] == "parking"
    assert bench.pool.named("commit", "abort") == [("abort", KEY, True)]


def test_time_that_ran_out_before_the_move_leaves_the_nic_ready(bench: Bench) -> None:
    deadline = bench.wait().deadline
    bench.verbs = Verbs(bench.pool, bench.links, lambda: deadline)
    with pytest.raises(Timeout):
        bench.verbs.add(call(), NetConf(), POD, Wait(deadline, bench.gone.is_set))
    assert bench.pool.named("abort") == [("abort", KEY, False)]


def test_calls_for_one_attachment_take_turns(bench: Bench) -> None:
    moving, go_on = threading.Event(), threading.Event()

    def linger() -> None:
        moving.set()
        go_on.wait(10)

    bench.links.during_move = linger
    results: list[Attached] = []
    adds = [threading.Thread(target=lambda: results.append(bench.add())) for __ in range(3)]
    adds[0].start()
    assert moving.wait(10)
    for add in adds[1:]:
        add.start()
    with pytest.raises(Timeout, match="worked on pods/c1/eth0"):
        bench.verbs.delete(KEY, POD, 0.0, bench.wait(0.02))
    other = LeaseKey("pods", "c2", "eth0")
    bench.links.during_move = lambda: None
    assert bench.add(other).mac == TWO.nic_id
    go_on.set()
    for add in adds:
        add.join(10)
    assert len(results) == 3
    assert {result.mac for result in results} == {ONE.nic_id}
    assert len([entry for entry in bench.links.calls if entry[:2] == ("to_pod", ONE.nic_id)]) == 1


def test_only_a_few_links_are_moved_at_once() -> None:
    nics = [nic(number) for number in range(1, 31)]
    bench = Bench(*nics)
    bench.links.places = {one.nic_id: "parking" for one in nics}
    full = threading.Event()

    def fill_up() -> None:
        if bench.links.moving == 4:
            full.set()
        full.wait(10)

    bench.links.during_move = fill_up
    threads = [
        threading.Thread(target=bench.add, args=(LeaseKey("pods", f"c{number}", "eth0"),)) for number in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert bench.links.most_moving == 4
    assert set(bench.pool.states().values()) == {State.IN_USE}


def test_who_hangs_up_while_others_are_moved_leaves_the_nic_ready() -> None:
    nics = [nic(number) for number in range(1, 6)]
    bench = Bench(*nics)
    bench.links.places = {one.nic_id: "parking" for one in nics}
    go_on = threading.Event()
    bench.links.during_move = lambda: t.cast(None, go_on.wait(60))
    adds = [threading.Thread(target=bench.add, args=(LeaseKey("pods", f"o{number}", "eth0"),)) for number in range(4)]
    for add in adds:
        add.start()
    eventually(lambda: bench.links.moving == 4)
    caught: list[HostnicError] = []
    gone = threading.Event()

    def wait() -> None:
        try:
            bench.verbs.add(call(), NetConf(), POD, Wait(wire.boottime() + 60, gone.is_set))
        except HungUp as error:
            caught.append(error)

    fifth = threading.Thread(target=wait)
    fifth.start()
    eventually(lambda: bench.verbs._moves._queue)
    gone.set()
    bench.verbs.poke()
    fifth.join(10)
    assert len(caught) == 1
    assert bench.pool.named("abort") == [("abort", KEY, False)]
    go_on.set()
    for add in adds:
        add.join(10)


# -- ADD where a lease stands ------------------------------------------------------------------------------------------


def test_a_reservation_of_an_agent_that_was_killed_is_carried_on(bench: Bench) -> None:
    bench.pool.acquire(KEY, {}, 0.0, lambda: False)
    bench.links.places[ONE.nic_id] = (POD.descriptor, "eth0")
    assert bench.add().mac == ONE.nic_id
    assert bench.links.places[ONE.nic_id] == (POD.descriptor, "eth0")
    assert bench.pool.states() == {ONE.nic_id: State.IN_USE}


def test_a_reservation_without_a_link_is_given_up(bench: Bench) -> None:
    bench.pool.acquire(KEY, {}, 0.0, lambda: False)
    del bench.links.places[ONE.nic_id]
    assert bench.add().mac == TWO.nic_id
    assert bench.pool.states()[ONE.nic_id] is State.BROKEN


def test_an_add_anew_after_its_pod_died_gets_a_nic_of_its_own(bench: Bench) -> None:
    bench.add()
    bench.links.places[ONE.nic_id] = "parking"  # the netns died, the link came home
    assert bench.add(netns=OTHER_POD).mac == TWO.nic_id
    assert bench.pool.states() == {ONE.nic_id: State.QUARANTINE, TWO.nic_id: State.IN_USE}
    assert bench.pool.leases[KEY].netns_inode == OTHER_POD.inode


def test_an_add_anew_where_the_pod_renamed_its_link_gets_a_nic_of_its_own(bench: Bench) -> None:
    bench.add()
    bench.links.places[ONE.nic_id] = (POD.descriptor, "renamed")
    assert bench.add().mac == TWO.nic_id
    assert bench.links.places[ONE.nic_id] == "parking"


def test_an_attachment_that_lives_in_another_netns_is_left_alone(bench: Bench) -> None:
    bench.add()
    with pytest.raises(CniError, match="DEL it there first") as caught:
        bench.add(netns=OTHER_POD)
    assert caught.value.code == HELD_ELSEWHERE
    assert bench.pool.states() == {ONE.nic_id: State.IN_USE}
    assert bench.links.places[ONE.nic_id] == (POD.descriptor, "eth0")


def test_a_lease_of_a_nic_that_is_not_ours_any_more_is_dropped(bench: Bench) -> None:
    bench.pool.leases[KEY] = Lease("pods", "c1", "eth0", "52:54:00:00:00:99", 0.0)
    assert bench.add().mac == ONE.nic_id


# -- DEL --------------------------------------------------------------------------------------------------------------


def test_del_takes_the_nic_back(bench: Bench) -> None:
    bench.add()
    bench.delete()
    assert bench.links.calls[-1] == ("from_pod", ONE.nic_id, POD.descriptor, "eth0", 7)
    assert bench.pool.named("release") == [("release", KEY, True)]


@pytest.mark.parametrize("netns", [POD, None])
def test_del_of_what_is_not_known_does_nothing(bench: Bench, netns: t.Optional[Netns]) -> None:
    bench.delete(netns=netns)
    assert bench.pool.calls == []
    assert bench.links.calls == []


def test_del_twice_does_it_once(bench: Bench) -> None:
    bench.add()
    bench.delete()
    bench.delete()
    assert len(bench.pool.named("release")) == 1


def test_del_without_a_netns_finds_a_link_that_came_home(bench: Bench) -> None:
    bench.add()
    bench.links.places[ONE.nic_id] = "parking"
    bench.delete(netns=None)
    assert bench.links.calls[-1] == ("from_pod", ONE.nic_id, None, "eth0", 0)
    assert bench.pool.states() == {ONE.nic_id: State.QUARANTINE}


def test_del_in_another_netns_than_the_leases_trusts_the_mac_only(bench: Bench) -> None:
    bench.add()
    bench.links.places[ONE.nic_id] = "parking"
    bench.delete(netns=OTHER_POD)
    assert bench.links.calls[-1] == ("from_pod", ONE.nic_id, OTHER_POD.descriptor, "eth0", 0)


def test_del_of_a_link_that_is_nowhere_succeeds_and_breaks_the_nic(bench: Bench) -> None:
    bench.add()
    del bench.links.places[ONE.nic_id]
    bench.delete()
    assert bench.pool.states() == {ONE.nic_id: State.BROKEN}
    assert bench.pool.leases == {}


def test_a_link_that_the_kernel_does_not_let_go_keeps_its_lease(bench: Bench) -> None:
    bench.add()
    bench.links.fail["from_pod"] = LinkFailed("device or resource busy")
    with pytest.raises(LinkFailed):
        bench.delete()
    assert bench.pool.states() == {ONE.nic_id: State.IN_USE}
    bench.delete()
    assert bench.pool.states() == {ONE.nic_id: State.QUARANTINE}


def test_a_del_from_before_the_lease_does_not_end_it(bench: Bench) -> None:
    before = wire.boottime()
    eventually(lambda: wire.boottime() > before)
    bench.add()
    bench.delete(asked_at=before)
    assert bench.pool.states() == {ONE.nic_id: State.IN_USE}
    eventually(lambda: wire.boottime() > bench.pool.leases[KEY].since)
    bench.delete(asked_at=wire.boottime())
    assert bench.pool.states() == {ONE.nic_id: State.QUARANTINE}


# -- a NIC that was found in its netns, its journal lost --------------------------------------------------------------


@pytest.fixture
def found(bench: Bench) -> Bench:
    """NIC ONE is in the pod's netns, under a stand-in for the lease that was lost."""
    stand_in = Lease("", f"netns-{POD.inode}", "eth0", ONE.nic_id, wire.boottime(), POD.inode, 7)
    bench.pool.forgotten[(POD.inode, "eth0")] = stand_in
    bench.pool.nics[ONE.nic_id] = replace(ONE, state=State.IN_USE)
    bench.links.places[ONE.nic_id] = (POD.descriptor, "eth0")
    bench.links.pods[ONE.nic_id] = PodLink("eth0", "172.16.1.101/24", (ROUTER_ROUTE,))
    return bench


def test_add_takes_over_what_was_found_in_its_netns(found: Bench) -> None:
    assert found.add().mac == ONE.nic_id
    assert found.pool.leases[KEY].args == {"K8S_POD_NAME": "p"}
    assert found.pool.named("acquire", "commit") == []
    assert found.pool.forgotten == {}
    assert found.add().mac == ONE.nic_id


@pytest.mark.parametrize(("key", "netns"), [(KEY, OTHER_POD), (LeaseKey("pods", "c1", "net1"), POD)])
def test_add_elsewhere_takes_over_nothing(found: Bench, key: LeaseKey, netns: Netns) -> None:
    found.pool.supply.remove(ONE)
    assert found.add(key, netns=netns).mac == TWO.nic_id
    assert len(found.pool.forgotten) == 1


def test_add_of_an_attachment_that_has_a_lease_takes_over_nothing(found: Bench) -> None:
    found.pool.leases[KEY] = Lease("pods", "c1", "eth0", TWO.nic_id, 0.0)
    found.pool.nics[TWO.nic_id] = replace(TWO, state=State.IN_USE)
    del found.links.places[TWO.nic_id]
    with pytest.raises(CniError, match="DEL it there first"):
        found.add()
    assert len(found.pool.forgotten) == 1


def test_del_gives_back_what_was_found_in_its_netns(found: Bench) -> None:
    found.delete()
    assert found.links.places[ONE.nic_id] == "parking"
    assert found.links.calls == [("from_pod", ONE.nic_id, POD.descriptor, "eth0", 7)]
    assert found.pool.named("release") == [("release", KEY, True)]
    assert (found.pool.forgotten, found.pool.leases) == ({}, {})


def test_a_del_that_is_older_than_the_stand_in_ends_it_all_the_same(found: Bench) -> None:
    found.delete(asked_at=1.0)
    assert found.links.places[ONE.nic_id] == "parking"


@pytest.mark.parametrize("netns", [OTHER_POD, None])
def test_del_elsewhere_gives_nothing_back(found: Bench, netns: t.Optional[Netns]) -> None:
    found.delete(netns=netns)
    assert found.links.calls == []
    assert len(found.pool.forgotten) == 1
