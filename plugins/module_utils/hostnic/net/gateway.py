# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway NIC in the host's namespace: name and address. Doing it again changes nothing and interrupts nothing."""

from __future__ import annotations

import errno
import ipaddress

from ..errors import LinkFailed
from . import requests
from .addresses import addresses
from .devices import Device, named
from .netlink import Netlink


def rename(channel: Netlink, device: Device, name: str) -> None:
    """Give the link its name; older kernels want it down for that."""
    if device.name == name:
        return
    other = named(channel, name)
    if other is not None and other.index != device.index:
        raise LinkFailed(
            f"gateway NIC {device.identity} cannot be called {name}: {other.identity or 'another link'} has that name",
            ifname=name,
        )
    purpose = f"call gateway NIC {device.identity} {name}"
    changes = [requests.set_link(device.index, purpose, up=False)]
    if other is not None:
        changes.append(requests.drop_altnames(device.index, (name.encode(),), purpose))
    channel.send(*changes, requests.set_link(device.index, purpose, name=name))


def address(channel: Netlink, device: Device, wanted: str) -> None:
    """Exactly this address (with prefix length); what a network manager has put there is taken away."""
    there = addresses(channel, device.index)
    try:
        wanted = str(ipaddress.IPv4Interface(wanted))
    except ValueError as error:
        raise LinkFailed(f"{wanted!r} is no IPv4 address with a prefix length") from error
    foreign = [requests.drop_address(device.index, other) for other in there if other != wanted]
    if foreign:
        channel.send(*foreign)
    # again even if it was there: with a foreign first address its dependants go too
    if foreign or wanted not in there:
        channel.send(requests.add_address(device.index, wanted, frozenset((errno.EEXIST,))))
