# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel in memory, with what can go wrong in one: links that do not appear, namespaces that die, reboots."""

from __future__ import annotations

import typing as t

from hostnic.errors import LinkFailed
from hostnic.model import Link, Placed, PodLink, PodState
from tests.emulator.dataplane.base import NoDataPlane, Port
from tests.support.memory_kernel import MemoryKernel

_PRIMARY = "eth0"


class Kernel(MemoryKernel):
    """`lose`: so many of the next links do not appear when their NIC is plugged in, until `find` or a reboot."""

    def __init__(self, netns: str, clock: t.Callable[[], float]) -> None:
        super().__init__(netns)
        self.lose = 0
        self.dead: set[int] = set()
        self.flushed_at: dict[str, float] = {}  # address ► when connection tracking forgot it
        self.left_pod: t.Callable[[str], None] = lambda mac: None
        self.unplugged: t.Callable[[str], None] = lambda mac: None
        self._clock = clock
        self._lost: list[Port] = []

    def plug(self, ports: t.Sequence[Port]) -> set[str]:
        mine = [port for port in ports if port.netns == self.netns]
        mine = [port for port in mine if port.nic_id not in self.links]  # plugged in twice is once
        seen = mine[self.lose :] if mine and mine[0].ifname != _PRIMARY else mine
        self._lost += mine[: len(mine) - len(seen)]
        self.lose -= len(mine) - len(seen)
        return super().plug(seen) if seen else set()

    def unplug(self, nic_ids: t.Sequence[str]) -> None:
        self._lost = [port for port in self._lost if port.nic_id not in nic_ids]
        for nic_id in nic_ids:
            self.unplugged(nic_id)
        super().unplug(nic_ids)

    def find(self) -> None:
        """Lost links appear after all."""
        lost, self._lost, self.lose = self._lost, [], 0
        if lost:
            super().plug(lost)

    def to_pod(self, mac: str, netns: int, pod: PodLink) -> Placed:
        if netns in self.dead:
            raise LinkFailed(f"netns {netns} is gone")
        return super().to_pod(mac, netns, pod)

    def host_gateway(self, mac: str, name: str, address: str) -> Link:
        if mac not in self.links:
            raise LinkFailed(f"no link {mac}", missing=True)
        return super().host_gateway(mac, name, address)

    def from_pod(self, mac: str, netns: t.Optional[int], ifname: str, ifindex: int) -> bool:
        was_inside = self.pod_of(mac)
        returned = super().from_pod(mac, netns, ifname, ifindex)
        if was_inside and returned:
            self.left_pod(mac)
        return returned

    def retrieve(self, mac: str, netns_inode: int = 0, ifindex: int = 0) -> bool:
        was_inside = self.pod_of(mac)
        returned = super().retrieve(mac, netns_inode, ifindex)
        if was_inside and returned:
            self.left_pod(mac)
        return returned

    def look(self, netns: int, ifname: str) -> t.Optional[PodState]:
        if netns in self.dead:
            raise LinkFailed(f"netns {netns} is gone")
        return super().look(netns, ifname)

    def flush(self, address: str) -> None:
        super().flush(address)
        self.flushed_at[address] = self._clock()

    def kill_netns(self, netns: int) -> None:
        self.dead.add(netns)
        for mac in [mac for mac in self.links if self.pod_of(mac) == netns]:
            self.left_pod(mac)
        super().kill_netns(netns)

    def reboot(self) -> None:
        """Every link is on the host under a name of its own, as at the first plugging in."""
        for mac, link in list(self.links.items()):
            primary = link.place == "host" and link.name == _PRIMARY
            self._move(mac, "host", _PRIMARY if primary else f"eth{link.ifindex}")
        self.pods.clear()
        self.find()

    def pod_of(self, mac: str) -> t.Optional[int]:
        """The netns of the pod that this link is in."""
        link = self.links.get(mac)
        return int(link.place[4:]) if link and link.place.startswith("pod:") else None


class Planes(NoDataPlane):
    """The links of several machines."""

    def __init__(self, *kernels: Kernel) -> None:
        self._kernels = kernels

    def plug(self, ports: t.Sequence[Port]) -> set[str]:
        for kernel in self._kernels:
            kernel.plug(ports)
        return set()

    def unplug(self, nic_ids: t.Sequence[str]) -> None:
        for kernel in self._kernels:
            kernel.unplug(nic_ids)
