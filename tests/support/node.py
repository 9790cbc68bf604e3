# SPDX-License-Identifier: GPL-3.0-or-later
"""A node without a machine: the real pool and client, the emulator, a kernel in memory, a manual clock."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import threading
import typing as t
from pathlib import Path

import yaml

from hostnic.agent.loops import follow_links
from hostnic.agent.metrics import Metrics
from hostnic.cloud.build import connect
from hostnic.cloud.limiter import RateLimiter
from hostnic.cloud.qingcloud import QingCloud
from hostnic.config import Settings
from hostnic.engine import Engine
from hostnic.errors import PoolEmpty
from hostnic.model import LeaseKey, Nic, PodLink, Route
from hostnic.ports import Store
from hostnic.probed import Probed
from hostnic.reconcile import COALESCE
from hostnic.states import State
from hostnic.store.memory import MemoryStore
from hostnic.telemetry import SILENCE
from tests.emulator import Emulator, ManualClock
from tests.emulator import Settings as CloudSettings
from tests.emulator import jobs as cloud_jobs
from tests.emulator.http import HttpService
from tests.support.memory_kernel import MemoryKernel, SilentGuard

INSTANCE = "i-node0001"
TICK = 0.25  # s of emulated time in which nothing is noticed
ADD_PATIENCE = 88.0  # s that an ADD waits for a NIC: the plugin's limit less its margin
WALL_LIMIT = 20.0  # s of wall time after which a test is stuck
KEY = {"access_key_id": "QYACCESSKEYIDEXAMPLE", "secret_access_key": "SECRETACCESSKEY", "owner": "usr-test0001"}
WORLD = {
    "zone": "lab1",
    "access_keys": [KEY],
    "routers": [{"router_id": "rtr-test0001", "vpc_network": "172.16.0.0/16"}],
    "vxnets": [
        {"vxnet_id": "vxnet-nodes01", "ip_network": "172.16.0.0/24", "router_id": "rtr-test0001", "vxnet_type": 1},
        {"vxnet_id": "vxnet-pods001", "ip_network": "172.16.1.0/24", "router_id": "rtr-test0001", "vxnet_type": 1},
        {"vxnet_id": "vxnet-pods002", "ip_network": "172.16.2.0/24", "router_id": "rtr-test0001", "vxnet_type": 1},
    ],
    "instances": [
        {"instance_id": INSTANCE, "netns": "node1", "primary": {"vxnet_id": "vxnet-nodes01"}},
        {"instance_id": "i-node0002", "netns": "node2", "primary": {"vxnet_id": "vxnet-nodes01"}},
    ],
}


class Node:
    """`with Node(tmp_path) as node:`; `node.run(seconds)` lets the agent's loop turn in emulated time."""

    access: t.ClassVar[dict[str, t.Any]] = {"connection_timeout": 5}  # more keys of the access file

    def __init__(
        self,
        directory: Path,
        *,
        cloud: t.Optional[CloudSettings] = None,
        store: t.Optional[Store] = None,
        probed: t.Optional[Probed] = None,
        metrics: t.Optional[Metrics] = None,
        **settings: t.Any,
    ) -> None:
        self._probed = probed
        self.metrics = metrics
        self.clock = self._new_clock()
        self.kernel = MemoryKernel("node1")
        self.guard = SilentGuard()
        self.emulator = Emulator(cloud, world=WORLD, clock=self.clock, dataplane=self.kernel, seed=1)
        self.store = store or MemoryStore()
        self.boot_id = "boot-1"
        self.instance_id = INSTANCE
        self._directory = directory
        self._settings = {"vxnet": ("vxnet-pods001",), "zone": "lab1", **settings}

    def __enter__(self) -> Node:
        self.emulator.start()
        self.start_agent()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.emulator.stop()

    def start_agent(self) -> None:
        """Build the pool anew from its journal, as a restarted agent does."""
        host, __, port = self.emulator.url.removeprefix("http://").partition(":")
        access = self._directory / "client.yaml"
        access.write_text(
            yaml.safe_dump(
                {
                    "qy_access_key_id": KEY["access_key_id"],
                    "qy_secret_access_key": KEY["secret_access_key"],
                    "host": host,
                    "port": int(port),
                    "protocol": "http",
                    **self.access,
                }
            )
        )
        access.chmod(0o600)
        self.settings = Settings(access_file=str(access), **self._settings)
        self.cloud = self._connect()
        self.engine = Engine(
            self.settings,
            self.instance_id,
            self.boot_id,
            self.cloud,
            self.kernel,
            self.guard,
            self.store,
            self.clock.now,
            dice=self._dice,
            probed=self._probed,
            listener=self.metrics or SILENCE,
        )
        self.pool = self.engine.pool
        follow = follow_links(self.engine)
        self.kernel.on_change = lambda: follow(None)

    def _new_clock(self) -> ManualClock:
        return ManualClock(1_000_000.0)

    def _connect(self) -> QingCloud:
        """Calls take no time, and as many as it likes."""
        unlimited = RateLimiter(1e6, 1_000_000, self.clock.now, lambda seconds: None)
        observe = self.metrics.requested if self.metrics else None
        return connect(self.settings, limiter=unlimited, sleep=lambda seconds: None, observe=observe)

    def _dice(self) -> float:
        return 0.5

    def run(self, seconds: float) -> None:
        """The loop's rounds for so long; each takes no time by itself."""
        until = self.clock.now() + seconds
        while self.clock.now() < until:
            self.engine.wake.clear()
            self._sleep(min(max(0.05, self.engine.reconciler.step()), until - self.clock.now()))
            if self.engine.wake.is_set() and self.clock.now() < until:
                self.emulator.advance(min(COALESCE, until - self.clock.now()))

    def _sleep(self, seconds: float) -> None:
        """As the agent's loop does: until something wakes it."""
        until = self.clock.now() + seconds
        while self.clock.now() < until and not self.engine.wake.is_set():
            self.emulator.advance(min(TICK, until - self.clock.now()))

    def add(self, container: str, netns: int, vxnets: tuple[str, ...] = (), patience: float = 0.0) -> Nic:
        """What a CNI ADD does; it waits for so many seconds at most."""
        key = LeaseKey("net", container, "eth0")
        nic, __ = self.pool.acquire(key, {}, self.clock.now() + patience, lambda: False, vxnets)
        default = Route("0.0.0.0/0", self.pool.vxnet(nic.vxnet_id).gateway)
        pod = PodLink("eth0", f"{nic.private_ip}/24", (default,))
        ifindex = self.kernel.to_pod(nic.nic_id, netns, pod).ifindex
        self.pool.commit(key, netns, ifindex)
        return nic

    def add_within(self, seconds: float, container: str, netns: int) -> float:
        """ADD again and again until it is served; returns how long it waited. `PoolEmpty` after so many seconds."""
        started = self.clock.now()
        while True:
            try:
                self.add(container, netns)
                return self.clock.now() - started
            except PoolEmpty:
                if self.clock.now() - started >= seconds:
                    raise
                self.run(0.2)

    def delete(self, container: str) -> None:
        key = LeaseKey("net", container, "eth0")
        lease = self.pool.lease(key)
        if lease:
            back = self.kernel.from_pod(lease.nic_id, lease.netns_inode, lease.ifname, lease.ifindex)
            self.pool.release(key, back)

    def explain(self) -> dict[str, t.Any]:
        return self.engine.reconciler.explain()

    def states(self) -> dict[State, int]:
        counts: dict[State, int] = {}
        for nic in self.engine.table.nics():
            counts[nic.state] = counts.get(nic.state, 0) + 1
        return counts

    def in_cloud(self) -> dict[str, str]:
        """NIC ► status, of the NICs that carry this pool's names."""
        return {
            nic.nic_id: nic.status
            for nic in self.emulator.cloud.nics.values()
            if nic.nic_name in (f"qingcni_{INSTANCE}", f"hostnic-gw_{INSTANCE}")
        }

    def calls(self, action: str = "") -> int:
        """How often the cloud was asked, for this action or at all."""
        counts = self.emulator.counters.to_dict()["calls"]
        return counts.get(action, 0) if action else sum(counts.values())


