# SPDX-License-Identifier: GPL-3.0-or-later
"""What people order of the pool: decided by the plan, carried out on a node without a machine, asked by socket."""

from __future__ import annotations

import json
import os
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from hostnic import operate, wire
from hostnic.agent import questions
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.cni import spec
from hostnic.cni.netconf import NetConf
from hostnic.cni.verbs import Verbs
from hostnic.commands import cli
from hostnic.config import Settings
from hostnic.errors import Busy, HostnicError, InvalidConfig, NotFound
from hostnic.model import GATEWAY, POOL, LeaseKey, Nic, Waiter
from hostnic.orders import PATIENCE
from hostnic.plan import SWEEP_AFTER, YOUNG, Attach, Create, Drain, Keep, LetGo, plan
from hostnic.sizing import DRAINING, Snapshot
from hostnic.states import State
from hostnic.store.sqlite import SqliteStore
from tests.emulator import Settings as CloudSettings
from tests.lab.wait import until
from tests.support.node import INSTANCE, Node

NOW = 1000.0
SETTINGS = Settings(vxnet=("vxnet-a", "vxnet-b"), pool_low=3, pool_high=5)
POOL_NAME = f"qingcni_{INSTANCE}"


def nics(state: State, count: int, vxnet_id: str = "vxnet-a", age: float = 0.0, **fields: t.Any) -> list[Nic]:
    first = f"52:54:00:{list(State).index(state):02x}:{ord(vxnet_id[-1]):02x}"
    return [Nic(f"{first}:{n:02x}", vxnet_id, "", state, NOW - age, **fields) for n in range(count)]


def decide(*groups: list[Nic], **fields: t.Any) -> t.Any:
    fields.setdefault("vxnets", ("vxnet-a", "vxnet-b"))
    return plan(Snapshot(tuple(nic for group in groups for nic in group), **fields), SETTINGS, NOW)


def ids(group: list[Nic]) -> tuple[str, ...]:
    return tuple(nic.nic_id for nic in group)


# -- the plan: so many free NICs --------------------------------------------------------------------------------------


def test_an_order_holds_the_warm_pool_within_it() -> None:
    assert decide(ordered={"": 10}).actions == (Create("vxnet-a", 10),)
    assert decide(ordered={"": 2}).actions == (Create("vxnet-a", 3),)


def test_an_order_for_a_vxnet_is_made_there() -> None:
    assert decide(ordered={"vxnet-b": 4}).actions == (Create("vxnet-a", 3), Create("vxnet-b", 4))
    assert decide(ordered={"vxnet-b": 4, "": 6}).actions == (Create("vxnet-a", 3), Create("vxnet-b", 4))


def test_what_is_ready_resting_or_on_its_way_counts_and_is_kept() -> None:
    there = [*nics(State.READY, 3), *nics(State.QUARANTINE, 2), *nics(State.ATTACHING, 2), *nics(State.DETACHED, 1)]
    decided = decide(there, ordered={"": 10})
    assert [one for one in decided.actions if isinstance(one, Create)] == [Create("vxnet-a", 2)]
    assert [sorted(one.nic_ids) for one in decided.actions if isinstance(one, Keep)] == [sorted(ids(there))]


def test_no_more_are_kept_than_were_ordered_and_those_that_are_stay() -> None:
    kept, others = nics(State.READY, 2, prewarmed=True), nics(State.READY, 4, "vxnet-b", age=60)
    (keep,) = decide(kept, others, ordered={"": 3}).actions
    assert keep == Keep(ids(others[:1]))
    assert decide(nics(State.READY, 4, prewarmed=True), ordered={"": 3}).actions == ()


def test_a_waiting_pod_comes_before_an_order() -> None:
    decided = decide(nics(State.READY, 4), waiting=(Waiter(),) * 2, ordered={"": 4})
    assert [one for one in decided.actions if isinstance(one, Create)] == [Create("vxnet-a", 2)]


def test_nobody_has_to_make_room_for_an_order() -> None:
    full = decide(nics(State.IN_USE, 55), nics(State.READY, 5), ordered={"vxnet-b": 4, "": 9})
    assert [type(one) for one in full.actions] == [Keep]


def test_an_order_does_not_grow_beyond_the_cap() -> None:
    assert decide(nics(State.IN_USE, 50), ordered={"": 30}).actions == (Create("vxnet-a", 10),)


def test_an_order_is_told() -> None:
    assert decide(ordered={"": 7}).reasons.ordered == 7


# -- the plan: what a person gives back -------------------------------------------------------------------------------


