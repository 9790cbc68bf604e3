# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases of NICs that were found in pods which the journal does not know. Pure."""

from __future__ import annotations

import typing as t

from .model import Lease, LeaseKey, PodPlace


def stand_in_lease(nic_id: str, place: PodPlace, now: float) -> Lease:
    """Of a NIC that was found in a pod which the journal does not know: in the name of its netns."""
    key = netns_lease(place.netns_inode or nic_id.replace(":", ""), place.ifname)
    return Lease(key.network, key.container_id, key.ifname, nic_id, now, place.netns_inode, place.ifindex)


def netns_lease(netns: t.Union[int, str], ifname: str) -> LeaseKey:
    """`netns`: its inode, or where that is not known something else that is unique."""
    return LeaseKey("", f"netns-{netns}", ifname)
