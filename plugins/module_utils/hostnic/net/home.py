# SPDX-License-Identifier: GPL-3.0-or-later
"""Home into parking from wherever a link is, whatever a container has done to it."""

from __future__ import annotations

import logging
import typing as t

from ..errors import LinkFailed
from ..model import Link
from .devices import Device, everything, find, find_changed
from .netlink import Netlink, Sockets
from .parking import Parking
from .pulse import Pulse
from .routes import default_route

log = logging.getLogger("hostnic.net")

# the first round usually does; another follows when a container or the kernel has moved or renamed the link meanwhile
ROUNDS: t.Final = 4


class Home:
    """Any thread may call."""

    def __init__(self, host: Sockets, parking: Parking, pulse: Pulse) -> None:
        self._host = host
        self._parking = parking
        self._pulse = pulse

    def bring(self, mac: str, inside: t.Optional[Netlink], ifname: str, index: int) -> t.Optional[Link]:
        """Into parking, down and bare: from where `inside` is a socket, the host or parking; None: in none of them."""
        trouble = LinkFailed("")
        for _round in range(ROUNDS):
            try:
                known = everything(inside) if inside is not None else []
                if inside is not None and (device := find(known, mac)) is not None:
                    self._move(inside, device, mac, known)
                if (link := self._settled(mac)) is not None:
                    return link
                # the weaker witness, after all places have been searched for the stronger one
                if inside is None or (device := find_changed(known, index, ifname)) is None:
                    return None
                self._move(inside, device, mac, known)
            except LinkFailed as error:
                if error.details.get("protected"):
                    raise
                log.debug("NIC %s did not come home at once: %s", mac, error)
                trouble = error
        raise LinkFailed(f"cannot bring NIC {mac} into the parking namespace: {trouble}", **trouble.details)

    def _move(self, channel: Netlink, device: Device, mac: str, known: t.Sequence[Device] = ()) -> None:
        messages = self._parking.way_here(device, mac, known)
        with self._pulse.beating():
            channel.send(*messages)

    def _settled(self, mac: str) -> t.Optional[Link]:
        """From parking or the host; None where it is in neither."""
        with self._parking.sockets.lend() as channel:
            if (device := self._parking.find(channel, mac)) is not None:
                return self._parking.tidied(channel, device, mac)
        with self._host.lend() as host:
            if (device := find(everything(host), mac)) is None:
                return None
            refuse_the_hosts_own(host, device)
            self._move(host, device, mac)
        with self._parking.sockets.lend() as channel:
            device = self._parking.find(channel, mac)
            return self._parking.tidied(channel, device, mac) if device is not None else None


def default_route_mac(host: Netlink) -> t.Optional[str]:
    """Of the link that carries the default route of the socket's namespace."""
    route = default_route(host)
    if route is None:
        return None
    return next((device.identity for device in everything(host) if device.index == route.index), None)


def refuse_the_hosts_own(host: Netlink, device: Device) -> None:
    """The last line of defence; the pool never asks for it."""
    if device.identity == default_route_mac(host):
        raise LinkFailed(
            f"{device.name} ({device.identity}) carries the host's default route and is never touched",
            protected=True,
        )
