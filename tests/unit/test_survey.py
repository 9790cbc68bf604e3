# SPDX-License-Identifier: GPL-3.0-or-later
"""What the survey of links makes of a link that strayed, came back, or is nowhere."""

from __future__ import annotations

import typing as t

import pytest

from hostnic.config import Settings
from hostnic.errors import LinkFailed
from hostnic.model import GATEWAY, Lease, LeaseKey, Link, Nic, PodLink, PodPlace
from hostnic.pool import Pool
from hostnic.states import State
from hostnic.store.memory import MemoryStore
from hostnic.survey import Survey
from hostnic.table import Table
from tests.support.memory_kernel import MemoryKernel

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
KEY = LeaseKey("net", "a", "eth0")
ANOTHER = LeaseKey("net", "b", "eth0")
POD = 7
IDLE = [State.DETACHED, State.ATTACHING, State.READY, State.QUARANTINE, State.HELD, State.DRAINING, State.DETACHING]
MUST_HAVE_A_LINK = [State.READY, State.QUARANTINE, State.HELD, State.DRAINING]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Kernel(MemoryKernel):
    """`meanwhile` and `while_looking` happen between a look and its answer; `unreadable`: a netns cannot be read."""

    def __init__(self) -> None:
        super().__init__("node1")
        self.meanwhile: t.Callable[[], object] = lambda: None
        self.while_looking: t.Callable[[], object] = lambda: None
        self.unreadable = False
        self.looks: list[set[str]] = []
        self.parked: list[str] = []

    def put(self, place: str, mac: str = MAC, name: str = "eth5") -> None:
        self.links[mac] = Link(mac, name, 5, place)

    def list(self) -> list[Link]:
        listed = super().list()
        self.meanwhile()
        return listed

    def park(self, mac: str) -> Link:
        self.parked.append(mac)
        return super().park(mac)

    def in_netns(self, macs: t.Collection[str]) -> dict[str, PodPlace]:
        self.looks.append(set(macs))
        found = super().in_netns(macs)
        self.while_looking()
        if self.unreadable:
            raise LinkFailed("a network namespace cannot be read")
        return found


class Host:
    """A table, its pool and a kernel without links; NICs stand in it as a restarted agent finds them."""

    def __init__(self, *nics: Nic, lease: t.Optional[Lease] = None, **settings: t.Any) -> None:
        self.clock = Clock()
        store = MemoryStore()
        store.bind("boot-1", "i-1")
        store.write(put=[*nics, *([lease] if lease else [])])
        self.table = Table(store, self.clock)
        self.table.open("boot-1", "i-1")
        self.kernel = Kernel()
        self.pool = Pool(Settings(vxnet=("vxnet-a",), **settings), self.table, self.kernel, self.clock, lambda: None)
        self.survey = Survey(self.table, self.kernel, self.pool, self.clock)

    def state(self, mac: str = MAC) -> State:
        nic = self.table.nic(mac)
        assert nic
        return nic.state

    def place(self, mac: str = MAC) -> str:
        return self.kernel.links[mac].place

    def find_lost(self) -> frozenset[str]:
        self.clock.now += 30.0
        return self.survey.find_lost(self.survey.run())


def nic(state: State, mac: str = MAC, **fields: t.Any) -> Nic:
    return Nic(mac, "vxnet-a", f"172.16.1.{int(mac[-2:], 16)}", state, 900.0, **fields)


def leased(state: State, since: float = 900.0) -> Host:
    lease = Lease(KEY.network, KEY.container_id, KEY.ifname, MAC, since, netns_inode=POD, ifindex=5)
    return Host(nic(state), lease=lease)


# -- strayed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*IDLE, State.BROKEN])
def test_a_link_that_strayed_to_the_host_is_parked(state: State) -> None:
    host = Host(nic(state))
    host.kernel.put("host")
    links = host.survey.run()
    assert (host.place(), host.state()) == ("parking", state)
    assert links[MAC].place == "parking"


def test_a_link_that_is_parked_is_left_alone() -> None:
    host = Host(nic(State.READY))
    host.kernel.put("parking")
    host.survey.run()
    assert host.kernel.parked == []


@pytest.mark.parametrize("state", [State.GATEWAY, State.ATTACHING, State.DRAINING, State.BROKEN])
def test_a_gateways_link_stays_on_the_host(state: State) -> None:
    host = Host(nic(state, purpose=GATEWAY))
    host.kernel.put("host", name="qg525400000001")
    host.survey.run()
    assert (host.place(), host.state()) == ("host", state)