class Call(t.NamedTuple):
    """One request of the client: when it was over, and "ok" or the kind of its error."""

    moment: float
    action: str
    outcome: str


class Wait(t.NamedTuple):
    """One ADD: when it was asked for, how long it waited, and "" or why it got nothing."""

    asked: float
    seconds: float
    refused: str = ""


class FlowingClock(ManualClock):
    """Who sleeps on it makes time pass; `flow` knows what happens meanwhile."""

    flow: t.Callable[[float], None]

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        self.flow(seconds)


class Sleepers(threading.Condition):
    """The table's condition in emulated time, with a count of the ADDs that are not asleep in it."""

    def __init__(self, lock: threading.RLock, clock: t.Callable[[], float]) -> None:
        super().__init__(lock)
        self._clock = clock
        self._settled = threading.Condition(lock)
        self._until: dict[int, float] = {}  # thread that sleeps here ► when it wakes by itself
        self._awake = 0

    def wait(self, timeout: t.Optional[float] = None) -> bool:
        this = threading.get_ident()
        self._until[this] = math.inf if timeout is None else self._clock() + timeout
        self.ended()
        woken = super().wait(WALL_LIMIT)
        if not woken:
            raise TimeoutError("a waiting ADD was forgotten")
        return woken

    def notify_all(self) -> None:
        self._awake += len(self._until)
        self._until.clear()
        super().notify_all()

    def began(self) -> None:
        """One more ADD."""
        with self:
            self._awake += 1

    def ended(self) -> None:
        with self:
            self._awake -= 1
            self._settled.notify_all()

    def settle(self) -> None:
        """Return when every ADD is over or asleep, those woken whose time has come."""
        with self:
            if any(moment <= self._clock() for moment in self._until.values()):
                self.notify_all()
            if not self._settled.wait_for(lambda: self._awake == 0, WALL_LIMIT):
                raise TimeoutError("an ADD neither ends nor waits: is the table's lock held across a call?")

    def next_wake(self) -> float:
        with self:
            return min(self._until.values(), default=math.inf)


