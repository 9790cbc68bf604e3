# SPDX-License-Identifier: GPL-3.0-or-later
"""Every block of every page that does not say otherwise does what it says: page by page, from top to bottom.

`docs/executed.md` counts blocks and lists those that are not executed, with the reason.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from tests.docs import pages
from tests.docs.session import Session, make_clone
from tests.e2e.cluster import Cluster

# What pages leave on nodes that a roll-out does not take away.
UNDONE = (
    "iptables -D FORWARD -i qg+ -j ACCEPT",
    "iptables -D FORWARD -o qg+ -j ACCEPT",
    "rm -rf /etc/mesos",
)
EXECUTED = [path for path in pages.paths() if any(not block.reason for block in pages.read(path))]


@pytest.fixture(scope="module")
def reader(cluster: Cluster) -> t.Iterator[Cluster]:
    """The cluster, which is afterwards as other tests expect it."""
    yield cluster
    for node in cluster.nodes:
        for command in UNDONE:
            node.run(command.split(), check=False)
    cluster.play("site")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clone(tmp_path_factory.mktemp("clone"))


@pytest.mark.parametrize("path", EXECUTED)
def test_page(reader: Cluster, clone: Path, path: str, tmp_path: Path) -> None:
    session = Session(reader.lab, clone, tmp_path)
    try:
        for block in pages.read(path):
            if not block.reason:
                session.execute(block)
    finally:
        session.close()
