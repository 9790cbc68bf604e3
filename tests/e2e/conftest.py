# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab for the whole session: the one that runs, or one that is made and taken away again."""

from __future__ import annotations

import typing as t

import pytest

from tests.e2e.cluster import Cluster, lab
from tests.lab.lab import Lab
from tests.lab.paths import LAB_JSON


@pytest.fixture(scope="session")
def cluster() -> t.Iterator[Cluster]:
    """Two nodes with everything rolled out."""
    borrowed = LAB_JSON.exists()
    if not borrowed:
        lab("up")
    cluster = Cluster(Lab.load())
    if borrowed:
        cluster.play("site")
        cluster.sweep()
    yield cluster
    if not borrowed:
        lab("down")


@pytest.fixture(autouse=True)
def tidy(request: pytest.FixtureRequest) -> t.Iterator[None]:
    """No pod outlives its test."""
    yield
    if "cluster" in request.fixturenames:
        request.getfixturevalue("cluster").remove_pods()
