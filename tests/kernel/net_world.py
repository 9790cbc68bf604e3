# SPDX-License-Identifier: GPL-3.0-or-later
"""Throw-away namespaces: a host, a parking place, a switch that holds the other ends, and pods."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import struct
import subprocess
import threading
import time
import typing as t
from pathlib import Path

from hostnic.net import netns
from hostnic.net.encoders import encode
from hostnic.net.links import KernelLinks
from hostnic.net.netlink import REQUEST, Netlink, Request, attributes

T = t.TypeVar("T")

GARP_WAIT = 1.0


def ip(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def until(condition: t.Callable[[], T], seconds: float = 5.0) -> T:
    """What `condition` returned once it is true; the last answer where that never happens."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return answer


def own_namespace() -> int:
    """The inode of the calling thread's network namespace."""
    return Path(netns.HOST).stat().st_ino


def resources() -> tuple[int, int]:
    """(open descriptors, threads) of this process."""
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


class World:
    """A context manager; `links` is a KernelLinks whose host is one of its namespaces."""

    def __init__(self) -> None:
        self._prefix = f"qt{os.getpid()}-{secrets.token_hex(3)}"
        self._stack = contextlib.ExitStack()
        self._open: set[int] = set()
        self.pods: list[str] = []

    def __enter__(self) -> World:
        try:
            self.host = self.namespace("host")
            self.parking = self.namespace("park")
            self.switch = self.namespace("switch")
            self.links = KernelLinks(self.path(self.parking), self.path(self.host))
            self._stack.callback(self.links.close)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- namespaces --

    def namespace(self, name: str) -> str:
        full = f"{self._prefix}-{name}"
        ip("netns", "add", full)
        self._stack.callback(ip, "netns", "del", full, check=False)
        ip("-n", full, "link", "set", "lo", "up")
        return full

    def path(self, namespace: str) -> str:
        return f"/run/netns/{namespace}"

    def pod(self, name: str = "pod") -> tuple[str, int]:
        """(name, descriptor)"""
        full = self.namespace(name)
        self.pods.append(full)
        return full, self.descriptor(full)

    def descriptor(self, namespace: str) -> int:
        descriptor = os.open(self.path(namespace), os.O_RDONLY | os.O_CLOEXEC)
        self._open.add(descriptor)
        self._stack.callback(self.let_go, descriptor)
        return descriptor

    def let_go(self, descriptor: int) -> None:
        """Close a descriptor before the end; its number may be another's then."""
        if descriptor in self._open:
            self._open.remove(descriptor)
            os.close(descriptor)

    def within(self, namespace: str, errand: t.Callable[[], T]) -> T:
        return netns.once(self.path(namespace), errand)

    # -- links --

    def nic(self, number: int = 1, up: bool = False, mac: str = "") -> str:
        """A "cloud NIC" in the host: the MAC of a veth whose other end is p<number> in the switch."""
        mac = mac or f"52:54:9e:00:00:{number:02x}"
        ip("-n", self.host, "link", "add", f"ens{number}", "address", mac, "type", "veth",
           "peer", "name", f"p{number}", "netns", self.switch)  # fmt: skip
        ip("-n", self.switch, "link", "set", f"p{number}", "up")
        if up:
            ip("-n", self.host, "link", "set", f"ens{number}", "up")
        return mac

    def show(self, namespace: str) -> dict[str, dict[str, t.Any]]:
        """Name ► what `ip -j link` says, without lo."""
        seen = json.loads(ip("-n", namespace, "-d", "-j", "link", "show") or "[]")
        return {link["ifname"]: link for link in seen if link["ifname"] != "lo"}

    def places(self, mac: str, *pods: str) -> list[tuple[str, str]]:
        """(namespace, name) of every link with this MAC."""
        spaces = (self.host, self.parking, *pods)
        return [(s, name) for s in spaces for name, link in self.show(s).items() if link["address"] == mac]

    def attributes(self, namespace: str, name: str) -> dict[int, bytes]:
        """IFLA_* ► value of everything that the kernel tells of a link; its interface flags are under 0."""

        def read() -> bytes:
            channel = Netlink()
            try:
                answer = channel.ask(Request(encode("link", 18, REQUEST, {}, (("IFLA_IFNAME", name),)), "read"))
            finally:
                channel.close()
            assert answer is not None
            return answer

        body = self.within(namespace, read)
        return {0: body[8:12], **dict(attributes(body, 16))}

    def addresses(self, namespace: str, name: str) -> list[dict[str, t.Any]]:
        seen = json.loads(ip("-n", namespace, "-4", "-j", "addr", "show", "dev", name))
        return [address for link in seen for address in link.get("addr_info", ())]

    def routes(self, namespace: str, *arguments: str) -> list[str]:
        return [" ".join(line.split()) for line in ip("-n", namespace, "route", "show", *arguments).splitlines()]

    def sysctl(self, namespace: str, key: str) -> str:
        return self.within(namespace, lambda: Path("/proc/sys/net", key).read_text().strip())

    def ear(self, name: str) -> socket.socket:
        """Hears every frame that arrives at this end in the switch."""
        listener = self.within(
            self.switch, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        )
        self._stack.callback(listener.close)
        listener.bind((name, 0x0003))
        return listener


def announcements(ear: socket.socket, seconds: float = GARP_WAIT) -> list[tuple[str, str]]:
    """(MAC, address) of each gratuitous ARP that is heard within this time."""
    heard = []
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ear.settimeout(left)
        try:
            frame, origin = ear.recvfrom(2048)
        except TimeoutError:
            break
        if origin[2] == socket.PACKET_OUTGOING or frame[12:14] != b"\x08\x06":
            continue
        _hw, _proto, _hl, _pl, _op, mac, sender, _target, wanted = struct.unpack("!HHBBH6s4s6s4s", frame[14:42])
        if sender == wanted:
            heard.append((mac.hex(":"), socket.inet_ntoa(sender)))
    return heard
