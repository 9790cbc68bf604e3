# SPDX-License-Identifier: GPL-3.0-or-later
"""The parking namespace: NICs wait there down, bare, and named by their MAC."""

from __future__ import annotations

import logging
import typing as t

from ..errors import LinkFailed
from ..model import Link
from . import requests, sysctl
from .devices import IFF_ALLMULTI, IFF_NOARP, IFF_PROMISC, Device, everything, find, named
from .netlink import Netlink, Request, Sockets
from .netns import Envoy

log = logging.getLogger("hostnic.net")

_UNWANTED: t.Final = IFF_NOARP | IFF_PROMISC | IFF_ALLMULTI


def parking_name(mac: str) -> str:
    """13 characters, unique, and within the 15 that a name may have."""
    return "q" + mac.replace(":", "")


class Parking:
    """What it takes to come here, and what is left to do on arrival."""

    def __init__(self, envoy: Envoy, descriptor: int) -> None:
        self.descriptor = descriptor
        self.sockets = Sockets(envoy, descriptor)
        self._mtus: dict[str, int] = {}  # MAC ► MTU as the cloud gave it: a container's choice is undone
        try:
            envoy.visit(descriptor, sysctl.no_ipv6)
        except LinkFailed as error:
            # parked links are down, which keeps addresses off them too
            log.warning("parked NICs may get IPv6 addresses: %s", error)

    def find(self, channel: Netlink, mac: str) -> t.Optional[Device]:
        """By its name first: that reads one link, not all."""
        device = named(channel, parking_name(mac))
        if device is None or device.identity != mac:
            device = find(everything(channel), mac)
        if device is not None:
            self._mtus.setdefault(mac, device.mtu)
        return device

    def way_here(self, device: Device, mac: str) -> list[Request]:
        """To be sent in the namespace where the link is now; the rest is tidied here, where nobody interferes."""
        purpose = f"bring {device.name} ({mac}) into the parking namespace"
        changes = []
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
        name, mtu = parking_name(mac), self._wrong_mtu(device, mac)
        purpose = f"tidy the parked NIC {mac}"
        changes = []
        if device.up or device.flags & _UNWANTED:
            changes.append(requests.set_link(device.index, purpose, up=False, clear=_UNWANTED))
        if device.altnames:
            changes.append(requests.drop_altnames(device.index, device.altnames, purpose))
        if device.name != name or device.mac != mac or device.alias or mtu is not None:
            changes.append(requests.set_link(device.index, purpose, name=name, mac=mac, mtu=mtu, no_alias=device.alias))
        if changes:
            channel.send(*changes)
        return Link(mac, name, device.index, "parking", False, mtu or device.mtu)

    def _wrong_mtu(self, device: Device, mac: str) -> t.Optional[int]:
        """The MTU to restore, where it is known and differs."""
        known = self._mtus.get(mac, device.mtu)
        return known if known != device.mtu else None
