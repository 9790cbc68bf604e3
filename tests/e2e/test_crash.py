# SPDX-License-Identifier: GPL-3.0-or-later
"""`kill -9` of the agent, again and again, while pods start and stop: what an ADD promised holds, nothing is lost."""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
import typing as t
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

import pytest

from tests.e2e.cluster import KILLED, Cluster, Placed
from tests.lab.cri import CriError
from tests.lab.errors import LabError
from tests.lab.lab import Node
from tests.lab.wait import until

SEED = int(os.environ.get("E2E_SEED") or random.SystemRandom().randrange(1 << 32))
PODS, PODS_OF_CONTAINERD = 270, 30
WORKERS, AT_ONCE = 8, 2
KILLS, PODS_A_KILL = 25, 10
SOONEST, LATEST = 0.05, 0.8
AT_START = 0.2  # of the kills: not after the agent has come up, but while it starts
TIME = 240.0  # s, three times what the churn takes on two processors
HASTY, LONGEST_HASTE = 0.4, 1.5  # of the calls: killed themselves, after so many seconds at most
TRIES = 3  # ADDs until a pod stands
NAME = "crash"


class Killer:
    """Ends the agent without warning, once for every few pods; `kills` says how often so far."""

    def __init__(self, node: Node, dice: random.Random) -> None:
        self._node = node
        self._dice = dice
        self.kills = 0

    def run(self, started: t.Callable[[], int], over: threading.Event) -> None:
        last = 0
        while not over.is_set():
            if started() < self.kills * PODS_A_KILL:
                over.wait(0.01)
                continue
            starting = self._dice.random() < AT_START
            find = partial(self._victim, last, starting)
            try:
                last = until(find, 30, f"an agent after {self.kills} kills")
            except LabError as error:
                told = self._node.run(["journalctl", "--unit", "qingagent", "--lines", "60", "--no-pager"]).stdout
                raise AssertionError(f"{error}, {systemd(self._node, 'ActiveState', 'SubState')}:\n{told}") from error
            if over.wait(self._dice.uniform(0.0 if starting else SOONEST, LATEST)):
                return
            self._node.run(["kill", "-KILL", str(last)])
            self.kills += 1

    def _victim(self, last: int, starting: bool) -> int:
        """The pid of an agent that was not killed yet: one that has told systemd that it is ready, or any."""
        shown = systemd(self._node, "MainPID", "ActiveState")
        pid = int(shown["MainPID"])
        return pid if pid != last and (starting or shown["ActiveState"] == "active") else 0


def systemd(node: Node, *properties: str) -> dict[str, str]:
    words = [f"--property={name}" for name in properties]
    shown = node.run(["systemctl", "show", *words, "qingagent.service"]).stdout
    return dict(line.split("=", 1) for line in shown.splitlines())


@dataclass(frozen=True)
class Pod:
    """What the ADD of this pod promised; `gateway` answers pings."""

    netns: str
    mac: str
    address: str
    gateway: str
    placed: t.Optional[Placed] = None  # of containerd