def test_what_is_given_back_is_withdrawn_wherever_it_is() -> None:
    ready, free = nics(State.READY, 4), nics(State.DETACHED, 1)
    decided = decide(ready, free, unwanted=frozenset(ids(ready[:1]) + ids(free)))
    assert Drain(ids(ready[:1]) + ids(free)) in decided.actions
    assert not [one for one in decided.actions if isinstance(one, Attach)]


# -- the plan: draining -----------------------------------------------------------------------------------------------


def test_a_pool_that_drains_withdraws_all_that_is_free_and_makes_nothing() -> None:
    ready, free, held = nics(State.READY, 2, prewarmed=True), nics(State.DETACHED, 2), nics(State.HELD, 1, keep=600.0)
    decided = decide(
        ready, free, held, nics(State.IN_USE, 2), waiting=(Waiter(),), ordered={"": 9}, gateways=frozenset(["vxnet-b"]),
        draining=True,
    )  # fmt: skip
    assert decided.actions == (LetGo(ids(held)), Drain(ids(ready) + ids(free)))
    assert DRAINING in decided.reasons.bounds


def test_a_gateway_nic_goes_with_the_last_pod() -> None:
    gateway = nics(State.GATEWAY, 1, age=YOUNG, purpose=GATEWAY)
    pods = {"gateways": frozenset(["vxnet-a"]), "draining": True}
    assert decide(gateway, nics(State.IN_USE, 1), **pods).actions == ()
    assert decide(gateway, nics(State.BROKEN, 1), **pods).actions == ()
    assert decide(gateway, nics(State.IN_USE, 1, "vxnet-b"), **pods).actions == (Drain(ids(gateway)),)
    young = nics(State.GATEWAY, 1, age=YOUNG - 1, purpose=GATEWAY)
    assert decide(young, **pods).actions == ()
    assert YOUNG < SWEEP_AFTER


# -- on a node --------------------------------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path: Path) -> t.Iterator[Node]:
    with Node(tmp_path, pool_high=5, quarantine=20.0, idle_ttl=60.0) as node:
        node.run(10)
        yield node


def ready(node: Node) -> list[Nic]:
    return [nic for nic in node.engine.table.nics(State.READY) if nic.purpose == POOL]


def test_so_many_nics_become_ready_and_stay_although_nobody_needs_them(node: Node) -> None:
    told = operate.warm(node.engine, 9)
    assert (told["missing"], len(told["before"]), told["changed"]) == (6, 3, True)
    node.run(10)
    assert len(ready(node)) == 9
    assert operate.warm(node.engine, 9)["changed"] is False
    node.run(600)
    assert len(ready(node)) == 9
    assert node.engine.orders.ordered() == {}


def test_what_is_ordered_is_ordered_once(node: Node) -> None:
    """Pods use them up, and the pool goes on as usual."""
    operate.warm(node.engine, 6)
    node.run(10)
    for number in range(6):
        node.add(f"pod{number}", number)
    node.run(30)
    assert len(node.in_cloud()) <= 6 + 5


def test_only_to_tell_changes_nothing_and_tells_what_is_then_done(node: Node) -> None:
    orders = (partial(operate.warm, node.engine, 8, "vxnet-pods002"), partial(operate.drain, node.engine))
    told = [order(check=True) for order in orders]
    calls = node.calls("CreateNics")
    node.run(30)
    assert (len(node.in_cloud()), node.calls("CreateNics")) == (3, calls)
    assert [order() for order in orders] == told
    assert all(one["changed"] and one["actions"] for one in told)


def test_an_order_that_cannot_be_had_is_forgotten(tmp_path: Path) -> None:
    with Node(tmp_path, max_nics=4) as node:
        node.run(10)
        operate.warm(node.engine, 9)
        node.run(10)
        assert len(ready(node)) == 4
        assert node.explain()["ordered"] == 9
        node.run(PATIENCE + 120)
        assert node.explain()["ordered"] == 0


def test_trimming_gives_back_what_pods_and_pool_low_do_not_need(node: Node) -> None:
    assert operate.trim(node.engine)["changed"] is False
    operate.warm(node.engine, 9)
    node.add("a", 1)
    node.run(10)
    told = operate.trim(node.engine)
    assert [action["action"] for action in told["actions"]] == ["drain"]
    node.run(20)
    assert node.states() == {State.READY: 3, State.IN_USE: 1}
    assert len(node.in_cloud()) == 4
    assert operate.trim(node.engine)["changed"] is False


