# SPDX-License-Identifier: GPL-3.0-or-later
"""One account in `hours`: an emulated cloud with a rate limit and a penalty, and the agents of its nodes.

Of the product everything between the reconciler's loop and the socket is the real thing: the agent's loop itself,
engine, plan, limiter, breaker and client, over HTTP on loopback. In memory are the links (nothing is done in a kernel)
and the journal, since neither takes time by this clock.
"""

from __future__ import annotations

import math
import random
import typing as t
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import yaml

from hostnic.agent import loops
from hostnic.cloud.build import connect
from hostnic.config import Settings
from hostnic.engine import Engine
from hostnic.states import State
from hostnic.store.memory import MemoryStore
from tests.bench.hours import Flag, Hours
from tests.emulator import Settings as CloudSettings
from tests.emulator import world
from tests.emulator.api import Api
from tests.emulator.cloud import Cloud
from tests.emulator.counters import Counters
from tests.emulator.dataplane.base import NoDataPlane, Port
from tests.emulator.faults import FaultBook
from tests.emulator.http import Reply, Request
from tests.emulator.jobs import next_event
from tests.emulator.runner import JobRunner
from tests.model.fibers import Fiber
from tests.model.listener import Listener
from tests.support.memory_kernel import MemoryKernel, SilentGuard

ZONE: t.Final = "lab1"
HOSTS: t.Final = "vxnet-hosts000"
KEY: t.Final = "QYFLEETKEYEXAMPLE001"
SECRET: t.Final = "SECRETACCESSKEY"
ROUND_TRIP: t.Final = 0.1  # s from a request to its answer


def world_of(networks: t.Mapping[str, str], instances: t.Iterable[str]) -> dict[str, t.Any]:
    """The emulator's world: vxnets of one VPC, id ► network, and instances with their primary NIC in `HOSTS`."""
    return {
        "zone": ZONE,
        "access_keys": [{"access_key_id": KEY, "secret_access_key": SECRET, "owner": "usr-fleet001"}],
        "routers": [{"router_id": "rtr-fleet001", "vpc_network": "172.16.0.0/12"}],
        "vxnets": [
            {"vxnet_id": vxnet_id, "ip_network": network, "router_id": "rtr-fleet001", "vxnet_type": 1}
            for vxnet_id, network in networks.items()
        ],
        "instances": [
            {"instance_id": instance_id, "netns": instance_id, "primary": {"vxnet_id": HOSTS}}
            for instance_id in instances
        ],
    }


def write_access(directory: Path, host: str, port: int) -> Path:
    """The access file for that world."""
    path = directory / "client.yaml"
    keys = {"qy_access_key_id": KEY, "qy_secret_access_key": SECRET, "zone": ZONE}
    path.write_text(yaml.safe_dump({**keys, "host": host, "port": port, "protocol": "http", "uri": "/iaas"}))
    path.chmod(0o600)
    return path


class Called(t.NamedTuple):
    """One call as the cloud sees it; seconds since the beginning."""

    moment: float
    action: str
    rejected: bool


class Fabric(NoDataPlane):
    """Plugs a NIC in at the node that it is attached to."""

    def __init__(self) -> None:
        self.kernels: dict[str, MemoryKernel] = {}
        self._where: dict[str, MemoryKernel] = {}

    def plug(self, ports: t.Sequence[Port]) -> set[str]:
        for netns in {port.netns for port in ports}:
            kernel = self.kernels[netns]
            self._where.update((port.nic_id, kernel) for port in ports if port.netns == netns)
            kernel.plug(ports)
        return set()

    def unplug(self, nic_ids: t.Sequence[str]) -> None:
        for nic_id in nic_ids:
            self._where.pop(nic_id).unplug([nic_id])