class Pods:
    """Netns with qingcni executed as by a runtime; a failed ADD is followed by a DEL and a new pod, as kubelet does.

    With `haste` some calls are killed, as by a runtime that is restarted: after such an ADD the netns goes without a
    DEL, such a DEL is repeated.
    """

    def __init__(self, cluster: Cluster, node: Node, killer: Killer) -> None:
        self._cluster = cluster
        self._node = node
        self._killer = killer
        self.failures: list[str] = []
        self.interrupted: Counter[str] = Counter()
        self.hasty: Counter[str] = Counter()
        self._calls: list[tuple[str, str]] = []

    def start(self, name: str, haste: t.Optional[random.Random] = None) -> Pod:
        for attempt in range(TRIES):
            netns = f"{name}-{attempt}"
            self._node.run(["ip", "netns", "add", netns])
            status, said = self._call("ADD", netns, None if attempt else haste)
            if status == 0:
                return self._promised(netns, said)
            if status == KILLED:
                self._node.run(["ip", "netns", "del", netns])
            else:
                self.failures.append(f"{netns}: {said}")
                self._end(netns)
        raise AssertionError(f"{name} does not start: {self.failures[-TRIES:]}")

    def stop(self, pod: Pod, haste: t.Optional[random.Random] = None) -> None:
        self._end(pod.netns, haste)

    def check(self, pod: Pod) -> None:
        """Its interface is what the ADD said, and packets come back."""
        (link,) = json.loads(self._node.run(["ip", "-netns", pod.netns, "-json", "addr", "show", "dev", "eth0"]).stdout)
        (address,) = [info for info in link["addr_info"] if info["family"] == "inet"]
        shown = (link["address"], f"{address['local']}/{address['prefixlen']}")
        assert shown == (pod.mac, pod.address), pod
        ping = ["ip", "netns", "exec", pod.netns, "ping", "-c", "1", "-W", "2", pod.gateway]
        done = self._node.run(ping, check=False)
        assert done.returncode == 0, (pod, done.stdout)

    def _promised(self, netns: str, result: t.Any) -> Pod:
        (interface,), (ip,) = result["interfaces"], result["ips"]
        return Pod(netns, interface["mac"], ip["address"], ip["gateway"])

    def _end(self, netns: str, haste: t.Optional[random.Random] = None) -> None:
        answer = self._call("DEL", netns, haste)
        if answer[0] == KILLED:
            answer = self._call("DEL", netns)
        assert answer == (0, None), self._history(netns)
        links = json.loads(self._node.run(["ip", "-netns", netns, "-json", "link"]).stdout)
        assert [link["ifname"] for link in links] == ["lo"], self._history(netns)
        self._node.run(["ip", "netns", "del", netns])

    def _call(self, verb: str, netns: str, haste: t.Optional[random.Random] = None) -> tuple[int, t.Any]:
        kills, began = self._killer.kills, time.monotonic()
        patience = haste.uniform(0, LONGEST_HASTE) if haste and haste.random() < HASTY else None
        status, said = self._cluster.qingcni(self._node, verb, netns, f"/run/netns/{netns}", NAME, patience)
        self.interrupted[verb] += self._killer.kills > kills
        self.hasty[verb] += status == KILLED
        self._calls.append((netns, f"{verb} {status} {time.monotonic() - began:.1f} s: {said}"))
        return status, said

    def _history(self, netns: str) -> list[str]:
        return [call for name, call in self._calls if name == netns]


class PodsOfContainerd(Pods):
    """The same by CRI."""

    def start(self, name: str, haste: t.Optional[random.Random] = None) -> Pod:
        for attempt in range(TRIES):
            try:
                placed = self._cluster.pod(self._node, f"{name}-{attempt}")
            except CriError as error:
                self.failures.append(f"{name}-{attempt}: {error}")
                self._forget(f"{name}-{attempt}")
            else:
                return self._of(placed)
        raise AssertionError(f"{name} does not start: {self.failures[-TRIES:]}")

    def stop(self, pod: Pod, haste: t.Optional[random.Random] = None) -> None:
        assert pod.placed is not None
        self._cluster.stop(pod.placed)

    def _forget(self, name: str) -> None:
        with self._node.cri() as cri:
            for pod in cri.pods():
                if pod.name == name:
                    cri.remove_pod(pod)

    def _of(self, placed: Placed) -> Pod:
        """CRI tells the address alone: the NIC has to be the one with that address."""
        nics = self._cluster.cloud_nics(self._node).values()
        (nic,) = [nic for nic in nics if nic["private_ip"] == placed.pod.ip]
        vxnet = next(vxnet for vxnet in self._cluster.lab.vxnets if vxnet.vxnet_id == nic["vxnet_id"])
        netns = placed.pod.netns.rpartition("/")[2]
        address = f"{placed.pod.ip}/{vxnet.cidr.partition('/')[2]}"
        return Pod(netns, nic["nic_id"], address, vxnet.gateway, placed)


class Churn:
    """Workers that start and stop pods, with a few of each alive, until there were enough of pods and kills."""

    def __init__(self, killer: Killer) -> None:
        self._killer = killer
        self._until = time.monotonic() + TIME
        self._numbers = itertools.count(1)
        self.started = 0
        self.broken = threading.Event()

    def work(self, pods: Pods, name: str, dice: random.Random, count: t.Optional[int] = None) -> None:
        """`count` pods; without: as long as needed."""
        alive: list[Pod] = []
        mine = 0
        while not self.broken.is_set():
            more = mine < count if count is not None else self._more()
            if more and (not alive or len(alive) < AT_ONCE and dice.random() < 0.6):
                mine += 1
                self.started = next(self._numbers)
                alive.append(pods.start(f"{NAME}-{name}-{mine}", dice))
                pods.check(alive[-1])
            elif alive:
                pod = alive.pop(dice.randrange(len(alive)))
                pods.check(pod)
                pods.stop(pod, dice)
            else:
                return

    def _more(self) -> bool:
        assert time.monotonic() < self._until, f"{self.started} pods and {self._killer.kills} kills in {TIME:g} s"
        return self.started < PODS + PODS_OF_CONTAINERD or self._killer.kills < KILLS