def test_a_link_that_is_not_ours_is_left_alone() -> None:
    host = Host(nic(State.READY))
    host.kernel.put("host", "52:54:00:ff:ff:ff")
    assert "52:54:00:ff:ff:ff" in host.survey.run()
    assert host.kernel.parked == []


def test_a_link_that_the_kernel_will_not_move_holds_up_no_other() -> None:
    host = Host(nic(State.READY), nic(State.READY, OTHER))
    host.kernel.put("host", MAC)
    host.kernel.put("host", OTHER)
    host.kernel.stubborn.add(MAC)
    links = host.survey.run()
    assert (host.place(MAC), host.place(OTHER)) == ("host", "parking")
    assert links[MAC].place == "host"


def test_a_link_that_went_into_a_pod_since_it_was_listed_is_left_there() -> None:
    host = Host(nic(State.READY))
    host.kernel.put("host")
    host.kernel.meanwhile = lambda: host.kernel.put(f"pod:{POD}")
    host.survey.run()
    assert host.place() == f"pod:{POD}"


# -- came back --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["host", "parking"])
def test_a_pods_link_that_came_back_ends_the_lease(place: str) -> None:
    host = leased(State.IN_USE)
    host.kernel.put(place)
    links = host.survey.run()
    assert (host.table.leases(), host.state(), host.place()) == ([], State.QUARANTINE, "parking")
    assert links[MAC].place == "parking"


def test_a_pods_link_that_cannot_be_parked_keeps_its_lease_until_it_can() -> None:
    host = leased(State.IN_USE)
    host.kernel.put("host")
    host.kernel.stubborn.add(MAC)
    host.survey.run()
    assert (host.state(), len(host.table.leases())) == (State.IN_USE, 1)
    host.kernel.stubborn.clear()
    host.survey.run()
    assert (host.state(), host.table.leases()) == (State.QUARANTINE, [])


def test_an_add_that_ended_after_the_listing_keeps_its_nic() -> None:
    host = leased(State.RESERVED)
    host.kernel.put("parking")

    def add_ends() -> None:
        host.kernel.to_pod(MAC, POD, PodLink("eth0", "172.16.1.1/24"))
        host.pool.commit(KEY, POD, 5)

    host.kernel.meanwhile = add_ends
    host.survey.run()
    assert (host.state(), host.place(), len(host.table.leases())) == (State.IN_USE, f"pod:{POD}", 1)


@pytest.mark.parametrize("committed", [False, True])
def test_a_listing_from_before_a_lease_does_not_end_it(committed: bool) -> None:
    lease = Lease(KEY.network, KEY.container_id, KEY.ifname, MAC, 900.0)
    host = Host(nic(State.IN_USE), lease=lease, quarantine_min=0.0)
    host.kernel.put("host")  # its pod has died

    def next_pod() -> None:
        host.kernel.meanwhile = lambda: None
        host.kernel.from_pod(MAC, None, "eth0", 0)
        host.pool.release(KEY, returned=True)
        host.pool.cleaned(host.pool.uncleaned()[0])
        host.clock.now += 0.001
        host.pool.acquire(ANOTHER, {}, host.clock.now, lambda: False)
        if committed:
            host.pool.commit(ANOTHER, POD, 5)

    host.kernel.meanwhile = next_pod
    host.survey.run()
    assert [held.attachment for held in host.table.leases()] == [ANOTHER]
    assert host.state() is (State.IN_USE if committed else State.RESERVED)


def test_a_reserved_nic_waits_in_parking_for_its_add() -> None:
    host = leased(State.RESERVED)
    host.kernel.put("parking")
    host.survey.run()
    assert (host.state(), len(host.table.leases())) == (State.RESERVED, 1)


@pytest.mark.parametrize("place", ["parking", "host"])
def test_at_start_no_add_is_under_way(place: str) -> None:
    host = leased(State.RESERVED)
    host.kernel.put(place)
    host.survey.run(starting=True)
    assert (host.state(), host.place(), host.table.leases()) == (State.QUARANTINE, "parking", [])


def test_a_reserved_nic_on_the_host_was_in_a_pod_that_died() -> None:
    host = leased(State.RESERVED)
    host.kernel.put("host")
    host.survey.run()
    assert (host.state(), host.place(), host.table.leases()) == (State.QUARANTINE, "parking", [])


