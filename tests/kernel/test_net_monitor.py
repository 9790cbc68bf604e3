# SPDX-License-Identifier: GPL-3.0-or-later
"""Link events of the host's namespace."""

from __future__ import annotations

import os
import subprocess
import threading
import typing as t

import pytest

from hostnic.errors import LinkFailed
from hostnic.net.monitor import LinkMonitor
from tests.kernel.net_world import World, ip, resources, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def world() -> t.Iterator[World]:
    with World() as world:
        yield world


def test_links_that_come_go_and_change_are_told(world: World) -> None:
    heard: list[t.Optional[str]] = []
    monitor = LinkMonitor(heard.append, world.path(world.host))
    monitor.start()
    monitor.start()
    try:
        mac = world.nic(1)
        assert until(lambda: mac in heard)
        heard.clear()
        world.links.park(mac)
        assert until(lambda: mac in heard), "it went"
        heard.clear()
        ip("-n", world.parking, "link", "set", "q52549e000001", "netns", world.host)
        assert until(lambda: mac in heard), "it came back"
        heard.clear()
        ip("-n", world.host, "link", "add", "br0", "address", mac, "type", "bridge")
        other = world.nic(2)
        assert until(lambda: other in heard)
        assert mac not in heard, "a bridge with a NIC's MAC is not the NIC"
        assert None not in heard
    finally:
        monitor.stop()


def test_after_stop_nothing_is_told_and_nothing_is_left(world: World) -> None:
    before = resources()
    heard: list[t.Optional[str]] = []
    monitor = LinkMonitor(heard.append, world.path(world.host))
    for number in range(1, 4):
        monitor.start()
        mac = world.nic(number)
        assert until(lambda mac=mac: mac in heard)  # type: ignore[misc]
        monitor.stop()
    monitor.stop()
    heard.clear()
    world.nic(4)
    assert not until(lambda: heard, 0.1)
    assert resources() == before


def test_lost_events_are_told_as_something_changed(world: World) -> None:
    """The listener is held up until the kernel has run out of room for it."""
    heard: list[t.Optional[str]] = []
    go_on = threading.Event()

    def slow(mac: t.Optional[str]) -> None:
        go_on.wait(60)
        heard.append(mac)

    monitor = LinkMonitor(slow, world.path(world.host))
    monitor.start()
    try:
        world.nic(1)
        flaps = "".join(f"link set ens1 mtu {1300 + number % 2}\n" for number in range(2000))
        subprocess.run(["ip", "-n", world.host, "-batch", "-"], input=flaps, text=True, check=True)
        go_on.set()
        assert until(lambda: None in heard, 20)
        heard.clear()
        mac = world.nic(2)
        assert until(lambda: mac in heard), "it listens on"
    finally:
        go_on.set()
        monitor.stop()


def test_a_callback_that_fails_does_not_end_the_monitor(world: World) -> None:
    heard: list[t.Optional[str]] = []

    def fail(mac: t.Optional[str]) -> None:
        heard.append(mac)
        raise RuntimeError("mine")

    monitor = LinkMonitor(fail, world.path(world.host))
    monitor.start()
    try:
        for number in (1, 2):
            mac = world.nic(number)
            assert until(lambda mac=mac: mac in heard)  # type: ignore[misc]
    finally:
        monitor.stop()


def test_a_namespace_that_is_not_there_is_told() -> None:
    with pytest.raises(LinkFailed, match="cannot open the network namespace /run/netns/absent"):
        LinkMonitor(print, "/run/netns/absent").start()