@pytest.fixture
def node(cluster: Cluster) -> t.Iterator[Node]:
    """A node whose NICs rest for a short time only."""
    node = cluster.nodes[0]
    sweep(cluster, node)
    with cluster.short_rest(node):
        cluster.wait_ready(node)
        yield node
        sweep(cluster, node)


def sweep(cluster: Cluster, node: Node) -> None:
    """Remove what a failed run has left."""
    for line in node.run(["ip", "netns", "list"]).stdout.splitlines():
        if line.startswith(f"{NAME}-"):
            netns = line.split()[0]
            cluster.qingcni(node, "DEL", netns, f"/run/netns/{netns}", NAME)
            node.run(["ip", "netns", "del", netns])


def test_an_agent_that_is_killed_all_the_time_loses_nothing(cluster: Cluster, node: Node) -> None:
    print(f"to have the same dice again: E2E_SEED={SEED}")
    leases, began = cluster.ask(node, "leases"), int(time.time())
    restarts = int(systemd(node, "NRestarts")["NRestarts"])
    killer = Killer(node, random.Random(f"{SEED} killer"))
    by_hand, by_containerd = Pods(cluster, node, killer), PodsOfContainerd(cluster, node, killer)
    started, seconds = churned(killer, by_hand, by_containerd)
    failures = by_hand.failures + by_containerd.failures
    print(
        f"{started} pods and {killer.kills} kills in {seconds:.0f} s, during {dict(by_hand.interrupted)} calls; "
        f"killed themselves: {dict(by_hand.hasty)}; {len(failures)} ADDs failed: {failures}"
    )
    assert by_hand.interrupted["ADD"] and by_hand.interrupted["DEL"]
    until(lambda: systemd(node, "ActiveState")["ActiveState"] == "active", 30, "an agent")
    # each kill was followed by one start, which systemd's start limit has not prevented; no agent ended by itself
    assert int(systemd(node, "NRestarts")["NRestarts"]) - restarts == killer.kills

    ready = cluster.wait_rest(node)
    assert cluster.ask(node, "leases") == leases
    cluster.wait_sound(node)
    assert node.run(["find", "/var/lib/qingagent/spool", "-type", "f"], check=False).stdout == ""

    # every NIC that is READY is one: as many pods get them all
    with ThreadPoolExecutor(WORKERS) as pool:
        pods = list(pool.map(by_hand.start, [f"{NAME}-again-{number}" for number in range(len(ready))]))
        assert {pod.mac for pod in pods} == ready
        list(pool.map(by_hand.check, pods))
        assert len(cluster.ask(node, "leases")) == len(leases) + len(pods)
        list(pool.map(by_hand.stop, pods))
    cluster.wait_sound(node)
    said = node.run(["journalctl", "--unit=qingagent.service", f"--since=@{began}", "--output=cat"]).stdout
    assert "Traceback" not in said, said[said.index("Traceback") - 500 :][:3000]


def churned(killer: Killer, by_hand: Pods, by_containerd: Pods) -> tuple[int, float]:
    """Pods started, and in how many seconds; raises what the first of the workers has raised."""
    began, over, churn = time.monotonic(), threading.Event(), Churn(killer)
    with ThreadPoolExecutor(WORKERS + 2) as pool:
        death = pool.submit(killer.run, lambda: churn.started, over)
        dice = [random.Random(f"{SEED} {number}") for number in range(WORKERS + 1)]
        work = [pool.submit(churn.work, by_hand, str(number), dice[number]) for number in range(WORKERS)]
        work.append(pool.submit(churn.work, by_containerd, "cri", dice[-1], PODS_OF_CONTAINERD))
        for task in (death, *work):
            task.add_done_callback(lambda task: churn.broken.set() if task.exception() else None)
        wait(work)
        over.set()
    for task in (death, *work):
        task.result()
    return churn.started, time.monotonic() - began
