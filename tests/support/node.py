# SPDX-License-Identifier: GPL-3.0-or-later
"""A node without a machine: the real pool and client, the emulator, a kernel in memory, a manual clock."""

from __future__ import annotations

import typing as t
from pathlib import Path

import yaml

from hostnic.agent.loops import follow_links
from hostnic.cloud.build import connect
from hostnic.cloud.limiter import RateLimiter
from hostnic.config import Settings
from hostnic.engine import Engine
from hostnic.errors import PoolEmpty
from hostnic.model import LeaseKey, Nic, PodLink
from hostnic.ports import Store
from hostnic.reconcile import COALESCE
from hostnic.states import State
from hostnic.store.memory import MemoryStore
from tests.emulator import Emulator, ManualClock
from tests.emulator import Settings as CloudSettings
from tests.support.memory_kernel import MemoryKernel, SilentGuard

INSTANCE = "i-node0001"
TICK = 0.25  # s of emulated time in which nothing is noticed
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

    def __init__(
        self,
        directory: Path,
        *,
        cloud: t.Optional[CloudSettings] = None,
        store: t.Optional[Store] = None,
        **settings: t.Any,
    ) -> None:
        self.clock = ManualClock(1_000_000.0)
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
        host, _, port = self.emulator.url.removeprefix("http://").partition(":")
        access = self._directory / "client.yaml"
        access.write_text(
            yaml.safe_dump(
                {
                    "qy_access_key_id": KEY["access_key_id"],
                    "qy_secret_access_key": KEY["secret_access_key"],
                    "host": host,
                    "port": int(port),
                    "protocol": "http",
                    "connection_timeout": 5,
                }
            )
        )
        access.chmod(0o600)
        self.settings = Settings(access_file=str(access), **self._settings)
        unlimited = RateLimiter(1e6, 1_000_000, self.clock.now, lambda seconds: None)
        self.cloud = connect(self.settings, limiter=unlimited, sleep=lambda seconds: None)
        self.engine = Engine(
            self.settings,
            self.instance_id,
            self.boot_id,
            self.cloud,
            self.kernel,
            self.guard,
            self.store,
            self.clock.now,
            dice=lambda: 0.5,
        )
        self.pool = self.engine.pool
        follow = follow_links(self.engine)
        self.kernel.on_change = lambda: follow(None)

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

    def add(self, container: str, netns: int, vxnets: tuple[str, ...] = ()) -> Nic:
        """What a CNI ADD does, without waiting."""
        key = LeaseKey("net", container, "eth0")
        nic, _ = self.pool.acquire(key, {}, self.clock.now(), lambda: False, vxnets)
        ifindex, _ = self.kernel.to_pod(nic.nic_id, netns, PodLink("eth0", f"{nic.private_ip}/24"))
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