def test_a_reserved_nic_whose_link_is_in_its_pod_is_left_to_the_runtime() -> None:
    host = leased(State.RESERVED)
    host.kernel.put(f"pod:{POD}")
    host.survey.run(starting=True)
    assert (host.state(), host.place()) == (State.RESERVED, f"pod:{POD}")


# -- at start, against a damaged journal -------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*IDLE, State.BROKEN])
def test_at_start_a_nic_that_sits_in_a_pod_is_that_pods_whatever_the_journal_says(state: State) -> None:
    host = Host(nic(state))
    host.kernel.put(f"pod:{POD}", name="eth0")
    host.survey.run(starting=True)
    assert host.state() is State.IN_USE
    assert host.pool.found_in(POD, "eth0")


def test_later_on_a_nic_whose_link_is_missed_is_broken_before_its_pod_is_found() -> None:
    host = Host(nic(State.READY))
    host.kernel.put(f"pod:{POD}", name="eth0")
    host.survey.run()
    assert host.kernel.looks == []
    host.find_lost()
    assert host.find_lost() == frozenset()
    assert host.state() is State.IN_USE


def test_at_start_a_link_that_is_nowhere_is_missed_at_once() -> None:
    host = Host(nic(State.READY))
    host.survey.run(starting=True)
    assert host.state() is State.BROKEN


def test_at_start_a_netns_that_cannot_be_read_hands_nothing_out() -> None:
    host = Host(nic(State.READY))
    host.kernel.put(f"pod:{POD}", name="eth0")
    host.kernel.unreadable = True
    host.survey.run(starting=True)
    assert host.state() is State.BROKEN
    host.kernel.unreadable = False
    host.find_lost()
    assert host.state() is State.IN_USE


def test_at_start_a_pods_nic_with_its_lease_stays_as_it_is() -> None:
    host = leased(State.IN_USE)
    host.kernel.put(f"pod:{POD}")
    host.survey.run(starting=True)
    assert host.kernel.looks == []
    assert [held.attachment for held in host.table.leases()] == [KEY]


@pytest.mark.parametrize("state", [State.GATEWAY, State.ATTACHING])
def test_at_start_a_gateway_is_no_pods(state: State) -> None:
    host = Host(nic(state, purpose=GATEWAY))
    host.kernel.put(f"pod:{POD}", name="eth0")
    host.survey.run(starting=True)
    assert host.state() in (state, State.BROKEN)
    assert host.table.leases() == []


# -- missing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "purpose"), [*((s, "pool") for s in MUST_HAVE_A_LINK), (State.GATEWAY, GATEWAY)])
def test_a_link_that_is_missing_twice_breaks_its_nic(state: State, purpose: str) -> None:
    host = Host(nic(state, purpose=purpose))
    host.survey.run()
    assert host.state() is state
    host.survey.run()
    assert host.state() is State.BROKEN


def test_a_link_that_is_seen_in_between_is_not_missing() -> None:
    host = Host(nic(State.READY))
    for __ in range(3):
        host.survey.run()
        host.kernel.put("parking")
        host.survey.run()
        host.kernel.links.clear()
    assert host.state() is State.READY


@pytest.mark.parametrize("state", [State.DETACHED, State.ATTACHING, State.DETACHING, State.BROKEN])
def test_a_nic_that_is_not_attached_for_sure_may_be_without_a_link(state: State) -> None:
    host = Host(nic(state))
    for __ in range(3):
        host.survey.run()
    assert host.state() is state


@pytest.mark.parametrize("state", [State.RESERVED, State.IN_USE])
def test_a_pods_link_is_never_missed_on_the_host(state: State) -> None:
    host = leased(state)
    for __ in range(3):
        host.survey.run()
    assert host.state() is state


def test_a_nic_that_was_reserved_since_the_listing_is_not_broken() -> None:
    host = Host(nic(State.READY))
    host.survey.run()
    host.kernel.meanwhile = lambda: host.pool.acquire(KEY, {}, host.clock.now, lambda: False)
    host.survey.run()
    assert host.state() is State.RESERVED


# -- nowhere ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.RESERVED, State.IN_USE])
def test_two_looks_that_find_a_pods_link_nowhere_end_its_lease(state: State) -> None:
    host = leased(state)
    assert host.find_lost() == {MAC}
    assert (host.state(), len(host.table.leases())) == (state, 1)
    assert host.find_lost() == {MAC}
    assert (host.state(), host.table.leases()) == (State.BROKEN, [])


