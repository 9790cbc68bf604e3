# SPDX-License-Identifier: GPL-3.0-or-later
"""Fifty pods at once on a real node: how long until the last has its network, and how long the median pod waits.

All executables are started at once and each is timed from exec to exit; then all DELs at once. Ours and host-device
take turns in random order, round after round, with a pool that has a NIC for each pod. Contenders and places are those
of `contenders.py`; a pod's namespace is used by both, one after the other.

The kernel moves one link at a time, so the sum of the moves is a floor for the last pod on both sides. It cannot show
what fifty runtimes' own work beside it does: nothing else is started here.
"""

from __future__ import annotations

import statistics
import typing as t
from collections import defaultdict
from contextlib import ExitStack

from tests.bench import contenders
from tests.bench.contenders import HOST_DEVICE, OURS, Contender, Places, Remote
from tests.bench.figures import Figure, Measured, Setting, Spread, compared
from tests.e2e.cluster import Cluster

PODS, NICS = 50, 60
ROUNDS, QUICK_ROUNDS = 6, 1

Pods = dict[str, list[list[float]]]  # the pods' times of each round, in ms


def measure(setting: Setting) -> Measured:
    cluster = Cluster(setting.lab())
    node = cluster.nodes[0]
    setting.tell(f"{NICS} NICs on {node.name}")
    with ExitStack() as stack:
        stack.enter_context(contenders.warm(cluster, {node.name: NICS}))
        places = stack.enter_context(Places(node, devices=PODS, pods=PODS))
        mine, others = (stack.enter_context(Remote(node, where)) for where in ("", contenders.HOST))
        sides = {
            OURS: (mine, [places.ours()] * PODS),
            HOST_DEVICE: (others, [places.host_device(number) for number in range(PODS)]),
        }
        pods: Pods = defaultdict(list)
        last: dict[str, list[float]] = defaultdict(list)
        for number in range(QUICK_ROUNDS if setting.quick else ROUNDS):
            turns = list(sides)
            setting.dice.shuffle(turns)
            for name in turns:
                cluster.wait_ready(node, PODS)
                for verb in ("ADD", "DEL"):
                    taken, whole = _burst(*sides[name], verb, f"burst-{number}", places.pods())
                    pods[f"{name} {verb.lower()}"].append(taken)
                    last[f"{name} {verb.lower()}"].append(whole)
            setting.tell(
                f"burst {number + 1}: {last['qingcni add'][-1]:.0f} against {last['host-device add'][-1]:.0f} ms"
            )
    raw = {"unit": "ms", "last": dict(last), "pods": dict(pods)}
    return Measured((_whole(last), _median(pods)), raw, str(NICS))


def _burst(
    remote: Remote, sides: t.Sequence[Contender], verb: str, name: str, pods: t.Sequence[str]
) -> tuple[list[float], float]:
    """Each pod's time and the time until the last one had its, in ms."""
    steps = [one.step(verb, f"{name}-{number}", pod) for number, (one, pod) in enumerate(zip(sides, pods))]
    done = remote.crowd(*steps)
    whole = max(one["ended"] for one in done) - min(one["began"] for one in done)
    return [round(one["seconds"] * 1000, 2) for one in done], round(whole * 1000, 2)


def _whole(last: t.Mapping[str, list[float]]) -> Figure:
    return compared("burst-last", last["qingcni add"], last["host-device add"], "ms")


def _median(pods: Pods) -> Figure:
    """The median round's median pod; the spreads are those of all pods."""
    ours, theirs = pods["qingcni add"], pods["host-device add"]
    medians = [statistics.median(statistics.median(one) for one in rounds) for rounds in (ours, theirs)]
    spreads = [Spread.of([taken for one in rounds for taken in one], "ms") for rounds in (ours, theirs)]
    return Figure("burst-median", medians[0] / medians[1], len(ours) * PODS, *spreads)
