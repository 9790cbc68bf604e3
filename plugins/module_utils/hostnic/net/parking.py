# SPDX-License-Identifier: GPL-3.0-or-later
"""The parking namespace: NICs wait there down, bare, and named by their MAC."""

from __future__ import annotations

import logging
import typing as t

from ..errors import LinkFailed
from ..model import Link
from . import pci, pristine, programs, requests, sysctl
from .devices import Device, everything, find, named, standing_on
from .netlink import Netlink, Request, Sockets
from .netns import Envoy
from .records import Records

log = logging.getLogger("hostnic.net")


def parking_name(mac: str) -> str:
    """13 characters, unique, and within the 15 that a name may have."""
    return "q" + mac.replace(":", "")


class Parking:
    """What it takes to come here, and what is left to do on arrival."""

    def __init__(self, envoy: Envoy, descriptor: int) -> None:
        self.descriptor = descriptor
        self.sockets = Sockets(envoy, descriptor)
        self._envoy = envoy
        self._blind = False  # bpf(2) is refused
        with self.sockets.lend() as channel:
            self._records = Records(channel)
        try:
            envoy.visit(descriptor, sysctl.no_ipv6)
        except LinkFailed as error:
            # parked links are down, which keeps addresses off them too
            log.warning("parked NICs may get IPv6 addresses: %s", error)
        self._pci = pci.Addresses(envoy, descriptor)

    def close(self) -> None:
        """Nothing may be called afterwards."""
        self.sockets.close()
        self._pci.close()

    def find(self, channel: Netlink, mac: str) -> t.Optional[Device]:
        """By its name first: that reads one link, not all."""
        device = named(channel, parking_name(mac))
        if device is None or device.identity != mac:
            device = find(everything(channel), mac)
        if device is not None:
            self._records.remember(channel, mac, device)
        return device

    def knows(self, mac: str) -> bool:
        """Whether a NIC of this MAC has ever been here, the oldest forgotten."""
        return bool(self._records.of(mac))

    def pci_id(self, device: Device) -> str:
        """Of a link that lies here; "" where it is no PCI device."""
        return self._pci.of(device.index, device.name)

    def way_here(self, device: Device, mac: str, in_pod: t.Iterable[Device] = ()) -> list[Request]:
        """To be sent in the namespace where the link is now; the rest is tidied here, where nobody interferes.

        `in_pod`: the links of a pod's namespace. What was made on top of the NIC goes: a macvlan would stay on it when
        it moves, and hear the next pod. One that the pod has moved to yet another namespace is not found, and lasts as
        long as that namespace.
        """
        purpose = f"bring {device.name} ({mac}) into the parking namespace"
        changes = [requests.drop_link(other.index, purpose) for other in standing_on(in_pod, device)]
        if device.altnames:  # first: they would come along, and collide
            changes.append(requests.drop_altnames(device.index, device.altnames, purpose))
        # the MAC at once: by it the link is found again
        changed_mac = mac if device.mac != mac else None
        move = requests.set_link(
            device.index, purpose, netns=self.descriptor, name=parking_name(mac), mac=changed_mac, up=False
        )
        return [*changes, move]

    def tidied(self, channel: Netlink, device: Device, mac: str) -> Link:
        """Usually there is nothing left to do."""
        if not self._envoy.go(self.descriptor, lambda: programs.detach(device)) and not self._blind:
            self._blind = True
            log.warning("BPF programs that pods leave on NICs are not found: the agent may not call bpf(2)")
        numbers = self._records.of(mac)
        changes = pristine.repairs(device, mac, parking_name(mac), numbers)
        if changes:
            channel.send(*changes)
        self._pci.of(device.index, parking_name(mac))  # asked now, so that no ADD has to
        return Link(mac, parking_name(mac), device.index, "parking", False, numbers.get("IFLA_MTU", device.mtu))
