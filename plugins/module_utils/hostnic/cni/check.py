# SPDX-License-Identifier: GPL-3.0-or-later
"""CHECK: whether a pod's network is still what its ADD made, and what differs. Pure; what later plugins add is fine."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..model import Lease, Nic, PodState, Route
from ..states import State

Json = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Expected:
    """What an ADD with this configuration makes; `mtu` 0 for the NIC's own, `missing`: what its routes need in vain."""

    ifname: str
    sandbox: str
    address: str
    routes: tuple[Route, ...]
    mtu: int = 0
    missing: tuple[str, ...] = ()


def differences(
    expected: Expected,
    lease: t.Optional[Lease],
    nic: t.Optional[Nic],
    netns_inode: int,
    seen: t.Optional[PodState],
    previous: Json,
) -> list[str]:
    """Sentences without a full stop; none where all is well."""
    if lease is None or nic is None:
        return ["the agent has no lease for it"]
    found = list(_of_lease(lease, nic, netns_inode))
    interface = _interface(expected, previous)
    if interface is None:
        found.append(f"prevResult lists no interface {expected.ifname} of {expected.sandbox}")
    if seen is None:
        return [*found, f"the pod has no interface {expected.ifname}"]
    return [*found, *_of_link(expected, nic, seen, interface or {}), *expected.missing]


def unlike(expected: Expected, nic: Nic, seen: t.Optional[PodState]) -> list[str]:
    """Where an interface is not what an ADD would make now, before any later plugin has had it."""
    if seen is None:
        return [f"the pod has no interface {expected.ifname}"]
    return [*_of_link(expected, nic, seen, {}), *expected.missing]


def _of_lease(lease: Lease, nic: Nic, netns_inode: int) -> t.Iterator[str]:
    if nic.state is not State.IN_USE:
        yield f"its NIC {nic.nic_id} is {nic.state.value}"
    if lease.netns_inode and lease.netns_inode != netns_inode:
        yield f"its NIC {nic.nic_id} was moved into another network namespace"


def _of_link(expected: Expected, nic: Nic, seen: PodState, interface: Json) -> t.Iterator[str]:
    told = str(interface.get("mac") or nic.nic_id).lower()  # a later plugin may have changed it, and said so
    if nic.nic_id not in (seen.permanent, seen.mac) and seen.mac != told:
        yield f"{expected.ifname} is the link {seen.permanent or seen.mac}, not NIC {nic.nic_id}"
    if seen.mac != told:
        yield f"{expected.ifname} has the MAC {seen.mac}, not {told}"
    if not seen.up:
        yield f"{expected.ifname} is down"
    if expected.address not in seen.addresses:
        yield f"{expected.ifname} lacks the address {expected.address} (it has {', '.join(seen.addresses) or 'none'})"
    mtu = expected.mtu and (interface.get("mtu") or expected.mtu)
    if seen.mtu != (mtu or seen.mtu):
        yield f"{expected.ifname} has the MTU {seen.mtu}, not {mtu}"
    for route in expected.routes:
        if route not in seen.routes:
            yield f"the route to {route.dst}{f' via {route.via}' if route.via else ''} is not there"


def _interface(expected: Expected, previous: Json) -> t.Optional[Json]:
    """What the last plugin of the chain says of ours."""
    for interface in previous.get("interfaces") or ():
        ours = isinstance(interface, dict) and interface.get("sandbox") == expected.sandbox
        if ours and interface.get("name") == expected.ifname:
            return t.cast(Json, interface)
    return None
