# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/conformance.md, run: the installed executable against each row, by verb and version, as a runtime calls it."""

from __future__ import annotations

import typing as t

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.conformance.bench import Bench
from tests.e2e.conformance.cell import Cell
from tests.e2e.conformance.matrix import CELLS, name_of
from tests.e2e.conformance.rows import Row

# NICs rest for no time, so that few of them serve all rows; what the agent learns of the cloud it learns soon.
SETTINGS = (
    "Environment=QINGAGENT_QUARANTINE=0s",
    "Environment=QINGAGENT_QUARANTINE_MIN=0s",
    "Environment=QINGAGENT_IDLE_TTL=1h",
    "Environment=QINGAGENT_POOL_LOW=8",
    "Environment=QINGAGENT_RECONCILE_INTERVAL=2s",
)
BOOT_ID = "/proc/sys/kernel/random/boot_id"
COPY = "/run/conformance-boot-id"


@pytest.fixture(scope="module")
def bench(cluster: Cluster) -> t.Iterator[Bench]:
    node = cluster.nodes[0]
    node.run(["cp", BOOT_ID, COPY])  # the agent's sandbox would show it that of the lab's machine
    with cluster.unit(node, *SETTINGS, f"BindReadOnlyPaths={COPY}:{BOOT_ID}"):
        cluster.wait_ready(node, 8)
        one = Bench(cluster, node)
        try:
            yield one
        finally:
            one.close()


def run(row: Row, verb: str, version: str, bench: Bench) -> None:
    """Raises AssertionError where the cell is not as the row says."""
    assert row.check, "nothing shows this row"
    cell = Cell(bench, verb, version)
    try:
        row.check(cell)
    finally:
        cell.close()
    assert cell.calls, "the row has not called the executable"


@pytest.mark.parametrize(("row", "verb", "version"), CELLS, ids=[name_of(*cell) for cell in CELLS])
def test_row(bench: Bench, row: Row, verb: str, version: str) -> None:
    run(row, verb, version, bench)