def test_a_link_that_is_in_its_pod_is_not_lost() -> None:
    host = leased(State.IN_USE)
    host.kernel.put(f"pod:{POD}")
    assert [host.find_lost() for __ in range(3)] == [frozenset()] * 3
    assert host.state() is State.IN_USE


def test_a_link_that_is_found_in_between_is_not_lost() -> None:
    host = leased(State.IN_USE)
    for __ in range(2):
        assert host.find_lost() == {MAC}
        host.kernel.put(f"pod:{POD}")
        assert host.find_lost() == frozenset()
        host.kernel.links.clear()
    assert host.state() is State.IN_USE


def test_where_a_netns_cannot_be_read_nothing_is_lost() -> None:
    host = leased(State.IN_USE)
    host.kernel.unreadable = True
    for __ in range(3):
        with pytest.raises(LinkFailed):
            host.find_lost()
    assert (host.state(), len(host.table.leases())) == (State.IN_USE, 1)


def test_a_look_that_failed_counts_for_nothing() -> None:
    host = leased(State.IN_USE)
    host.kernel.unreadable = True
    with pytest.raises(LinkFailed):
        host.find_lost()
    host.kernel.unreadable = False
    host.find_lost()
    assert host.state() is State.IN_USE


def test_a_lease_that_is_younger_than_the_look_stays() -> None:
    host = Host(
        nic(State.IN_USE), lease=Lease(KEY.network, KEY.container_id, KEY.ifname, MAC, 900.0), quarantine_min=0.0
    )
    host.find_lost()

    def next_pod() -> None:
        host.pool.release(KEY, returned=True)
        host.pool.cleaned(host.pool.uncleaned()[0])
        host.clock.now += 0.001
        host.pool.acquire(ANOTHER, {}, host.clock.now, lambda: False)

    host.kernel.while_looking = next_pod
    host.find_lost()
    assert [held.attachment for held in host.table.leases()] == [ANOTHER]
    assert host.state() is State.RESERVED


def test_a_del_during_the_look_lets_the_nic_rest() -> None:
    host = leased(State.IN_USE)
    host.find_lost()
    host.kernel.while_looking = lambda: host.pool.release(KEY, returned=True)
    host.find_lost()
    assert host.state() is State.QUARANTINE


def test_a_broken_nic_is_told_where_no_netns_has_it() -> None:
    host = Host(nic(State.BROKEN))
    assert host.find_lost() == {MAC}
    assert host.state() is State.BROKEN


def test_a_broken_nic_that_is_found_in_a_pod_is_that_pods() -> None:
    host = Host(nic(State.BROKEN))
    host.kernel.put(f"pod:{POD}", name="eth0")
    assert host.find_lost() == frozenset()
    assert host.state() is State.IN_USE
    found = host.pool.found_in(POD, "eth0")
    assert found and (found.nic_id, found.netns_inode, found.ifindex) == (MAC, POD, 5)
    host.kernel.put("host")
    host.clock.now += 1.0
    host.survey.run()
    assert (host.state(), host.table.leases()) == (State.QUARANTINE, [])


def test_no_netns_is_visited_where_nothing_is_missing() -> None:
    host = Host(nic(State.READY), nic(State.BROKEN, OTHER))
    host.kernel.put("parking", MAC)
    host.kernel.put("parking", OTHER)
    assert host.find_lost() == frozenset()
    assert host.kernel.looks == []


# -- resting ----------------------------------------------------------------------------------------------------------


def test_an_address_is_forgotten_once_for_each_rest() -> None:
    host = leased(State.IN_USE)
    host.kernel.put("host")
    host.survey.run()
    host.survey.run()
    assert host.kernel.flushed == ["172.16.1.1"]


def test_an_address_that_cannot_be_forgotten_is_tried_again_and_holds_up_no_other() -> None:
    host = Host(nic(State.QUARANTINE), nic(State.QUARANTINE, OTHER))
    host.kernel.put("parking", MAC)
    host.kernel.put("parking", OTHER)
    host.kernel.unforgettable.add("172.16.1.1")
    host.survey.run()
    assert [dirty.nic_id for dirty in host.pool.uncleaned()] == [MAC]
    host.kernel.unforgettable.clear()
    host.survey.run()
    assert host.kernel.flushed == ["172.16.1.2", "172.16.1.1"]
