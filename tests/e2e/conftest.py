# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab for the whole session: the one that runs, or one that is made and taken away again."""

from __future__ import annotations

import typing as t

import pytest

from tests.e2e.attachment import Sandbox
from tests.e2e.cluster import Cluster, lab
from tests.e2e.runtimes import ByContainerd, ByPodman, Podman, Runtime
from tests.lab.lab import Lab, Node
from tests.lab.paths import LAB_JSON


@pytest.fixture(scope="session")
def cluster() -> t.Iterator[Cluster]:
    """Two nodes with everything rolled out."""
    borrowed = LAB_JSON.exists()
    if not borrowed:
        lab("up")
    cluster = Cluster(Lab.load())
    if borrowed:
        cluster.sweep()
        cluster.play("site")
    yield cluster
    if not borrowed:
        lab("down")


@pytest.fixture(autouse=True)
def tidy(request: pytest.FixtureRequest) -> t.Iterator[None]:
    """No pod outlives its test."""
    yield
    if "cluster" in request.fixturenames:
        request.getfixturevalue("cluster").remove_pods()


@pytest.fixture
def sandbox() -> t.Iterator[t.Callable[[Node, str], Sandbox]]:
    """Makes netns in the role of containers, which are gone with the test."""
    made: list[Sandbox] = []

    def make(node: Node, name: str) -> Sandbox:
        made.append(Sandbox(node, name))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def podman(cluster: Cluster) -> t.Iterator[Podman]:
    """On the first node; its containers are gone with the test."""
    podman = Podman(cluster.nodes[0])
    yield podman
    podman.close()


@pytest.fixture(params=["podman", "containerd"])
def runtime(request: pytest.FixtureRequest, cluster: Cluster, podman: Podman) -> Runtime:
    """On the first node."""
    return ByPodman(podman) if request.param == "podman" else ByContainerd(cluster, cluster.nodes[0])
