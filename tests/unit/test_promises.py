# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pool promises, at shipped defaults and in emulated time. `pytest -s` prints the figures.

An ADD here is a thread that waits in `Pool.acquire` on the emulated clock; see `TimedNode`.
"""

from __future__ import annotations

import random
import typing as t
from bisect import bisect_left
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostnic.policy import FAIL_ROTATE, RANDOM, ROUND_ROTATE
from hostnic.ports import Store
from hostnic.states import State
from hostnic.store.memory import MemoryStore
from tests.emulator import Settings as CloudSettings
from tests.emulator import world
from tests.support.node import ADD_PATIENCE, INSTANCE, TimedNode
from tests.support.original import Original

MINUTE, HOUR = 60.0, 3600.0
ROUNDING = 1e-3  # s: the clock counts in floating point

# -- an API that is away ----------------------------------------------------------------------------------------------

REFUSED: t.Final = "connections refused"
PENALTY: t.Final = "penalty"
HANGING: t.Final = "no answer in time"
OUTAGES: t.Final[t.Mapping[str, t.Mapping[str, t.Any]]] = {
    "HTTP 502": {"kind": "http_status"},
    REFUSED: {},
    "answers dropped": {"kind": "drop_reply"},
    HANGING: {"kind": "delay", "seconds": 10.5},  # the client gives an answer 10 s
    "ret_code 5000": {"kind": "ret_code"},
    PENALTY: {"kind": "ret_code", "ret_code": 2500, "message": "QuotasExceeded, access too frequently"},
}
CHANCES: t.Final[t.Mapping[str, t.Callable[[], t.Callable[[], float]]]] = {
    "any pause": lambda: random.Random(1).random,
    "longest pauses": lambda: lambda: 0.999,
}
MOST_CALLS = 60  # in a minute of an outage; api-rate would allow 300
ONE_LEAD = 10.0  # s in which a batch is made and attached


@pytest.mark.parametrize("chance", CHANCES)
@pytest.mark.parametrize("outage", OUTAGES)
def test_pods_do_not_notice_ten_minutes_without_the_api(tmp_path: Path, outage: str, chance: str) -> None:
    """A pod every 20 s with one NIC left for all of them; the API is back at the worst moment, just after a failure."""
    with TimedNode(tmp_path, chance=CHANCES[chance]()) as node:
        _warm_up(node)
        for __ in range(2):
            node.pod(lives=HOUR)
        began = node.clock.now()
        _cut_off(node, outage)
        for number in range(30):
            node.at(began + 5 + 20 * number, lambda: node.pod(lives=10))
        node.run(20 * MINUTE, until=lambda: node.clock.now() >= began + 10 * MINUTE)
        ended = node.clock.now()
        _let_through(node)
        calls = [call.moment for call in node.log if call.moment > began]
        node.run(5 * MINUTE, until=lambda: node.log[-1].outcome == "ok")
        seen = node.clock.now() - ended
        node.run(5 * MINUTE, until=lambda: _at_target(node))
        back = node.clock.now() - ended
        node.run(2 * MINUTE)

        longest = max(wait.seconds for wait in node.waits)
        print(f"\noutage, {outage}, {chance}: calls in 10 minutes: {len(calls)}")
        print(f"outage, {outage}, {chance}: most calls in a minute: {_most_in(MINUTE, calls)}")
        print(f"outage, {outage}, {chance}: longest wait of an ADD: {longest:.1f} s")
        print(f"outage, {outage}, {chance}: s until the cloud was seen: {seen:.1f}, at target: {back:.1f}")
        within = 120.0 if outage == PENALTY else node.settings.reconcile_interval
        assert seen <= within + ROUNDING
        assert back <= within + ONE_LEAD
        assert _most_in(MINUTE, calls) <= MOST_CALLS
        assert len(node.waits) == 2 + 30
        assert (longest, [wait for wait in node.waits if wait.refused]) == (0.0, [])
        assert set(node.in_cloud()) == {nic.nic_id for nic in node.engine.table.nics()}
        assert node.states().keys() <= {State.READY, State.IN_USE, State.QUARANTINE}


@pytest.mark.parametrize("outage", OUTAGES)
def test_all_that_is_warm_is_handed_out_without_the_api_and_again_after_a_rest(tmp_path: Path, outage: str) -> None:
    with TimedNode(tmp_path) as node:
        _warm_up(node)
        warm = node.states()[State.READY]
        began = node.clock.now()
        _cut_off(node, outage)
        for turn in range(5):
            for __ in range(warm):
                node.at(began + 1 + 60 * turn, lambda: node.pod(lives=5))
        node.run(5 * MINUTE)
        assert [wait.seconds for wait in node.waits] == [0.0] * 5 * warm
        node.log.clear()
        for __ in range(warm + 1):
            node.pod(lives=HOUR)
        node.run(2 * MINUTE)
        *served, last = node.waits[-warm - 1 :]
        assert [wait.seconds for wait in served] == [0.0] * warm
        assert last.seconds == pytest.approx(ADD_PATIENCE)
        assert "no NIC became ready in time" in last.refused
        assert _most_in(MINUTE, [call.moment for call in node.log]) <= MOST_CALLS  # who waits does not hurry the agent


# -- sixty NICs from nothing ------------------------------------------------------------------------------------------

ALL = 60
SERIAL: t.Final[t.Mapping[str, t.Any]] = {"parallel_jobs_per_instance": "refuse"}
VXNETS = ("vxnet-pods001", "vxnet-pods002", "vxnet-pods003")


@pytest.mark.parametrize("per_nic", [0.0, 0.2])
def test_sixty_nics_are_ready_thirty_times_faster_than_one_at_a_time(tmp_path: Path, per_nic: float) -> None:
    with _large(tmp_path, job_seconds_per_nic=per_nic) as node:
        original = Original(node.cloud, INSTANCE, VXNETS[0], node.kernel.links.__contains__, node.flow)
        began = node.clock.now()
        nic_ids = [original.add(f"pod{number}") for number in range(ALL)]
        one_at_a_time = node.clock.now() - began
        for nic_id in nic_ids:
            original.delete(nic_id)
        assert not node.kernel.links.keys() & set(nic_ids)

        node.start_agent()
        node.log.clear()
        pooled = _fill(node)
        print(f"\n60 NICs, {per_nic} s a NIC: one at a time {one_at_a_time:.1f} s, pool {pooled:.1f} s")
        print(f"60 NICs, {per_nic} s a NIC, one at a time to pool: {one_at_a_time / pooled:.1f}")
        assert one_at_a_time / pooled >= 30


@pytest.mark.parametrize("per_nic", [0.0, 0.2])
def test_one_attach_job_at_a_time_costs_little_more_than_the_jobs(tmp_path: Path, per_nic: float) -> None:
    """The floor is the time of the jobs alone, one starting where the other ends; all calls take none.

    Who knows from the start that a second job is refused needs one job of 60 NICs: that is the floor of an agent that
    remembers. Who does not know begins with jobs of attach-chunk, and the floor is six of them.
    """
    usual = CloudSettings()
    job = usual.job_pending_seconds + usual.job_working_seconds
    with _large(tmp_path, job_seconds_per_nic=per_nic, **SERIAL) as node:
        first = _fill(node)
        chunk = node.settings.attach_chunk
        facts = node.store.load().facts
    store = MemoryStore()
    store.write(put=facts)
    with _large(tmp_path, store=store, job_seconds_per_nic=per_nic, **SERIAL) as node:
        later = _fill(node)
        assert node.calls("AttachNics") == 1

    strictest, chunks = job + ALL * per_nic, ALL // chunk * (job + chunk * per_nic)
    print(f"\nserial, {per_nic} s a NIC: first contact {first:.1f} s, an agent that remembers {later:.1f} s")
    print(f"serial, {per_nic} s a NIC, first contact to jobs of {chunk}: {first / chunks:.2f}")
    print(f"serial, {per_nic} s a NIC, first contact to one job: {first / strictest:.2f}")
    print(f"serial, {per_nic} s a NIC, an agent that remembers to one job: {later / strictest:.2f}")
    assert first / chunks <= 1.3
    assert later / strictest <= 1.3


@pytest.mark.parametrize("jobs", ["allow", "refuse"])
@pytest.mark.parametrize("vxnets", [VXNETS[:1], VXNETS], ids=["one vxnet", "three vxnets"])
@pytest.mark.parametrize("policy", [FAIL_ROTATE, ROUND_ROTATE, RANDOM])
def test_sixty_nics_take_one_create(tmp_path: Path, policy: str, vxnets: tuple[str, ...], jobs: str) -> None:
    with _large(tmp_path, parallel_jobs_per_instance=jobs, agent={"policy": policy, "vxnet": vxnets}) as node:
        _fill(node)
        assert node.calls("CreateNics") <= len(vxnets)
        print(f"\n60 NICs, {policy}, {len(vxnets)} vxnets, jobs {jobs}: CreateNics: {node.calls('CreateNics')}")


# -- pods that come and go --------------------------------------------------------------------------------------------

LIFE = 2.0  # s


class Churn(t.NamedTuple):
    waits: list[float]
    most_held: int
    most_warm: int

    def show(self, name: str) -> None:
        waited = sorted(self.waits)
        share = {f"p{p}": round(waited[len(waited) * p // 100], 2) for p in (50, 95, 99)}
        late = sum(wait > 1.0 + ROUNDING for wait in waited)
        print(f"\n{name}: longest wait: {waited[-1]:.2f} s of {len(waited)} ADDs, {late} over 1 s, {share}")
        print(f"{name}: most NICs held: {self.most_held}, warm target {self.most_warm}")


@pytest.mark.parametrize("offset", [0.0, 0.3, 0.6, 0.9, 4.3])
def test_a_pod_a_second_waits_a_second_at_most(tmp_path: Path, offset: float) -> None:
    """Warm is a pool that has reached its target once; the first pod comes `offset` seconds later.

    Three NICs are in hand, and the fourth pod comes while the first replacement is being attached, which takes 3.5 s.
    """
    with TimedNode(tmp_path) as node:
        churn = _churn(node, offset, every=1.0, pods=1)
        churn.show(f"1 pod/s, {offset} s after warm-up")
        live, resting = LIFE, node.settings.quarantine_min
        batch = node.settings.pool_low  # what an empty pool asks for at once
        assert len(churn.waits) == 600
        assert max(churn.waits) <= 1.0 + ROUNDING
        assert churn.most_held <= live + churn.most_warm + resting + batch


@pytest.mark.parametrize(
    ("every", "pods", "cloud"),
    [
        pytest.param(MINUTE, 10, {}, id="10 pods at once every minute"),
        pytest.param(0.5, 1, {}, id="2 pods/s"),
        pytest.param(1.0, 1, SERIAL, id="1 pod/s, attach jobs one at a time"),
        pytest.param(1.0, 1, {"api_latency": 0.1}, id="1 pod/s, calls take 0.1 s"),
    ],
)
def test_harder_churn_is_survived(
    tmp_path: Path, request: pytest.FixtureRequest, every: float, pods: int, cloud: t.Mapping[str, t.Any]
) -> None:
    with TimedNode(tmp_path, cloud=CloudSettings().changed(cloud)) as node:
        churn = _churn(node, 0.0, every=every, pods=pods)
        churn.show(request.node.callspec.id)
        assert len(churn.waits) == 10 * MINUTE / every * pods
        assert max(churn.waits) < ADD_PATIENCE
        assert churn.most_held <= node.settings.max_nics


# -- nothing happens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pods", [0, 2])
def test_a_quiet_pool_asks_every_two_minutes(tmp_path: Path, pods: int) -> None:
    with TimedNode(tmp_path) as node:
        _warm_up(node)
        for __ in range(pods):
            node.pod(lives=2 * HOUR)
        node.run(10 * MINUTE)
        node.log.clear()
        node.run(HOUR)
        print(f"\nquiet with {pods} pods: calls in an hour: {len(node.log)}")
        looks = HOUR / 120
        # the instance's NICs, those of our name, now and then gateway NICs; a look at either end
        assert len(node.log) <= 2 * looks + looks // 10 + 3


# -- how it is done ---------------------------------------------------------------------------------------------------


def _warm_up(node: TimedNode) -> None:
    """From nothing to the first moment at which the target is reached."""
    node.run(MINUTE, until=lambda: node.states().get(State.READY, 0) == node.explain()["warm"])
    assert node.states() == {State.READY: node.settings.pool_low}


def _cut_off(node: TimedNode, outage: str) -> None:
    if outage == REFUSED:
        node.close_door()
    else:
        node.emulator.faults.order({"action": "*", "count": None, **OUTAGES[outage]})


def _let_through(node: TimedNode) -> None:
    if not node.emulator.faults.clear():
        node.open_door()


def _at_target(node: TimedNode) -> bool:
    """Nothing is missing and nothing under way."""
    now = node.explain()
    return not now["grow"] and not now["inflight"] and now["ready"] + now["soon"] + now["resting"] >= now["warm"]


def _most_in(seconds: float, moments: t.Sequence[float]) -> int:
    return max(
        (bisect_left(moments, moment + seconds) - number for number, moment in enumerate(moments)),
        default=0,
    )


@contextmanager
def _large(
    directory: Path,
    store: t.Optional[Store] = None,
    agent: t.Optional[t.Mapping[str, t.Any]] = None,
    **cloud: t.Any,
) -> t.Iterator[TimedNode]:
    """A node that wants 60 NICs, and a third vxnet for them."""
    settings: dict[str, t.Any] = {"pool_low": ALL, "pool_high": ALL, **(agent or {})}
    with TimedNode(directory, cloud=CloudSettings().changed(cloud), store=store, **settings) as node:
        third = {"vxnet_id": VXNETS[2], "ip_network": "172.16.3.0/24", "router_id": "rtr-test0001"}
        world.add_vxnet(node.emulator.cloud, third)
        yield node


def _fill(node: TimedNode) -> float:
    """Seconds until all are ready."""
    began = node.clock.now()
    node.run(HOUR, until=lambda: node.states().get(State.READY, 0) == ALL)
    assert node.states() == {State.READY: ALL}
    return node.clock.now() - began


def _churn(node: TimedNode, offset: float, every: float, pods: int) -> Churn:
    """Ten minutes of pods from a warm pool; what is held is counted with each of them."""
    _warm_up(node)
    began, held, warm = node.clock.now() + offset, [0], [0]

    def come() -> None:
        for __ in range(pods):
            node.pod(LIFE)
        held.append(len(node.in_cloud()))

    for number in range(int(10 * MINUTE / every)):
        node.at(began + every * number, come)
    while node.clock.now() < began + 12 * MINUTE:
        node.run(10)
        warm.append(node.explain()["warm"])
    assert not [wait for wait in node.waits if wait.refused]
    return Churn([wait.seconds for wait in sorted(node.waits)], max(held), max(warm))