def test_a_drained_node_holds_what_pods_have_and_nothing_else(node: Node) -> None:
    kept = node.add("a", 1)
    node.add("b", 2)
    node.delete("b")
    assert operate.drain(node.engine)["changed"] is True
    node.run(60)
    assert node.in_cloud() == {kept.nic_id: "in-use"}
    assert operate.drain(node.engine)["changed"] is False
    node.start_agent()
    node.run(120)
    assert node.in_cloud() == {kept.nic_id: "in-use"}
    assert node.explain()["draining"] is True
    node.delete("a")
    node.run(60)
    assert node.in_cloud() == {}
    assert operate.resume(node.engine)["changed"] is True
    node.run(30)
    assert node.states() == {State.READY: 3}
    assert operate.resume(node.engine)["changed"] is False


def test_pods_are_evicted_but_for_one_whose_add_is_under_way(node: Node) -> None:
    """That would still move its NIC into the pod; it is asked again once the pod has it."""
    node.add("a", 1)
    key = LeaseKey("net", "b", "eth0")
    coming, __ = node.pool.acquire(key, {}, node.clock.now(), lambda: False)
    assert operate.drain(node.engine, evict=True)["changed"] is True
    assert [lease.container_id for lease in node.engine.table.leases()] == ["b"]
    assert node.engine.table.nic(coming.nic_id).state is State.RESERVED
    node.pool.commit(key, 7, 7)
    assert operate.drain(node.engine, evict=True)["changed"] is True
    assert node.engine.table.leases() == []


def test_the_gateway_nic_of_a_drained_node_goes_after_its_last_pod(node: Node) -> None:
    with pytest.raises(HostnicError):
        node.pool.gateway("vxnet-pods001", node.clock.now(), lambda: False)
    node.run(10)
    kept = node.add("a", 1)
    (gateway,) = node.engine.table.nics(State.GATEWAY)
    operate.drain(node.engine)
    node.run(200)
    assert set(node.in_cloud()) == {kept.nic_id, gateway.nic_id}
    node.delete("a")
    node.run(100)
    assert node.in_cloud() == {}


def test_nics_that_somebody_makes_for_a_drained_node_go_too(node: Node) -> None:
    operate.drain(node.engine)
    node.run(30)
    node.cloud.create_nics("vxnet-pods001", 2, POOL_NAME)
    operate.look(node.engine)
    node.run(120)
    assert node.in_cloud() == {}


def test_no_pod_starts_on_a_drained_node(node: Node) -> None:
    kept = node.add("a", 1)
    operate.drain(node.engine)
    with pytest.raises(Busy, match="this node is drained: .*qingagent resume") as refused:
        node.add("b", 2)
    assert spec.code_of(refused.value) == 11
    again = node.pool.acquire(LeaseKey("net", "a", "eth0"), {}, node.clock.now(), lambda: False)
    assert again == (node.engine.table.nic(kept.nic_id), True)
    assert node.pool.unable().message == refused.value.message
    with pytest.raises(Busy, match="drained"):
        node.pool.gateway("vxnet-pods001", node.clock.now(), lambda: False)
    with pytest.raises(Busy, match="drained"):
        operate.warm(node.engine, 9)
    verbs = Verbs(node.pool, node.kernel, node.clock.now)
    with pytest.raises(spec.CniError, match="drained") as unavailable:
        verbs.status(NetConf())
    assert unavailable.value.code == 50
    operate.resume(node.engine)
    node.run(30)
    assert node.pool.unable() is None
    assert node.add("b", 2)


def test_an_add_that_waits_is_told_at_once_that_the_node_is_drained(tmp_path: Path) -> None:
    given_up = threading.Event()
    with Node(tmp_path) as node, ThreadPoolExecutor() as threads:
        key, deadline = LeaseKey("net", "a", "eth0"), node.clock.now() + 3600.0
        waits = threads.submit(node.pool.acquire, key, {}, deadline, given_up.is_set)
        until(lambda: bool(node.pool.waiting()), 5, "an ADD that waits")
        operate.drain(node.engine)
        try:
            with pytest.raises(Busy, match="drained"):
                waits.result(timeout=10)
        finally:
            given_up.set()
            node.pool.poke()


def test_a_drain_is_in_the_journal(tmp_path: Path) -> None:
    with Node(tmp_path, store=SqliteStore(tmp_path)) as node:
        operate.drain(node.engine)
        node.engine.close()
        node.store = SqliteStore(tmp_path)
        node.start_agent()
        assert node.explain()["draining"] is True
        node.engine.close()


