# SPDX-License-Identifier: GPL-3.0-or-later
"""More pods at once than there are NICs, some of them killed half-way: who is served is served well, nothing leaks."""

from __future__ import annotations

import contextlib
import json
import re
import time
import typing as t
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.e2e import attachment
from tests.e2e.cluster import NAMESPACE, Cluster, Placed
from tests.lab.cri import Cri, CriError, Starting
from tests.lab.errors import LabError
from tests.lab.lab import Node
from tests.lab.wait import until

SANDBOXES, CANCELLED, KILLED, PAUSES = 60, 8, 6, 6
HANDED_OUT = 12  # pods that have their NIC when the first others are cut off
STORM, STAYING, ATTACHED_AT_MOST = 500, 5, 60  # max-nics
ADD_WITHIN, DEL_WITHIN = 90.0, 30.0  # s, qingcni's own deadlines
START_AND_EXIT = 15.0  # s for a process among 500 on two processors, beyond that
AGENTS_MEMORY = 150 << 10  # KiB
ANSWERS_WITHIN = 20.0  # s for a question among 500 pods
TRY_AGAIN = 11
WORKERS = 12


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> t.Iterator[Node]:
    """A node whose pool is as the role makes it, and is that again afterwards."""
    node = cluster.nodes[0]
    with shrunk(cluster, node), cluster.short_rest(node):
        cluster.wait_ready(node)
        yield node


@contextlib.contextmanager
def shrunk(cluster: Cluster, node: Node) -> t.Iterator[None]:
    """What nobody needs is given back at once, in one go, before and after.

    Also what the agent found under its name after a test that took its journal: it counts as pre-warmed.
    """
    give_back(cluster, node)
    yield
    give_back(cluster, node)


def give_back(cluster: Cluster, node: Node) -> None:
    eager = {
        "IDLE_TTL": "1s",
        "PREWARM_TTL": "1s",
        "QUARANTINE": "2s",
        "QUARANTINE_MIN": "1s",
        "ATTACH_CHUNK": "60",
        "POOL_HIGH": "3",
    }
    with cluster.unit(node, *(f"Environment=QINGAGENT_{key}={value}" for key, value in eager.items())):
        try:
            until(lambda: len(cluster.in_state(node, "READY")) <= 3 and cluster.at_rest(node), 90, "a small pool")
        except LabError as error:
            raise AssertionError(f"{error}: {cluster.pool(node)}, {cluster.journal(node, 'intent')}") from error


# -- by containerd ----------------------------------------------------------------------------------------------------


def test_sixty_sandboxes_at_once_of_which_some_are_cut_off(cluster: Cluster, node: Node) -> None:
    leases, put_back = cluster.ask(node, "leases"), cluster.links_put_back()
    standing = namespaces(node)
    with node.cri() as cri:
        starting = {f"crowd-{number}": cri.begin_pod(f"crowd-{number}", NAMESPACE) for number in range(SANDBOXES)}
        try:
            until(lambda: len(cluster.ask(node, "leases")) - len(leases) >= HANDED_OUT, 60, "the first pods")
            cut_off(node, starting)
            up, failed = outcome(starting)
            print(f"{len(up)} sandboxes are up, the others: {failed}")
            # each failure is one of those that were made, and no other sandbox has suffered from them
            assert len(up) >= SANDBOXES - CANCELLED - KILLED
            assert set(failed) <= {"CANCELLED", "killed"}
            assert 0 < failed["CANCELLED"] <= CANCELLED
            assert 0 < failed["killed"] <= KILLED
            pods = [Placed(node, cri.pod(sandbox_id)) for sandbox_id in up]
            check(cluster, pods)
            for placed in pods[:PAUSES]:
                node.run(["kill", "-KILL", str(placed.pod.pid)])
            check(cluster, pods)  # their netns and NICs are the sandboxes' until these are stopped
        finally:
            remove_all(cri)
        assert [pod for pod in cri.pods() if pod.namespace == NAMESPACE] == []
    assert cluster.ask(node, "leases") == leases
    assert namespaces(node) == standing
    assert qingcnis(node) == []
    cluster.wait_rest(node)
    cluster.wait_sound(node)
    assert cluster.links_put_back() == put_back  # each NIC was fetched by a DEL, or by its ADD itself


def cut_off(node: Node, starting: t.Mapping[str, Starting]) -> None:
    """Some clients hang up, and some plugins are killed."""
    for one in [one for one in reversed(list(starting.values())) if not one.done][:CANCELLED]:
        one.cancel()
    victims = until(lambda: qingcnis(node), 10, "a plugin at work")
    node.run(["kill", "-KILL", *victims[:KILLED]], check=False)  # some are done by now


def outcome(starting: t.Mapping[str, Starting]) -> tuple[list[str], Counter[str]]:
    """Sandboxes that are up, and why others are not."""
    up, failed = [], Counter[str]()
    for one in starting.values():
        try:
            up.append(one.sandbox_id())
        except CriError as error:
            failed["killed" if "signal: killed" in error.details else error.code or error.details] += 1
    return up, failed


