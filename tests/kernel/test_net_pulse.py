# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way of moving a link has the pulse beat while the kernel works."""

from __future__ import annotations

import os
import threading
import typing as t

import pytest

from hostnic.model import PodLink
from tests.kernel.net_world import World
from tests.support.stirring import named, rests, wakings

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

POD = PodLink("eth0", "172.16.1.5/24")
MOVES = 5
LEAST = 3  # wakings for each; a move takes the kernel three ticks of 1 to 10 ms, and a thread that never naps has one


@pytest.fixture
def world() -> t.Iterator[World]:
    with World() as one:
        yield one
    assert "pulse" not in [thread.name for thread in threading.enumerate()]


def beaten(world: World, there: t.Callable[[], t.Any], back: t.Callable[[], t.Any]) -> int:
    """How often it woke while `there` was done; `back` undoes that."""
    there()
    back()
    rests(named("pulse"))
    total = 0
    for __ in range(MOVES):
        before = wakings(named("pulse"))
        there()
        total += wakings(named("pulse")) - before
        back()
        rests(named("pulse"))
    return total


def test_into_a_pod_and_back(world: World) -> None:
    mac = world.nic()
    world.links.park(mac)
    __, pod = world.pod()
    into: t.Callable[[], t.Any] = lambda: world.links.to_pod(mac, pod, POD)  # noqa: E731
    back: t.Callable[[], t.Any] = lambda: world.links.from_pod(mac, pod, "eth0", 0)  # noqa: E731
    assert beaten(world, into, back) >= MOVES * LEAST
    into()
    assert beaten(world, back, into) >= MOVES * LEAST


def test_from_parking_to_the_host_and_back(world: World) -> None:
    mac = world.nic()
    world.links.park(mac)
    out: t.Callable[[], t.Any] = lambda: world.links.host_gateway(mac, "gw0", "172.16.1.9/24")  # noqa: E731
    back: t.Callable[[], t.Any] = lambda: world.links.park(mac)  # noqa: E731
    assert beaten(world, out, back) >= MOVES * LEAST
    out()
    assert beaten(world, back, out) >= MOVES * LEAST
