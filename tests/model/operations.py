# SPDX-License-Identifier: GPL-3.0-or-later
"""What may happen: each operation is a method of `Doings`, with a weight and what is drawn for it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import typing as t

from hypothesis import strategies as st

from hostnic import operate
from hostnic.errors import Busy, InvalidConfig, LinkFailed
from tests.model import others
from tests.model.agent import CLOUD, KERNEL
from tests.model.cloudside import NARROW, WIDE
from tests.model.fibers import FOREVER
from tests.model.journal import JOURNAL
from tests.model.pods import FIXED, HungUp, Request, Stage
from tests.model.world import World

SLOTS: t.Final = 8
GROUPS: t.Final = ("threads", "orders", "processes", "clocks", "cloud", "others", "kernel")  # a run may do without some
TOO_OFTEN: t.Final = "QuotasExceeded, access too frequently, your requests will be rejected for a period of time"


def choice(*values: t.Any) -> st.SearchStrategy[t.Any]:
    """The first is the simplest."""
    return st.sampled_from(values)


# A round, a survey and an ADD, each begun (capital) and ended.
ORDERS: t.Final = tuple(
    "".join(order)
    for order in itertools.permutations("RrSsAa")
    if all(order.index(one) < order.index(one.lower()) for one in "RSA")
)
slots: t.Final = st.integers(0, SLOTS - 1)
tastes: t.Final = choice((), (), (WIDE,), (NARROW,))
points: t.Final = st.integers(0, 12)
deaths: t.Final = st.tuples(choice(JOURNAL, CLOUD, KERNEL), st.integers(1, 12))
actions: t.Final = choice("CreateNics", "AttachNics", "DetachNics", "DeleteNics", "DescribeNics", "DescribeJobs", "*")
job_actions: t.Final = choice("AttachNics", "DetachNics")


@dataclasses.dataclass(frozen=True)
class Operation:
    """One of the machine's methods; `up`: only while the agent runs (True), or only while it does not (False)."""

    name: str
    group: str
    weight: int
    up: t.Optional[bool]
    fault: bool
    drawn: st.SearchStrategy[Do]


@dataclasses.dataclass(frozen=True)
class Do:
    """An operation with what was drawn for it."""

    name: str
    values: t.Mapping[str, t.Any]

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.values.items())})"


OPERATIONS: t.Final[dict[str, Operation]] = {}