def test_exactly_those_that_are_named_go(node: Node) -> None:
    one, two, __ = ready(node)
    told = operate.give_back(node.engine, [one.nic_id.upper(), two.nic_id])
    assert told["actions"] == [{"action": "drain", "nic_ids": (one.nic_id, two.nic_id)}]
    node.run(20)
    assert not {one.nic_id, two.nic_id} & set(node.in_cloud())
    assert len(ready(node)) == 3


def test_a_free_nic_is_given_back_at_once(tmp_path: Path) -> None:
    with Node(tmp_path, cloud=CloudSettings(nics_per_instance=4)) as node:
        node.run(10)
        (made,) = node.cloud.create_nics("vxnet-pods001", 1, POOL_NAME)
        node.run(60)
        assert node.engine.table.nic(made.nic_id).state is State.DETACHED
        operate.give_back(node.engine, [made.nic_id])
        node.run(20)
        assert made.nic_id not in node.in_cloud()
        assert len(ready(node)) == 3


def test_one_nic_that_may_not_go_and_none_goes(node: Node) -> None:
    pods = node.add("a", 1)
    other, *__ = ready(node)
    with pytest.raises(InvalidConfig, match=f"NIC {pods.nic_id} is used by net/a/eth0"):
        operate.give_back(node.engine, [other.nic_id, pods.nic_id])
    with pytest.raises(NotFound, match="no NIC 52:54:00:00:00:ff"):
        operate.give_back(node.engine, [other.nic_id, "52:54:00:00:00:ff"])
    node.delete("a")
    with pytest.raises(InvalidConfig, match="is QUARANTINE and not idle"):
        operate.give_back(node.engine, [other.nic_id, pods.nic_id])
    node.run(5)
    assert other.nic_id in node.in_cloud()


def test_after_a_look_a_nic_that_was_made_for_us_is_taken_in_as_soon_as_may_be(node: Node) -> None:
    node.run(600)  # looks are 120 s apart by now
    node.cloud.create_nics("vxnet-pods001", 1, POOL_NAME)
    operate.look(node.engine)
    node.run(35)
    assert len(ready(node)) == 4


# -- over the socket --------------------------------------------------------------------------------------------------


@pytest.fixture
def socket(node: Node, tmp_path: Path) -> t.Iterator[str]:
    path = str(tmp_path / "sock")
    server = Server([UnixDoor(listen_at(path), questions.handlers(node.engine), os.getuid())], node.pool.poke)
    server.start()
    yield path
    server.stop(5)


def test_the_command_orders_too(node: Node, socket: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["warm", "6"], ["trim"], ["drain"], ["resume"], ["look"]):
        assert cli.main([words[0], "--output", "json", "--socket", socket, *words[1:]]) == 0
        assert json.loads(capsys.readouterr().out)
    node.run(30)
    assert len(ready(node)) == 3


def test_a_module_asks_for_a_vxnet_or_only_to_be_told(node: Node, socket: str) -> None:
    assert wire.ask(socket, "warm", {"size": 2, "vxnet": "vxnet-pods002", "check": True})["missing"] == 2
    assert node.engine.orders.ordered() == {}
    wire.ask(socket, "warm", {"size": 2, "vxnet": "vxnet-pods002"})
    node.run(20)
    assert [nic.vxnet_id for nic in ready(node)].count("vxnet-pods002") == 2
    nic_ids = [nic.nic_id for nic in ready(node)][:1]
    assert wire.ask(socket, "give_back", {"nics": nic_ids, "check": True})["changed"] is True
    assert wire.ask(socket, "drain", {"check": True})["changed"] is True
    assert node.explain()["draining"] is False


@pytest.mark.parametrize(
    ("op", "params", "said"),
    [
        ("warm", {}, "size None is no number of NICs"),
        ("warm", {"size": True}, "size True is no number of NICs"),
        ("warm", {"size": -1}, "size -1 is no number of NICs"),
        ("warm", {"size": 1, "vxnet": 5}, "vxnet 5 is no vxnet"),
        ("give_back", {"nics": "all"}, "nics is no list of NICs"),
        ("drain", {"check": "no"}, "check 'no' is neither true nor false"),
    ],
)
def test_what_is_no_order_is_refused_with_a_sentence(
    node: Node, socket: str, op: str, params: dict[str, t.Any], said: str
) -> None:
    with pytest.raises(HostnicError, match=said):
        wire.ask(socket, op, params)
    assert (node.engine.orders.ordered(), node.explain()["draining"]) == ({}, False)
