# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel in memory: what the emulated cloud plugs in appears as a link, and the pool's port `Links` moves it."""

from __future__ import annotations

import threading
import typing as t
from dataclasses import replace

from hostnic.errors import LinkFailed
from hostnic.model import Link, Placed, PodLink, PodPlace, PodState
from tests.emulator.dataplane.base import NoDataPlane, Port


class MemoryKernel(NoDataPlane):
    """The emulator's data plane for one machine, `netns` being that machine's name.

    A pod's netns is any integer; `kill_netns` lets its links fall back to the host, as physical NICs do.
    """

    def __init__(self, netns: str) -> None:
        self.netns = netns
        self.lock = threading.RLock()
        self.links: dict[str, Link] = {}  # place is "host", "parking" or "pod:<netns>"
        self.pods: dict[str, PodLink] = {}
        self.gateways: dict[str, str] = {}
        self.flushed: list[str] = []
        self.unforgettable: set[str] = set()  # addresses that connection tracking does not let go of
        self.stubborn: set[str] = set()  # MACs of links that the kernel refuses to move
        self.on_change: t.Callable[[], None] = lambda: None
        self.pci_ids: dict[str, str] = {}  # MAC ► the PCI address of its link
        self.findings: tuple[str, ...] = ()
        self._index = 1

    # -- the emulator's side --

    def plug(self, ports: t.Sequence[Port]) -> set[str]:
        mine = [port for port in ports if port.netns == self.netns]
        with self.lock:
            for port in mine:
                self._index += 1
                name = port.ifname.replace("%d", str(self._index))
                self.links[port.nic_id] = Link(port.nic_id, name, self._index, "host")
        self.on_change()
        return set()

    def unplug(self, nic_ids: t.Sequence[str]) -> None:
        with self.lock:
            for nic_id in nic_ids:
                self.links.pop(nic_id, None)
        self.on_change()

    # -- the pool's port --

    def list(self) -> list[Link]:
        with self.lock:
            return [link for link in self.links.values() if not link.place.startswith("pod")]

    def park(self, mac: str) -> Link:
        with self.lock:
            link = self._outside(mac)
            if mac in self.stubborn:
                raise LinkFailed(f"cannot park {mac}: device busy")
            return self._move(mac, "parking", "q" + link.mac.replace(":", ""))

    def to_pod(self, mac: str, netns: int, pod: PodLink) -> Placed:
        with self.lock:
            link = self._outside(mac)
            if any(other.place == f"pod:{netns}" and other.name == pod.ifname for other in self.links.values()):
                raise LinkFailed(f"the pod has a link {pod.ifname} already")
            self._move(mac, f"pod:{netns}", pod.ifname)
            self.pods[mac] = pod
            return Placed(link.ifindex, pod.mtu or link.mtu, self.pci_ids.get(mac, ""))

    def from_pod(self, mac: str, netns: t.Optional[int], ifname: str, ifindex: int) -> bool:
        with self.lock:
            link = self.links.get(mac)
            if link is None or link.place not in ("host", "parking", f"pod:{netns}"):
                return False
            self._move(mac, "parking", "q" + mac.replace(":", ""))
            return True

    def retrieve(self, mac: str, netns_inode: int = 0, ifindex: int = 0) -> bool:
        with self.lock:
            if mac not in self.links:
                return False
            if mac == self.default_route_link():
                raise LinkFailed(f"{mac} carries the host's default route and is never touched", protected=True)
            if mac in self.stubborn:
                raise LinkFailed(f"cannot park {mac}: device busy")
            self._move(mac, "parking", "q" + mac.replace(":", ""))
            return True

    def in_pod(self, mac: str, netns: int, ifname: str) -> bool:
        link = self.links.get(mac)
        return bool(link and link.place == f"pod:{netns}" and link.name == ifname)

    def look(self, netns: int, ifname: str) -> t.Optional[PodState]:
        with self.lock:
            there = [link for link in self.links.values() if (link.place, link.name) == (f"pod:{netns}", ifname)]
            for link in there:
                pod = self.pods[link.mac]
                mtu = pod.mtu or link.mtu
                return PodState(link.mac, link.mac, link.ifindex, True, mtu, (pod.address,), pod.routes)
            return None

    def in_netns(self, macs: t.Collection[str]) -> dict[str, PodPlace]:
        with self.lock:
            pods = {mac: link for mac, link in self.links.items() if mac in macs and link.place.startswith("pod:")}
            return {mac: PodPlace(int(link.place[4:]), link.name, link.ifindex) for mac, link in pods.items()}

    def host_gateway(self, mac: str, name: str, address: str) -> Link:
        with self.lock:
            self.gateways[mac] = address
            return self._move(mac, "host", name)

    def default_route_link(self) -> t.Optional[str]:
        return next((link.mac for link in self.links.values() if link.name == "eth0" and link.place == "host"), None)

    def address_of(self, name: str) -> str:
        return "172.16.0.11" if name == "eth0" else ""

    def host_findings(self, iface: str) -> t.Sequence[str]:
        return self.findings

    def flush(self, address: str) -> None:
        if address in self.unforgettable:
            raise LinkFailed("cannot list tracked connections")
        self.flushed.append(address)

    # -- what happens to a machine --

    def kill_netns(self, netns: int) -> None:
        with self.lock:
            for mac, link in self.links.items():
                if link.place == f"pod:{netns}":
                    self.links[mac] = replace(link, place="host", name=f"eth{link.ifindex}")
        self.on_change()

    def reboot(self) -> None:
        with self.lock:
            self.links = {mac: replace(link, place="host") for mac, link in self.links.items()}

    def _outside(self, mac: str) -> Link:
        link = self.links.get(mac)
        if link is None or link.place.startswith("pod"):
            raise LinkFailed(f"no link {mac} in the host's or the parking netns", missing=True)
        return link

    def _move(self, mac: str, place: str, name: str) -> Link:
        self.links[mac] = replace(self.links[mac], place=place, name=name)
        return self.links[mac]


class SilentGuard:
    """Remembers what it was told to protect."""

    def __init__(self) -> None:
        self.macs: set[str] = set()

    def protect(self, macs: t.Iterable[str]) -> None:
        self.macs = set(macs)