class TimedNode(Node):
    """A node at shipped defaults on which everything that takes time takes it, while pods come and go.

    The client has the shipped rate limiter, repetitions and time limits, all on the emulated clock. Wherever the agent
    waits, in its loop, for its turn to call, between repetitions, for a slow answer, `flow` lets time pass: jobs end,
    `at` events happen and ADDs wake up at their very moment. ADDs are threads that block in `Pool.acquire` as the
    server's do, in a condition that reads the emulated clock. Time stands still until each of them is asleep again or
    over, and the pool serves by the order of the queue, so that a run is the same each time.
    """

    access: t.ClassVar[dict[str, t.Any]] = {}

    def __init__(
        self, directory: Path, *, chance: t.Optional[t.Callable[[], float]] = None, **arguments: t.Any
    ) -> None:
        """`chance`: 0 <= x < 1, for back-off and repetitions."""
        self._chance = chance or random.Random(1).random
        self._events: list[tuple[float, int, t.Callable[[], object]]] = []
        self._numbers = itertools.count(1)
        self._front: t.Optional[HttpService] = None
        self.log: list[Call] = []
        self.waits: list[Wait] = []
        self.mishaps: list[BaseException] = []  # of pods
        super().__init__(directory, **arguments)

    def __enter__(self) -> TimedNode:
        super().__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._front:
            self._front.stop()
        super().__exit__(*exc_info)

    def _new_clock(self) -> ManualClock:
        clock = FlowingClock(1_000_000.0)
        clock.flow = self.flow
        return clock

    def _dice(self) -> float:
        return self._chance()

    def _connect(self) -> QingCloud:
        return connect(self.settings, observe=self._observe, clock=self.clock.now, sleep=self.flow, rng=self._dice)

    def _observe(self, action: str, seconds: float, outcome: str) -> None:
        self.log.append(Call(self.clock.now(), action, outcome))

    def start_agent(self) -> None:
        super().start_agent()
        table = self.engine.table
        table.changed = self._sleepers = Sleepers(table.lock, self.clock.now)

    # -- time --

    def run(self, seconds: float, until: t.Callable[[], bool] = lambda: False) -> None:
        """The loop of `hostnic.agent.loops` for so long, or until something is so at the end of one."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.engine.wake.clear()
            pause = self.engine.reconciler.step()
            if until():
                break
            self.flow(min(pause, end - self.clock.now()), until_woken=True)
            if self.engine.wake.is_set():
                self.flow(min(COALESCE, end - self.clock.now()))
        if self.mishaps:
            raise self.mishaps[0]

    def flow(self, seconds: float, until_woken: bool = False) -> None:
        """Let time pass, as far as to the next round where the agent is waiting for one."""
        end = self.clock.now() + max(0.0, seconds)
        while True:
            self.engine.survey.clean()  # the agent has a thread for it
            self._sleepers.settle()
            if self.clock.now() >= end or (until_woken and self.engine.wake.is_set()):
                return
            moments = [end, self._sleepers.next_wake(), *(event[0] for event in self._events[:1])]
            job = cloud_jobs.next_event(self.emulator.cloud)
            moments += [job[0]] if job else []
            self.emulator.advance(max(0.0, min(moments) - self.clock.now()))
            while self._events and self._events[0][0] <= self.clock.now():
                happens = heapq.heappop(self._events)[2]
                try:
                    happens()
                except Exception as mishap:
                    self.mishaps.append(mishap)
                self._sleepers.settle()

    def at(self, moment: float, happens: t.Callable[[], object]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), happens))

    # -- pods --

    def pod(self, lives: float) -> None:
        """A pod is wanted now; its ADD waits for a NIC as long as the plugin would, its DEL follows its life."""
        self._sleepers.began()
        threading.Thread(target=self._live, args=(next(self._numbers), lives), daemon=True).start()

    def _live(self, number: int, lives: float) -> None:
        asked, name = self.clock.now(), f"pod{number}"
        try:
            self.add(name, number, patience=ADD_PATIENCE)
            self.waits.append(Wait(asked, self.clock.now() - asked))
            self.at(self.clock.now() + lives, lambda: self.delete(name))
        except PoolEmpty as error:
            self.waits.append(Wait(asked, self.clock.now() - asked, error.message))
        except BaseException as mishap:
            self.mishaps.append(mishap)
        finally:
            self._sleepers.ended()

    # -- the way to the cloud --

    def close_door(self) -> None:
        """Connections to the API are refused from now on."""
        front = self._front or self.emulator._services[0]
        front.stop()

    def open_door(self) -> None:
        front = self._front or self.emulator._services[0]
        self._front = HttpService(front.address, self.emulator._api.answer)
        self._front.start()