def check(cluster: Cluster, pods: t.Sequence[Placed]) -> None:
    """Each has a NIC of its own, whose address it has, and packets come back."""
    with ThreadPoolExecutor(WORKERS) as pool:
        macs = list(pool.map(lambda placed: placed.mac(), pods))
        addresses = list(pool.map(lambda placed: placed.address(), pods))
        assert len(set(macs)) == len(set(addresses)) == len(pods)
        assert addresses == [placed.pod.ip for placed in pods]
        table = cluster.pool(pods[0].node)
        assert addresses == [table[mac]["private_ip"] for mac in macs]
        routers = {vxnet.vxnet_id: vxnet.gateway for vxnet in cluster.lab.vxnets}
        targets = [routers[table[mac]["vxnet_id"]] for mac in macs]
        answers = list(pool.map(lambda placed, target: placed.pings(target), pods, targets))
    assert all(answers), [placed.pod.name for placed, answer in zip(pods, answers) if not answer]


def remove_all(cri: Cri) -> None:
    """Those that are up, and what failed ones have left."""
    with ThreadPoolExecutor(WORKERS) as pool:
        ours = [pod for pod in cri.pods() if pod.namespace == NAMESPACE]
        list(pool.map(cri.stop_pod, ours))
        list(pool.map(cri.remove_pod, ours))


def namespaces(node: Node) -> set[str]:
    return {line.split()[0] for line in node.run(["ip", "netns", "list"]).stdout.splitlines()}


def qingcnis(node: Node) -> list[str]:
    """Pids of the executables that run on the node, be it a shell yet or the interpreter by now."""
    shown = node.run(["ps", "-eww", "-o", "pid=,args="]).stdout.splitlines()
    return [line.split()[0] for line in shown if re.search(r"/qingcni(-start\.py)?( |$)", line)]


# -- by hand ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agent:
    """Its process; memory in KiB."""

    pid: int
    rss: int
    most: int

    @classmethod
    def of(cls, node: Node) -> Agent:
        pid = node.run(["systemctl", "show", "--property=MainPID", "--value", "qingagent.service"]).stdout.strip()
        lines = node.run(["cat", f"/proc/{pid}/status"]).stdout.splitlines()
        values = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        return cls(int(pid), int(values["VmRSS"][0]), int(values["VmHWM"][0]))


def test_five_hundred_pods_at_once_by_the_executable(cluster: Cluster, node: Node) -> None:
    leases, before = cluster.ask(node, "leases"), Agent.of(node)
    slowest = 0.0
    with ThreadPoolExecutor(1) as pool:
        storm = pool.submit(attachment.storm, node, "crowd", STORM, str(STAYING))
        try:
            while not storm.done():
                began = time.monotonic()
                assert cluster.ask(node, "ping") == {"answers": True}
                slowest = max(slowest, time.monotonic() - began)
                with contextlib.suppress(TimeoutError):
                    storm.result(timeout=1)
        finally:
            calls = storm.result()
            attachment.sweep(node)
    after = Agent.of(node)
    adds, dels = ([one for one in calls if one["verb"] == verb] for verb in ("ADD", "DEL"))
    codes = Counter(one["status"] and json.loads(one["stdout"])["code"] for one in adds)
    reasons = Counter(json.loads(one["stdout"])["msg"] for one in adds if one["status"])
    print(
        f"ADD: {dict(codes)}, {dict(reasons)}, the slowest {max(one['seconds'] for one in adds):.1f} s; "
        f"DEL: the slowest {max(one['seconds'] for one in dels):.1f} s; agent: {before} {after}; "
        f"the slowest answer {slowest:.1f} s"
    )
    assert len(adds) == len(dels) == STORM
    assert set(codes) == {0, TRY_AGAIN}
    assert codes[0] > ATTACHED_AT_MOST  # NICs have served more than one pod each
    assert max(one["seconds"] for one in adds) < ADD_WITHIN + START_AND_EXIT
    assert {(one["status"], one["stdout"]) for one in dels} == {(0, "")}
    assert max(one["seconds"] for one in dels) < DEL_WITHIN + START_AND_EXIT
    assert slowest < ANSWERS_WITHIN

    staying = [one for number, one in enumerate(adds) if number % STAYING == 0 and one["status"] == 0]
    macs = [json.loads(one["stdout"])["interfaces"][0]["mac"] for one in staying]
    assert len(set(macs)) == len(macs)  # all of them had theirs at the same time
    assert after.pid == before.pid
    assert after.most < AGENTS_MEMORY
    assert cluster.ask(node, "leases") == leases
    assert len(cluster.wait_rest(node)) <= ATTACHED_AT_MOST
    cluster.wait_sound(node)
