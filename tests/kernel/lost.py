# SPDX-License-Identifier: GPL-3.0-or-later
"""A NIC in a pod's namespace that is searched for in all of the machine, and what keeps that namespace alive."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import typing as t
from pathlib import Path

import pytest

from hostnic.model import PodLink, PodPlace
from hostnic.net.spaces import Spaces
from tests.kernel.net_world import World, ip

POD = PodLink("eth0", "172.16.1.5/24")


def look_past_a_closed_first_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that protects its first process even from root."""
    try:
        Path("/proc/1/ns/net").readlink()
    except PermissionError:
        listed = Spaces._listed
        monkeypatch.setattr(Spaces, "_listed", lambda self, path: [name for name in listed(self, path) if name != "1"])


class Lost:
    """A NIC in a pod's namespace. Its MAC is found nowhere else: all of the machine is searched."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.mac = world.nic(mac=unique())
        world.links.park(self.mac)
        self.pod, self.descriptor = world.pod()
        self.inode = os.fstat(self.descriptor).st_ino
        self.index = world.links.to_pod(self.mac, self.descriptor, POD).ifindex
        self.place = PodPlace(self.inode, "eth0", self.index)

    def unbind(self) -> None:
        """Neither a mount nor this process holds it any more."""
        self.world.let_go(self.descriptor)
        ip("netns", "del", self.pod)

    @contextlib.contextmanager
    def held_by_a_process(self) -> t.Iterator[None]:
        with running("ip", "netns", "exec", self.pod, "sh", "-c", "echo ready; read x"):
            self.unbind()
            yield

    @contextlib.contextmanager
    def bound_elsewhere(self, target: Path) -> t.Iterator[None]:
        """In another mount namespace, at a path that is an empty file here."""
        script = 'mount --make-rprivate / && touch "$1" && mount --bind "$2" "$1" && echo ready && read x'
        with running("unshare", "-m", "sh", "-c", script, "sh", str(target), self.world.path(self.pod)):
            self.unbind()
            yield


def unique() -> str:
    return f"52:54:9f:{secrets.token_bytes(3).hex(':')}"


@contextlib.contextmanager
def running(*command: str) -> t.Iterator[None]:
    """A program that says a line once it is ready, and then waits."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()
