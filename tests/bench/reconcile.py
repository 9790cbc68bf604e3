# SPDX-License-Identifier: GPL-3.0-or-later
"""What one round of the reconciler costs its node, as its own NICs and the account's nodes grow.

A round that looks at everything, as `qingagent look` orders it: all links, all NICs of the instance and of our name,
then the plan. Measured is processor time of the thread that does it, socket and signature included, so that neither the
emulator's work nor the machine's load counts; accounts of different sizes take turns in random order. Each other node
of the account has three NICs of its own pool. Calls are not held back; links and journal are in memory.

Not shown: the cloud's own time for a larger account, and what the kernel takes to list links.
"""

from __future__ import annotations

import random
import tempfile
import time
import typing as t
from pathlib import Path

from hostnic.config import Settings
from hostnic.model import nic_names
from tests.bench.account import ZONE, Account, Agent
from tests.bench.figures import Measured, Setting, compared
from tests.emulator import nics as nic_rules

NICS: t.Final = (1, 10, 60)
NODES: t.Final = (1, 10, 100, 1000)
EACH: t.Final = 3  # NICs of every other node
ROUNDS: t.Final = 60
SETTLED: t.Final = 60.0  # s in which a pool is filled


class Sample(t.NamedTuple):
    milliseconds: float
    calls: int


class Place:
    """A node with so many NICs in an account of so many nodes."""

    def __init__(self, nics: int, nodes: int, directory: Path) -> None:
        directory.mkdir()
        self.account = Account(nodes, nodes * EACH // 200 + 2, {}, directory, seed=nics * nodes)
        node, *others = self.account.instances
        settings = Settings(
            zone=ZONE, access_file=str(self.account.access), vxnet=self.account.vxnets[:1], pool_low=nics,
            pool_high=nics, api_rate=1000.0,
        )  # fmt: skip
        self._agent = Agent(self.account, node, settings, random.Random(1))
        self._others_have(others)
        self._agent.start()
        self.account.hours.run(self.account.hours.now() + SETTLED)
        if self._agent.warm_at is None:
            raise TimeoutError(f"a pool of {nics} NICs was not filled")

    def round(self) -> Sample:
        """One look at everything."""
        engine = self._agent.engine
        found: list[Sample] = []

        def work() -> None:
            calls = len(self.account.calls)
            engine.orders.look_wanted = True
            began = time.thread_time()
            engine.reconciler.step()
            found.append(Sample(1000 * (time.thread_time() - began), len(self.account.calls) - calls))

        self.account.hours.begin("round", work)
        self.account.hours.run(self.account.hours.now() + 10.0, lambda: bool(found))
        return found[0]

    def close(self) -> None:
        self.account.close()

    def _others_have(self, instances: t.Sequence[str]) -> None:
        cloud = self.account.cloud
        for number, instance_id in enumerate(instances):
            vxnet = cloud.vxnets[self.account.vxnets[1 + number * EACH // 200]]
            name = nic_names(instance_id, "hostnic")["pool"]
            for nic in nic_rules.create(
                cloud, vxnet, name=name, count=EACH, private_ips=(), disable_ip=False, lag=0.0
            ):  # fmt: skip
                nic_rules.set_attached(cloud, nic, instance_id, cloud.clock.now())


def measure(setting: Setting) -> Measured:
    rounds = ROUNDS // 6 if setting.quick else ROUNDS
    wanted = [*((nics, 1) for nics in NICS), *((max(NICS), nodes) for nodes in NODES[1:])]
    samples: dict[tuple[int, int], list[Sample]] = {one: [] for one in wanted}
    with tempfile.TemporaryDirectory() as scratch:
        places = {one: Place(*one, Path(scratch) / f"{one[0]}-{one[1]}") for one in wanted}
        try:
            for __ in range(rounds):
                for one in setting.dice.sample(wanted, len(wanted)):
                    samples[one].append(places[one].round())
        finally:
            for place in places.values():
                place.close()
    costs = {one: [sample.milliseconds for sample in found] for one, found in samples.items()}
    figure = compared("reconcile-60", costs[max(NICS), 1], costs[min(NICS), 1], "ms")
    raw = {
        "rounds": [
            {
                "nics": nics,
                "nodes": nodes,
                "milliseconds": [round(one, 3) for one in costs[nics, nodes]],
                "calls": samples[nics, nodes][0].calls,
            }
            for nics, nodes in wanted
        ]
    }
    for nics, nodes in wanted:
        median = sorted(costs[nics, nodes])[len(costs[nics, nodes]) // 2]
        setting.tell(f"reconcile: {nics} NICs, {nodes} nodes: {median:.2f} ms, {samples[nics, nodes][0].calls} calls")
    return Measured((figure,), raw, "1 to 60")
