# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a NIC again what it was when the cloud plugged it in, after a pod has had it.

A container with CAP_NET_ADMIN can change whatever `ip link` can. Much of that ends with the move home: addresses,
routes, neighbours, sysctls of the link, queueing disciplines and their filters, netfilter hooks, multicast and unicast
filters, a bridge's hold, sockets bound to it. The rest comes along and is undone here, in `programs` (XDP and tcx) and
before the move (altnames, links on top).

Not undone, as no link message tells or sets it: what ethtool changes (offloads, rings, channels, coalescing), and what
only a container with a writable /sys can change, that is, one that owns the machine (rps_cpus, rps_flow_cnt, xps_cpus,
tx_maxrate, gro_flush_timeout, napi_defer_hard_irqs, threaded). All of it changes how fast packets go, not where.
"""

from __future__ import annotations

import typing as t

from . import requests
from .devices import Device, Numbers
from .encoders import Attributes
from .netlink import Request

# Interface flags that a container can change, besides up: a NIC has MULTICAST, and none of NOARP, PROMISC, ALLMULTI,
# DEBUG, NOTRAILERS, PORTSEL, AUTOMEDIA, DYNAMIC
_MULTICAST: t.Final = 0x1000
_UNWANTED: t.Final = 0x80 | 0x100 | 0x200 | 0x4 | 0x20 | 0x2000 | 0x4000 | 0x8000
_BROADCAST: t.Final = ":".join(["ff"] * 6)


def repairs(device: Device, mac: str, name: str, numbers: Numbers) -> list[Request]:
    """What makes a link that lies in parking as it was; usually nothing. `numbers`: those to restore."""
    purpose = f"tidy the parked NIC {mac}"
    changes = []
    if device.up or device.flags & _UNWANTED or not device.flags & _MULTICAST:
        changes.append(requests.set_link(device.index, purpose, up=False, add=_MULTICAST, clear=_UNWANTED))
    changes += [requests.drop_xdp(device.index, mode, purpose) for mode, _program in device.xdp]
    if device.altnames:
        changes.append(requests.drop_altnames(device.index, device.altnames, purpose))
    more = _differences(device, numbers)
    if device.name != name or device.mac != mac or more:
        changed_mac = mac if device.mac != mac else None
        changes.append(requests.set_link(device.index, purpose, name=name, mac=changed_mac, more=more))
    return changes


def _differences(device: Device, numbers: Numbers) -> Attributes:
    found: list[tuple[str, t.Any]] = []
    if device.alias:
        found.append(("IFLA_IFALIAS", ""))
    if device.broadcast != _BROADCAST:
        found.append(("IFLA_BROADCAST", _BROADCAST))
    if device.group:
        found.append(("IFLA_GROUP", 0))
    if device.linkmode:
        found.append(("IFLA_LINKMODE", 0))
    found += [(name, value) for name, value in numbers.items() if device.numbers.get(name, value) != value]
    return tuple(found)