class Account:
    """A cloud with `nodes` instances, each with its primary NIC, and `vxnets` for their pods."""

    def __init__(self, nodes: int, vxnets: int, settings: t.Mapping[str, t.Any], directory: Path, seed: int) -> None:
        self.hours = Hours()
        self.calls: list[Called] = []
        self.vxnets = tuple(f"vxnet-pods{number:04}" for number in range(vxnets))
        self.instances = tuple(f"i-{number:08x}" for number in range(nodes))
        self._fabric = Fabric()
        self._fabric.kernels.update((instance_id, MemoryKernel(instance_id)) for instance_id in self.instances)
        self.cloud = Cloud(CloudSettings().changed(settings), self.hours.clock, self._fabric, seed)
        world.build(self.cloud, self._world())
        self._runner = JobRunner(self.cloud)
        self._api = Api(self.cloud, FaultBook(), Counters(), self._runner.poke)
        self._jobs_at = math.inf  # when jobs go on by themselves, as far as that is awaited
        self._listener = Listener()
        self._listener.answer = self._answer
        self.beginning = self.hours.now()
        self.access = write_access(directory, self._listener.host, self._listener.port)

    def elapsed(self) -> float:
        return self.hours.now() - self.beginning

    def kernel(self, instance_id: str) -> MemoryKernel:
        return self._fabric.kernels[instance_id]

    def close(self) -> None:
        self.hours.close()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _world(self) -> dict[str, t.Any]:
        """A /20 for the hosts and a /24 for each vxnet of pods."""
        networks = {HOSTS: "172.16.0.0/20"}
        networks.update((vxnet_id, f"172.17.{number}.0/24") for number, vxnet_id in enumerate(self.vxnets))
        return world_of(networks, self.instances)

    def _answer(self, request: Request) -> t.Optional[Reply]:
        """In the listener's thread, while the one that calls waits for it."""
        text = request.query if request.method == "GET" else request.body.decode("ascii")
        action = dict(parse_qsl(text)).get("action", "")
        reply = self._api.answer(request)
        rejected = reply is None or b"too frequently" in reply.body
        self.calls.append(Called(self.elapsed(), action, rejected))
        if action in ("AttachNics", "DetachNics") and not rejected:
            self._follow_jobs()
        return reply

    def _follow_jobs(self) -> None:
        event = next_event(self.cloud)
        if event is not None and event[0] < self._jobs_at:
            self._jobs_at = event[0]
            self.hours.at(event[0], self._run_jobs)

    def _run_jobs(self) -> None:
        self._jobs_at = math.inf
        self._runner.run_due()
        self._follow_jobs()


@dataclass
class Agent:
    """Of one node; `warm_at`, `up_at`: seconds since the beginning, None before. May be started again."""

    account: Account
    instance_id: str
    settings: Settings
    dice: random.Random

    def __post_init__(self) -> None:
        self.kernel = self.account.kernel(self.instance_id)
        self.store = MemoryStore()
        self.age = self.dice.uniform(100.0, 1e6)  # s since its machine was switched on
        self.warm_at: t.Optional[float] = None
        self.up_at: t.Optional[float] = None
        self._fiber: t.Optional[Fiber] = None
        self._stop: t.Optional[Flag] = None

    def boottime(self) -> float:
        return self.account.elapsed() + self.age

    def start(self) -> None:
        """Its process begins, and works as the agent's does."""
        hours, dice = self.account.hours, self.dice.random
        cloud = connect(
            self.settings,
            clock=self.boottime,
            sleep=hours.sleep,
            rng=dice,
            observe=lambda *__: hours.sleep(ROUND_TRIP),
        )
        engine = Engine(
            self.settings, self.instance_id, "boot", cloud, self.kernel, SilentGuard(), self.store, self.boottime, dice,
            wake=Flag(hours),
        )  # fmt: skip
        on_link = loops.follow_links(engine)
        self.kernel.on_change = lambda: hours.at(hours.now(), lambda: on_link(None))
        self.engine, self._stop = engine, Flag(hours)
        stop = self._stop
        self._fiber = hours.begin(self.instance_id, lambda: loops.reconcile(engine, self._round_is_over, stop))

    def kill(self) -> None:
        if self._fiber is not None:
            self.kernel.on_change = lambda: None
            self.account.hours.kill(self._fiber)
            self._fiber = None
        self.up_at = None

    def _round_is_over(self) -> None:
        told = self.engine.reconciler.explain()
        if self.up_at is None and told["looked_ago"] is not None:
            self.up_at = self.account.elapsed()
        ready = len(self.engine.table.nics(State.READY))
        if self.warm_at is None and ready >= self.settings.pool_low:
            self.warm_at = self.account.elapsed()