def operation(
    group: str, weight: int = 1, *, up: t.Optional[bool] = None, fault: bool = False, **strategies: t.Any
) -> t.Callable[[t.Callable[..., t.Any]], t.Callable[..., t.Any]]:
    """A method that hypothesis may choose: in the groups of a run, by its weight among those that are possible."""

    def decorate(method: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        name = method.__name__
        drawn = st.builds(lambda **values: Do(name, values), **strategies)
        OPERATIONS[name] = Operation(name, group, weight, up, fault, drawn)
        return method

    return decorate


@functools.cache
def possible(up: bool, without: frozenset[str]) -> st.SearchStrategy[Do]:
    """Simplest first: what comes earlier in the class."""
    able = [one for one in OPERATIONS.values() if one.up in (None, up) and one.group not in without]
    names = [one.name for one in able for _ in range(one.weight)]
    return st.sampled_from(names).flatmap(lambda name: OPERATIONS[name].drawn)


class Doings:
    """All that can be done to a world; those that disturb it return False where there was nothing to disturb."""

    def __init__(self, world: World) -> None:
        self.world = world

    def do(self, do: Do) -> bool:
        """Whether that was a fault. What is not possible now is left out. Raises `Violation`."""
        operation = OPERATIONS[do.name]
        if operation.up not in (None, self.world.is_up):
            return False
        struck = getattr(self, do.name)(**do.values)
        self.world.check()
        return operation.fault and struck is not False

    # -- pods ---------------------------------------------------------------------------------------------------------

    def _add(self, slot: int, taste: tuple[str, ...], wait: float, till: int) -> None:
        self.world.add(slot, Request(taste, self.world.boot() + wait), till)

    @operation("pods", 12, up=True, slot=slots, taste=tastes)
    def add(self, slot: int, taste: tuple[str, ...]) -> None:
        self._add(slot, taste, 0.0, FOREVER)

    @operation("pods", 2, up=True, slot=slots, till=points)
    def add_slowly(self, slot: int, till: int) -> None:
        self._add(slot, (), 0.0, till)

    @operation("pods", 3, up=True, slot=slots, taste=tastes, wait=choice(5.0, 60.0))
    def add_and_wait(self, slot: int, taste: tuple[str, ...], wait: float) -> None:
        self._add(slot, taste, wait, FOREVER)

    if FIXED is not None:

        @operation("pods", up=True, slot=slots, host=st.integers(2, 7), keep=choice(0.0, 30.0), wait=choice(0.0, 30.0))
        def add_fixed(self, slot: int, host: int, keep: float, wait: float) -> None:
            fixed = FIXED(f"172.16.1.{host}", f"workload-{host % 3}", keep)
            self.world.add(slot, Request((), self.world.boot() + wait, fixed))

    @operation("pods", fault=True, up=True, slot=slots)
    def caller_hangs_up(self, slot: int) -> bool:
        """An ADD that has begun fails where it stands."""
        pod = self.world.pods.get(slot)
        task = next((task for task in self.world.tasks if pod and task.pod is pod and task.kind == "add"), None)
        if task is None:
            return False
        self.world.go_on(task, error=HungUp("the caller is gone"))
        return True

    @operation("pods", 8, slot=slots)
    def delete(self, slot: int) -> None:
        self.world.delete(slot)

    @operation("pods", up=True, slot=slots, till=points)
    def delete_slowly(self, slot: int, till: int) -> None:
        self.world.delete(slot, till)

    @operation("pods", up=True)
    def delete_late(self) -> None:
        self.world.late_delete()

    @operation("pods", 2, fault=True, slot=slots)
    def netns_dies(self, slot: int) -> bool:
        if slot not in self.world.pods or self.world.pods[slot].stage is Stage.DELETING:
            return False
        self.world.kill_netns(slot)
        return True

    @operation("pods", up=True, vxnet_id=choice(WIDE, NARROW))
    def gateway(self, vxnet_id: str) -> None:
        self.world.gateway(vxnet_id)

    # -- the agent's threads ------------------------------------------------------------------------------------------

    @operation("threads", 4, up=True)
    def round(self) -> None:
        self.world.round()

    @operation("threads", up=True, till=points)
    def round_slowly(self, till: int) -> None:
        self.world.round(till)

    @operation("threads", up=True)
    def survey(self) -> None:
        self.world.survey()

    @operation("threads", up=True, till=points)
    def survey_slowly(self, till: int) -> None:
        self.world.survey(till)

    @operation(
        "threads", 2, up=True, turns=st.lists(st.tuples(choice("round", "survey", "add", "other"), points), max_size=8)
    )
    def threads_take_turns(self, turns: list[tuple[str, int]]) -> None:
        for who, till in turns:
            if not self.world.is_up:
                return
            if who == "round":
                self.world.round(till)
            elif who == "survey":
                self.world.survey(till)
            elif who == "add":
                self._add(till % SLOTS, (), 0.0, till)
            elif self.world.tasks:
                self.world.go_on(self.world.tasks[-1], till)

    @operation(
        "threads",
        3,
        up=True,
        vxnet_id=choice(NARROW, WIDE),
        order=st.integers(0, len(ORDERS) - 1),
        stops=st.tuples(st.integers(0, 8), st.integers(0, 3), st.integers(0, 3)),
    )
    def threads_meet_over_a_new_nic(self, vxnet_id: str, order: int, stops: tuple[int, int, int]) -> None:
        """Somebody attaches a NIC for us, and a round, a survey and an ADD stop halfway and go on in some order."""
        others.prewarm(self.world, vxnet_id, 1, attached=True)
        self.world.stall(121.0)  # so that a look is due
        slot = next((slot for slot in range(SLOTS) if slot not in self.world.pods), None)
        for letter in ORDERS[order]:
            if not self.world.is_up or slot is None:
                return
            till = FOREVER if letter.islower() else stops["RSA".index(letter)]
            if letter in "Rr":
                self.world.round(till)
            elif letter in "Ss":
                self.world.survey(till)
            elif letter == "A":
                self._add(slot, (vxnet_id,), 0.0, till)
            else:
                for task in [task for task in self.world.tasks if task.pod is self.world.pods.get(slot)]:
                    self.world.go_on(task)

    @operation("threads", 2, up=True, which=st.integers(0, 3), till=points)
    def go_on(self, which: int, till: int) -> None:
        tasks = [task for task in self.world.tasks if not task.fiber.waiting]
        if tasks:
            self.world.go_on(tasks[which % len(tasks)], till)

    # -- what people order of the pool ---------------------------------------------------------------------------------

    @operation("orders", 2, up=True, check=st.booleans())
    def drain(self, check: bool) -> None:
        operate.drain(self.world.engine, check)

    @operation("orders", fault=True, up=True)
    def pods_are_evicted(self) -> None:
        for pod in self.world.pods.values():
            pod.robbed = True
        with contextlib.suppress(LinkFailed):  # the kernel does not let go of one
            operate.drain(self.world.engine, evict=True)

    @operation("orders", 3, up=True)
    def resume(self) -> None:
        operate.resume(self.world.engine)

    @operation("orders", 2, up=True, size=choice(4, 1, 9), vxnet_id=choice("", WIDE, NARROW))
    def warm(self, size: int, vxnet_id: str) -> None:
        with contextlib.suppress(Busy):  # drained, or degraded
            operate.warm(self.world.engine, size, vxnet_id)

    @operation("orders", up=True)
    def trim(self) -> None:
        with contextlib.suppress(Busy):  # degraded
            operate.trim(self.world.engine)

    @operation("orders", up=True, picks=st.lists(st.integers(0, 15), max_size=3))
    def nics_are_given_back_to_the_cloud(self, picks: list[int]) -> None:
        """All of them, or none where a pod has one."""
        nics = self.world.engine.table.nics()
        named = [nics[pick % len(nics)].nic_id for pick in picks if nics]
        with contextlib.suppress(InvalidConfig, Busy):
            operate.give_back(self.world.engine, named)

    @operation("orders", up=True)
    def look(self) -> None:
        operate.look(self.world.engine)

    # -- time ---------------------------------------------------------------------------------------------------------

    @operation("time", 10, seconds=choice(1.0, 0.3, 4.0))
    def moments(self, seconds: float) -> None:
        self.world.work(seconds)

    @operation("time", 5, seconds=choice(10.0, 30.0))
    def seconds(self, seconds: float) -> None:
        self.world.work(seconds)

    @operation("time", 2, seconds=choice(60.0, 130.0, 700.0))
    def minutes(self, seconds: float) -> None:
        self.world.work(seconds)

    @operation("clocks", fault=True, seconds=choice(2.0, 25.0, 400.0))
    def machine_sleeps(self, seconds: float) -> None:
        self.world.stall(seconds)

    @operation("clocks", fault=True, seconds=choice(30.0, 4000.0))
    def boot_clock_leaps(self, seconds: float) -> None:
        self.world.leap(seconds)

    @operation("clocks", fault=True)
    def wall_clock_jumps(self) -> None:
        """The cloud refuses the stamps of some calls, until somebody sets the clock."""
        message = "RequestHasExpired, time_stamp is not within the allowed window"
        self._fault("*", "ret_code", ret_code=1300, message=message, count=4)

    # -- processes ----------------------------------------------------------------------------------------------------

    @operation("processes", fault=True, up=True)
    def restart(self) -> None:
        self.world.stop()
        self.world.start()

    @operation("processes", fault=True, up=True)
    def kill(self) -> None:
        self.world.agent_died()

    @operation("processes", fault=True, up=True, death=deaths, slot=slots)
    def kill_in_an_add(self, death: tuple[str, int], slot: int) -> None:
        self._dying(death, lambda: self._add(slot, (), 0.0, FOREVER))

    @operation("processes", fault=True, up=True, death=deaths, slot=slots)
    def kill_in_a_delete(self, death: tuple[str, int], slot: int) -> None:
        self._dying(death, lambda: self.world.delete(slot))

    @operation("processes", 2, fault=True, up=True, death=deaths)
    def kill_in_a_round(self, death: tuple[str, int]) -> None:
        self._dying(death, self.world.round)

    @operation("processes", 2, fault=True, up=True, death=deaths)
    def kill_in_time(self, death: tuple[str, int]) -> None:
        self._dying(death, lambda: self.world.work(6.0))

    @operation("processes", fault=True, up=True, death=deaths)
    def kill_in_a_start(self, death: tuple[str, int]) -> None:
        self.world.agent_died()
        self.world.start(death)

    @operation("processes", 12, up=False)
    def start(self) -> None:
        self.world.start()

    @operation("processes", fault=True, how=choice("warm", "power", "cloud"), kept=st.integers(0, 5))
    def reboot(self, how: str, kept: int) -> None:
        self.world.reboot(how, kept)
        self.world.start()

    @operation("processes", fault=True, up=True)
    def journal_is_lost(self) -> None:
        self.world.agent_died()
        self.world.lose_journal()
        self.world.start()

    @operation("processes", fault=True, up=True, how=st.integers(0, 2))
    def journal_is_damaged(self, how: int) -> None:
        self.world.agent_died()
        self.world.lose_journal(how)
        self.world.start()

    @operation("processes", fault=True)
    def clone_appears(self) -> bool:
        if self.world.clone:
            return False
        self.world.clone_machine()
        self.world.clone_works()
        return True

    @operation("processes")
    def clone_works(self) -> None:
        self.world.clone_works()

    # -- the cloud fails ----------------------------------------------------------------------------------------------

    def _fault(self, action: str, kind: str, **more: t.Any) -> None:
        self.world.cloud.faults.order({"action": action, "kind": kind, **more})

    @operation("cloud", 2, fault=True, action=actions, when=choice("after", "before"), count=st.integers(1, 2))
    def reply_is_dropped(self, action: str, when: str, count: int) -> None:
        self._fault(action, "drop_reply", when=when, count=count)

    @operation("cloud", fault=True, action=actions, when=choice("before", "after"), count=choice(1, 3, 8))
    def http_fails(self, action: str, when: str, count: int) -> None:
        self._fault(action, "http_status", when=when, count=count)

    @operation("cloud", fault=True, action=actions, code=choice(5000, 5100, 5200, 1400), when=choice("before", "after"))
    def api_refuses(self, action: str, code: int, when: str) -> None:
        """Only what may have been done is answered so after it was done."""
        self._fault(action, "ret_code", ret_code=code, when=when if code < 5200 and code >= 5000 else "before")

    @operation("cloud", fault=True, count=st.integers(1, 3))
    def api_is_called_too_often(self, count: int) -> None:
        self._fault("*", "ret_code", ret_code=2500, message=TOO_OFTEN, count=count)

    @operation("cloud", fault=True, action=actions, seconds=choice(2.0, 15.0), when=choice("before", "after"))
    def api_is_slow(self, action: str, seconds: float, when: str) -> None:
        self._fault(action, "delay", seconds=seconds, when=when)

    @operation("cloud", fault=True, action=job_actions)
    def job_fails(self, action: str) -> None:
        self._fault(action, "job_failed")

    @operation("cloud", fault=True, action=job_actions, done=st.integers(1, 2))
    def job_is_half_done(self, action: str, done: int) -> None:
        self._fault(action, "job_partial", done=done)

    @operation("cloud", fault=True, action=job_actions)
    def job_gets_stuck(self, action: str) -> None:
        self._fault(action, "job_stuck")

    @operation("cloud")
    def stuck_jobs_go_on(self) -> None:
        self.world.cloud.release_jobs()

    @operation("cloud", fault=True, seconds=choice(4.0, 12.0), uneven=st.booleans())
    def describe_lags(self, seconds: float, uneven: bool) -> None:
        if uneven:
            self.world.cloud.uneven_lag = seconds
        else:
            self._fault("CreateNics", "describe_lag", seconds=seconds)

    @operation("cloud", 2, fault=True, kind=choice("empty", "stale"), count=st.integers(1, 4))
    def describe_is_untrue(self, kind: str, count: int) -> None:
        self.world.cloud.lie(kind, count)

    @operation("cloud", fault=True, most=choice(0, 8))
    def quota_changes(self, most: int) -> None:
        self.world.cloud.change(nics_per_account=most)

    @operation("cloud")
    def faults_end(self) -> None:
        self.world.cloud.faults.clear()

    # -- others are at work in the cloud ------------------------------------------------------------------------------

    @operation("others", 4, fault=True, how=choice("detach", "delete", "steal"), pick=st.integers(0, 15))
    def nic_is_taken(self, how: str, pick: int) -> bool:
        return others.take(self.world, how, pick)

    @operation("others", fault=True, pick=st.integers(0, 15))
    def nic_is_renamed(self, pick: int) -> bool:
        return others.rename(self.world, pick)

    @operation("others", fault=True)
    def nics_are_given_back(self) -> bool:
        return others.give_back(self.world)

    @operation("others", fault=True, pick=st.integers(0, 15))
    def nic_is_attached_by_hand(self, pick: int) -> bool:
        return others.attach_free(self.world, pick)

    @operation("others", 2, fault=True, vxnet_id=choice(WIDE, NARROW), count=st.integers(1, 3), attached=st.booleans())
    def nics_are_made_for_us(self, vxnet_id: str, count: int, attached: bool) -> bool:
        return others.prewarm(self.world, vxnet_id, count, attached)

    @operation("others", fault=True, pick=st.integers(0, 11))
    def foreign_nic_comes(self, pick: int) -> bool:
        return others.hot_plug_foreign(self.world, pick)

    @operation("others", fault=True)
    def foreign_nic_goes(self) -> bool:
        return others.unplug_foreign(self.world)

    @operation("others", fault=True, vxnet_id=choice(NARROW, WIDE), left=st.integers(0, 2))
    def vxnet_fills_up(self, vxnet_id: str, left: int) -> bool:
        return others.fill(self.world, vxnet_id, left)

    @operation("others", fault=True)
    def vxnets_get_room(self) -> bool:
        return others.empty(self.world)

    # -- the kernel fails ---------------------------------------------------------------------------------------------

    @operation("kernel", fault=True)
    def link_does_not_appear(self) -> None:
        self.world.kernel.lose += 1

    @operation("kernel")
    def lost_links_appear(self) -> None:
        self.world.kernel.find()

    @operation("kernel", fault=True, pick=st.integers(0, 15))
    def address_is_not_forgotten(self, pick: int) -> None:
        self.world.kernel.unforgettable.add(f"172.16.1.{2 + pick}")

    @operation("kernel", fault=True, pick=st.integers(0, 15))
    def link_cannot_be_moved(self, pick: int) -> bool:
        outside = [
            link.mac for link in self.world.kernel.links.values() if link.place == "host" and link.name != "eth0"
        ]
        if outside:
            self.world.kernel.stubborn.add(outside[pick % len(outside)])
        return bool(outside)

    @operation("kernel")
    def kernel_behaves(self) -> None:
        self.world.kernel.stubborn.clear()
        self.world.kernel.unforgettable.clear()

    # -- rest ---------------------------------------------------------------------------------------------------------

    @operation("rest", rate=choice(0, 1, 2))
    def settle(self, rate: int) -> None:
        self.world.settle()
        if rate and not self.world.problems:
            self.world.churn(rate, 8 * rate)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _dying(self, death: tuple[str, int], work: t.Callable[[], None]) -> None:
        """The agent is killed at that point of the work, at its end at the latest."""
        self.world.agent.life.die_at(*death)
        work()
        self.world.agent_died()
