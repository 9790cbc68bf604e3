# SPDX-License-Identifier: GPL-3.0-or-later
"""One run: a cloud, a machine with its agent and pods, perhaps a clone of it, and the time that passes."""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
import tempfile
import typing as t
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from pathlib import Path

from hostnic import operate
from hostnic.engine import Engine
from hostnic.errors import HostnicError
from hostnic.model import POOL, LeaseKey, Nic, Record, nic_names
from hostnic.states import State
from tests.emulator import Settings as CloudSettings
from tests.emulator import views
from tests.emulator.errors import NOT_FOUND
from tests.model import ids, invariants
from tests.model.agent import Agent
from tests.model.cloudside import NODE, Call, CloudSide
from tests.model.fibers import FOREVER, Fiber, Killed
from tests.model.kernel import Kernel, Planes
from tests.model.looks import Looks
from tests.model.pods import IFNAME, Cni, Pod, Request, Stage
from tests.model.times import BootClock, CloudClock
from tests.model.violation import Violation

# s in which everything has to be in order again. What may follow upon each other: a vxnet that was full is left alone
# for 600 s; a link counts as lost after 600 s, and a NIC adopted without one is given that time once more; failures
# back off to 120 s; a NIC that is one too many is deleted 600 s after that was found.
SETTLED_WITHIN: t.Final = 2700.0
QUIET: t.Final = 35.0  # s for which it then has to stay so: one look of the agent
# What has not come in order SOON (s) waits for somebody's patience to end: rounds SLOW (s) apart will do from then on.
SOON: t.Final = 240.0
SLOW: t.Final = 10.0
COALESCE: t.Final = 0.2  # s in which the agent's loop lets demand gather

_SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


@dataclass(frozen=True)
class Setup:
    """What is drawn once a run: settings of the emulated cloud, settings of the agent, and the dice."""

    cloud: t.Mapping[str, t.Any] = field(default_factory=dict)
    agent: t.Mapping[str, t.Any] = field(default_factory=dict)
    seed: int = 0

    def changed(self, **changes: t.Any) -> Setup:
        return replace(self, **changes)


@dataclass
class Task:
    """Something of the agent's that has begun and is not over: a round, a survey, an ADD, a DEL."""

    kind: str
    fiber: Fiber
    pod: t.Optional[Pod] = None


