# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods come and go at full speed: nothing leaks, NICs do not multiply."""

from __future__ import annotations

import time

from tests.e2e.cluster import Cluster
from tests.lab.wait import until

PODS = 50
WARM, QUARANTINE_MIN, BATCH = 8, 5.0, 3  # pool-high, quarantine-min, a growth of the least warm pool
TOLD_WITHIN = 4.0  # s between a growth and the answer that shows it


def test_a_stopped_pods_nic_returns_to_the_pool(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    cluster.wait_ready(node)
    placed = cluster.pod(node, "short")
    (link,) = placed.ip("link", "show", "dev", "eth0")
    cluster.stop(placed)
    assert cluster.pool(node)[link["address"]]["state"] == "QUARANTINE"
    assert link["address"] in cluster.parked(node)


def test_fifty_pods_at_full_speed(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    cluster.wait_ready(node)
    until(lambda: not cluster.in_state(node, "QUARANTINE"), 90, "a pool at rest")
    leases = cluster.ask(node, "leases")
    standing = len(cluster.pods_nics(node))
    stops: list[float] = []
    for number in range(PODS):
        placed = cluster.pod(node, f"churn-{number}")
        count = len(cluster.pods_nics(node))
        resting = len([moment for moment in stops if time.monotonic() - moment < QUARANTINE_MIN + TOLD_WITHIN])
        assert count <= max(standing, len(leases) + 1 + WARM + resting + BATCH), (number, count, resting)
        cluster.stop(placed)
        stops.append(time.monotonic())

    assert cluster.ask(node, "leases") == leases
    until(lambda: not cluster.in_state(node, "QUARANTINE"), 120, "a pool at rest")
    attached = {nic_id for nic_id, nic in cluster.cloud_nics(node).items() if nic["role"] == 0}
    assert attached == set(cluster.pool(node))
    held = {lease["nic_id"] for lease in leases}
    assert set(cluster.parked(node)) == cluster.pods_nics(node) - held == cluster.in_state(node, "READY")