class World:
    """What it does for operations is public; the first invariant that does not hold is raised by `check`."""

    def __init__(self, setup: Setup) -> None:
        ids.begin(setup.seed)
        self.counts: Counter[str] = Counter()
        self.problems: list[Violation] = []
        self._scratch = Path(tempfile.mkdtemp(prefix="qingcni-model-", dir=_SCRATCH))
        self._dice = random.Random(setup.seed)
        self._settings = setup.agent
        self.clock = CloudClock(1_000_000.0)
        self.boot = BootClock(self.clock, 500.0)
        self.kernel = Kernel("node1", self._now)
        self.clone_kernel = Kernel("clone1", self.clock.now)
        planes = Planes(self.kernel, self.clone_kernel)
        self.cloud = CloudSide(CloudSettings().changed(setup.cloud), self.clock, planes, setup.seed)
        self.cloud.arrives, self.cloud.answered = self._call_arrives, self._call_answered
        self.kernel.on_change = self._links_changed
        self.kernel.left_pod, self.kernel.unplugged = self._left_pod, self._unplugged
        self.looks = Looks()
        self.agent = self._agent("node", self.kernel, self.boot, self._journal_changes)
        self.clone: t.Optional[Agent] = None
        self.purposes = {name: purpose for purpose, name in nic_names(NODE, self.agent.settings.gatewayns).items()}
        self.names = tuple(self.purposes)
        self.pods: dict[int, Pod] = {}
        self.deleted: list[LeaseKey] = []  # of pods that are gone, for DELs that come late
        self.tasks: list[Task] = []
        self.calls: deque[float] = deque()  # when the node called, in the last minute
        self.bursts: list[float] = []  # when the node's client may have called several times at once
        self.unanswered: dict[
            tuple[str, str], set[str]
        ] = {}  # (vxnet, name) ► NICs that the journal has yet to learn of
        self.made: set[str] = set()
        self.others_made: set[str] = set()
        self.renamed: set[str] = set()
        self.forgotten: set[str] = set()  # in pods when the journal was lost
        self._released: dict[str, float] = {}  # NICs that pods have had ► when they came back
        self._spool: list[tuple[LeaseKey, float]] = []
        self._boots = 1
        self._sandboxes = 0
        self._event = False
        self._due = 0.0
        self._least_pause = 0.0
        self.start()

    def close(self) -> None:
        """May be called in any state."""
        self.agent.life.over = True
        self._end_tasks()
        for agent in filter(None, (self.agent, self.clone)):
            agent.store.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    # -- what invariants ask ------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        return self.agent.engine is not None

    @property
    def engine(self) -> Engine:
        return self.agent.up

    def pod_at(self, nic_id: str) -> t.Optional[Pod]:
        """The living pod whose netns the NIC's link is in."""
        netns = self.kernel.pod_of(nic_id)
        return next((pod for pod in self.pods.values() if pod.netns == netns), None) if netns else None

    def pods_nics(self) -> t.Iterator[tuple[str, Pod]]:
        for nic_id in self.kernel.links:
            pod = self.pod_at(nic_id)
            if pod:
                yield nic_id, pod

    def fail(self, invariant: str, text: str) -> None:
        self.problems.append(Violation(invariant, text))

    def check(self) -> None:
        """After each operation. Raises the first `Violation`."""
        for text in self.agent.life.offences:
            self.fail("no_lock_is_held_across_a_call", text)
        if self.is_up:
            for invariant in invariants.AFTER_AN_OPERATION:
                self._note(invariant.__name__, invariant(self))
        if self.problems:
            raise self.problems[0]

    # -- the agent's doings -------------------------------------------------------------------------------------------

    def begin(
        self,
        kind: str,
        work: t.Callable[[], None],
        points: int = FOREVER,
        pod: t.Optional[Pod] = None,
        waits: bool = False,
    ) -> None:
        """Do something of the agent's, up to so many points of its way."""
        if points == FOREVER and not waits:
            try:
                work()
            except Killed:
                self.agent_died()
            return
        task = Task(kind, Fiber(kind, work), pod)
        self.tasks.append(task)
        self.go_on(task, points)

    def go_on(self, task: Task, points: int = FOREVER, error: t.Optional[HostnicError] = None) -> None:
        try:
            task.fiber.resume(points, error)
        except Killed:
            self.agent_died()
        self.tasks = [task for task in self.tasks if not task.fiber.finished]

    def task(self, kind: str) -> t.Optional[Task]:
        return next((task for task in self.tasks if task.kind == kind), None)

    def round(self, points: int = FOREVER) -> None:
        """The reconciler's; one that has begun goes on."""
        running = self.task("round")
        if running:
            self.go_on(running, points)
        else:
            self.begin("round", self._round, points)

    def survey(self, points: int = FOREVER) -> None:
        """The link monitor's; one that has begun goes on."""
        running = self.task("survey")
        if running:
            self.go_on(running, points)
        else:
            self.begin("survey", self._survey, points)

    def add(self, slot: int, request: Request, points: int = FOREVER) -> None:
        """A new pod, or another ADD for one that has its NIC already or whose ADD was cut off."""
        pod = self.pods.get(slot)
        if pod is None:
            self._sandboxes += 1
            pod = Pod(LeaseKey("net", f"pod{slot}-{self._sandboxes}", IFNAME), 100 + self._sandboxes)
            self.pods[slot] = pod
        if pod.stage in (Stage.RUNNING, Stage.CUT):
            cni, known = self._cni, pod
            self.begin("add", lambda: cni.add(known, request), points, pod, waits=request.deadline > self.boot())
            self.stir()

    def delete(self, slot: int, points: int = FOREVER) -> None:
        """The runtime ends the pod; its netns goes when the DEL is over, or at once where no agent answers."""
        pod = self.pods.get(slot)
        if pod is None or pod.stage not in (Stage.RUNNING, Stage.CUT):
            return
        if self.is_up:
            pod.stage = Stage.DELETING
            cni, known = self._cni, pod
            self.begin("delete", lambda: self._delete(cni, slot, known), points, pod)
            self.stir()
        else:
            self._spool.append((pod.key, self.boot()))
            self.kill_netns(slot)

    def late_delete(self) -> None:
        """Of a pod that is long gone."""
        if self.is_up and self.deleted:
            self._cni.delete(self.deleted[-1], None)

    def kill_netns(self, slot: int) -> None:
        pod = self.pods.pop(slot)
        pod.stage = Stage.GONE
        self.deleted.append(pod.key)
        for nic_id in [nic_id for nic_id in self.kernel.links if self.kernel.pod_of(nic_id) == pod.netns]:
            self.forgotten.discard(nic_id)
        self.kernel.kill_netns(pod.netns)

    def gateway(self, vxnet_id: str) -> None:
        with contextlib.suppress(HostnicError):  # it is on its way
            self.engine.pool.gateway(vxnet_id, self.boot(), lambda: False)

    def stir(self) -> None:
        """Whoever waits in the pool and has reason to looks again."""
        for _ in range(100):
            ready = [
                task
                for task in self.tasks
                if task.fiber.waiting and (task.fiber.notified or self.boot() >= (task.fiber.wakes_at or 0.0))
            ]
            if not ready:
                return
            self.go_on(ready[0])
        self.fail("waiters_come_to_rest", "ADDs wake each other again and again")

    # -- its processes ------------------------------------------------------------------------------------------------

    def start(self, die: t.Optional[tuple[str, int]] = None) -> None:
        """And deliver what was spooled meanwhile."""
        self.agent.life.die_at(*(die or ("", 0)))
        self.looks.restart()
        self.bursts.append(self.clock.now())
        try:
            self.agent.start()
            engine = self.engine
            vxnets = self.agent.settings.vxnet
            self._cni = Cni(engine.pool, engine.table, self.agent.links, self.boot, self, vxnets)
            self._due = self.clock.now()
            while self._spool:
                key, asked_at = self._spool[0]
                self._cni.delete(key, None, asked_at)
                self._spool.pop(0)
            self.agent.life.die_at("", 0)
        except Killed:
            self.agent_died()

    def stop(self) -> None:
        """Requests that wait are cancelled, what is under way ends."""
        for task in list(self.tasks):
            while not task.fiber.finished and self.is_up:
                self.go_on(task, error=_Cancelled("the agent stops") if task.fiber.waiting else None)
        if self.is_up:
            self.agent.stop()

    def agent_died(self) -> None:
        """It was killed, or is now."""
        if self.is_up:
            self.agent.life.over = True
            self._end_tasks()
            self.agent.kill()

    def reboot(self, how: str, kept: int) -> None:
        """`how`: "warm" (the machine), "power" (cut: what was not durable is lost), "cloud" (the instance)."""
        if self.is_up and how == "power":
            self.agent.life.over = True
            self._end_tasks()
            self.agent.cut_power(kept)
        self.agent_died()
        for pod in self.pods.values():
            pod.stage = Stage.GONE
            self.deleted.append(pod.key)
        self.pods.clear()
        self._spool.clear()
        self._released.clear()
        self.forgotten.clear()
        if how == "cloud":
            self.cloud.power_cycle()
        self.kernel.reboot()
        self._boots += 1
        self.boot = self.agent.boot = BootClock(self.clock, 12.0)
        self.agent.reboot(self._boots)

    def lose_journal(self, damaged: t.Optional[int] = None) -> None:
        """While the agent is down."""
        if damaged is None:
            self.agent.lose_journal()
        else:
            self.agent.damage_journal(damaged)
        self.forgotten.update(nic_id for nic_id, _ in self.pods_nics())
        self.others_made.update(nic.nic_id for nic in self.cloud.named(*self.names))
        self.unanswered.clear()

    def clone_machine(self) -> None:
        """Another machine starts from an image of this one, with all of its state."""
        if self.clone is None:
            self.clone = self._agent("clone", self.clone_kernel, BootClock(self.clock, 9.0))
            self.clone.adopt_journal(self.agent)
            self.clone.start()

    def clone_works(self) -> None:
        if self.clone is None:
            return
        engine, key = self.clone.up, LeaseKey("net", "pod-of-the-clone", IFNAME)
        try:
            engine.survey.run()
            engine.reconciler.step()
            engine.pool.acquire(key, {}, self.clone.boot(), lambda: False)
            engine.pool.abort(key, touched_pod=False)
        except HostnicError:
            pass  # the clone has no NIC to give

    # -- time ---------------------------------------------------------------------------------------------------------

    def work(self, seconds: float) -> None:
        """Time passes, and the agent's threads do what they do."""
        until = self.clock.now() + seconds
        while self.clock.now() < until:
            self._serve_events()
            now = self.clock.now()
            if self.is_up and now >= self._due:
                self.round()
                self.stir()
                continue
            moments = [until, self.cloud.next_event()]
            if self.is_up:
                moments += [self._due, *self._wakers()]
            self.cloud.advance(max(min(moments) - now, 0.01))

    def stall(self, seconds: float) -> None:
        """Time passes, and the agent does nothing: the machine sleeps, or a call takes long."""
        self.cloud.advance(seconds)
        self.stir()

    def leap(self, seconds: float) -> None:
        """Of the boot clock alone."""
        self.boot.leap(seconds)
        self.bursts.append(self.clock.now())
        self.unanswered.clear()
        self.stir()

    def settle(self) -> None:
        """All that disturbs ends; then all has to come in order, and again after a drain. Notes what does not."""
        self._calm_down()
        self._come_in_order()
        if self.engine.orders.draining and not self.problems:
            operate.resume(self.engine)
            self._come_in_order()
        self.forgotten = {nic_id for nic_id in self.forgotten if not self.engine.table.nic(nic_id)}

    def _come_in_order(self) -> None:
        begun = self.clock.now()
        while self.clock.now() < begun + SETTLED_WITHIN and not self.problems:
            if not self._unsettled():
                self.work(QUIET)
                if not self._unsettled():
                    break
            self._least_pause = SLOW if self.clock.now() > begun + SOON else 0.0
            self.work(10.0)
        self._least_pause = 0.0
        for name, text in self._unsettled():
            self.fail(name, text)

    def churn(self, rate: int, pods: int) -> None:
        """From rest: so many pods a second, each living for one; NICs that they may have must not multiply."""
        settings, pause = self.agent.settings, 1.0 / rate
        resting = rate * settings.quarantine_min
        most = len(self._agents_nics())
        slots = range(1000, 1000 + pods)
        for slot in slots:
            self.add(slot, Request((), self.boot() + 60.0))
            self.work(pause)
            for old in [old for old in slots if old <= slot - rate and old in self.pods]:
                self.delete(old)
            bound = len(self.pods) + settings.pool_high + resting + max(settings.pool_high, len(self.tasks))
            most = max(most, int(bound) + 1)
            held = len(self._agents_nics())
            if held > most:
                self.fail("churn_does_not_multiply_nics", f"{held} NICs for {len(self.pods)} pods, {most} would do")
                return
        self.work(61.0)
        for slot in slots:
            self.delete(slot)

    # -- listening ----------------------------------------------------------------------------------------------------

    def taken(self, pod: Pod, nic: Nic, request: Request) -> None:
        since = self._released.pop(nic.nic_id, None)
        settings, now = self.agent.settings, self.boot()
        if nic.state is not State.RESERVED:
            self.fail("a_nic_is_reserved_before_it_moves", f"{nic.nic_id} for {pod.key} is {nic.state.value}")
        if self.engine.orders.draining:
            self.fail("no_pod_starts_on_a_drained_node", f"{pod.key} got {nic.nic_id}")
        if nic.vxnet_id not in (request.vxnets or settings.vxnet):
            self.fail("a_pod_gets_a_nic_of_its_networks_vxnets", f"{pod.key} got one in {nic.vxnet_id}")
        if request.fixed and nic.private_ip != request.fixed.address:
            self.fail("a_fixed_address_is_the_one_asked_for", f"{pod.key} got {nic.private_ip}")
        if since is None:
            return
        rested = now - since if not request.fixed else float("inf")  # a kept address goes back to its workload
        if rested < settings.quarantine_min:
            self.fail("a_released_nic_rests", f"{nic.nic_id} rested {rested:.1f} s")
        elif rested < settings.quarantine and self.kernel.flushed_at.get(nic.private_ip, -1.0) < since:
            self.fail("a_released_address_is_flushed", f"{nic.private_ip} of {nic.nic_id}")

    def _left_pod(self, nic_id: str) -> None:
        self._released[nic_id] = self.boot()

    def _unplugged(self, nic_id: str) -> None:
        self._released.pop(nic_id, None)

    def _links_changed(self) -> None:
        self._event = True

    def _call_arrives(self, call: Call) -> None:
        if call.who == "node":
            while self.calls and self.calls[0] < call.at - invariants.WINDOW:
                self.calls.popleft()
            self.calls.append(call.at)
        for invariant in invariants.AT_A_CALL:
            self._note(invariant.__name__, invariant(self, call))

    def _call_answered(self, call: Call, body: t.Optional[views.Item]) -> None:
        if call.who != "node":
            return
        if call.action == "CreateNics":
            kind = (call.params["vxnet"], call.params["nic_name"])
            self.made.update(call.made)
            self.unanswered.setdefault(kind, set()).update(call.made)
        elif call.action == "DescribeNics" and body and body["ret_code"] == 0:
            self.looks.answered(call, body["nic_set"], self.cloud.nics, self.boot())
        elif call.action == "DescribeNics" and body and body["ret_code"] == NOT_FOUND and len(call.items("nics")) == 1:
            self.looks.answered(call, [], self.cloud.nics, self.boot())

    def _journal_changes(self, put: t.Sequence[Record], drop: t.Sequence[Record]) -> None:
        for invariant in invariants.AT_A_WRITE:
            self._note(invariant.__name__, invariant(self, put, drop))
        known = {record.nic_id for record in put if isinstance(record, Nic)}
        self._excuse_mistaken(known & self.others_made)
        self.others_made -= known
        for made in self.unanswered.values():
            made.difference_update(known)

    def _excuse_mistaken(self, adopted: t.Collection[str]) -> None:
        """What somebody else makes while an answer is lost cannot be told from what the lost call has made."""
        for intent in self.agent.store.intents():
            for nic_id in adopted:
                nic, shown = self.cloud.nics.get(nic_id), self.looks.first_shown.get(nic_id, 0.0)
                if intent.action == "create" and nic and nic.vxnet_id == intent.vxnet_id and shown >= intent.since:
                    self.unanswered.pop((nic.vxnet_id, nic.nic_name), None)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _agent(
        self,
        who: str,
        kernel: Kernel,
        boot: BootClock,
        changing: t.Callable[[t.Sequence[Record], t.Sequence[Record]], None] = lambda put, drop: None,
    ) -> Agent:
        return Agent(
            self._scratch / who, kernel, boot, who=who, settings=self._settings, sleep=self.cloud.advance,
            changing=changing, dice=self._dice.random,
        )  # fmt: skip

    def _now(self) -> float:
        return self.boot()

    def _round(self) -> None:
        self.looks.begin()
        pause = 30.0
        try:
            pause = self.engine.reconciler.step()
        except HostnicError as error:
            self.fail("a_round_raises_nothing", error.message)
        except Exception as error:
            self.fail("a_round_raises_nothing", repr(error))
        self.looks.end()
        self._due = self.clock.now() + max(pause, 0.05, self._least_pause)

    def _survey(self) -> None:
        try:
            self.engine.survey.run()
        except HostnicError:
            pass  # as the link monitor does
        except Exception as error:
            self.fail("a_survey_raises_nothing", repr(error))
        self.engine.wake.set()

    def _delete(self, cni: Cni, slot: int, pod: Pod) -> None:
        cni.delete(pod.key, pod.netns)
        if pod.alive:
            self.kill_netns(slot)

    def _serve_events(self) -> None:
        if not self.is_up:
            return
        if self._event:
            self._event = False
            self.survey()
        if self.is_up and self.engine.wake.is_set():
            self.engine.wake.clear()
            self._due = min(self._due, self.clock.now() + max(COALESCE, self._least_pause))
        self.stir()

    def _wakers(self) -> t.Iterator[float]:
        """When, by the cloud's clock, somebody's wait is over."""
        for task in self.tasks:
            if task.fiber.waiting and task.fiber.wakes_at is not None:
                yield self.clock.now() + task.fiber.wakes_at - self.boot()

    def _end_tasks(self) -> None:
        """The process is gone."""
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            with contextlib.suppress(Killed):
                task.fiber.resume(error=Killed())
        for pod in self.pods.values():
            if pod.stage in (Stage.ADDING, Stage.DELETING):
                pod.stage = Stage.CUT

    def _calm_down(self) -> None:
        self.cloud.faults.clear()
        self.cloud.lies.clear()
        self.cloud.uneven_lag = 0.0
        self.cloud.change(nics_per_account=0)
        for nic in self.cloud.named("filler"):
            self.cloud.delete(nic)
        self.cloud.release_jobs()
        self.kernel.lose = 0
        self.kernel.stubborn.clear()
        self.kernel.unforgettable.clear()
        for task in [task for task in self.tasks if not task.fiber.waiting]:
            if task in self.tasks:
                self.go_on(task)
        if vars(self.agent.settings).get("degradation"):
            if self.is_up:
                self.stop()
            self.agent.with_settings(degradation="")
        if not self.is_up:
            self.start()
        for slot, pod in list(self.pods.items()):
            if pod.stage is Stage.CUT:
                self.delete(slot)
        self.clone_works()

    def _unsettled(self) -> list[tuple[str, str]]:
        waiting = [("no_add_is_left_waiting", str(task.pod and task.pod.key)) for task in self.tasks]
        return waiting + [(one.__name__, text) for one in invariants.IN_THE_END for text in one(self)]

    def _agents_nics(self) -> list[Nic]:
        """Those that pods of any network may have; what lies elsewhere was made for a network that names its vxnet."""
        return [nic for nic in self._pool_nics() if nic.vxnet_id in self.agent.settings.vxnet]

    def _pool_nics(self) -> list[Nic]:
        return [nic for nic in self.engine.table.nics() if nic.purpose == POOL]

    def _note(self, name: str, found: t.Iterable[str]) -> None:
        self.problems += [Violation(name, text) for text in found]


class _Cancelled(HostnicError):
    """The agent stops."""


logging.getLogger("hostnic").setLevel(logging.CRITICAL)
