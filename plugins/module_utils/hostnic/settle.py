# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a NIC is, told from what the cloud and the kernel say of it. Pure."""

from __future__ import annotations

import typing as t

from .model import GATEWAY, CloudNic, Nic
from .states import State

ATTACH_TRIES: t.Final = 4  # after so many failed attaches a NIC is given up


class Verdict(t.NamedTuple):
    """`failed`: what was begun did not work; it is tried again after a pause."""

    target: State
    note: str = ""
    failed: bool = False


def settle(
    nic: Nic, cloud: t.Optional[CloudNic], absent: int, linked: bool, pending: bool, instance_id: str
) -> t.Optional[Verdict]:
    """The edge that the witnesses ask for, or None where the NIC stays.

    `absent`: looks in a row in which the cloud did not show it; `linked`: its link is where it belongs, in parking or,
    a gateway's, on the host; `pending`: what was begun for it may still be going on.
    """
    if nic.state in (State.RESERVED, State.IN_USE):
        return None  # a pod's: DEL decides
    if cloud is None:
        return _unknown(nic, absent)
    here = cloud.attached and cloud.instance_id == instance_id
    gateway = nic.purpose == GATEWAY
    if here and linked:
        if nic.state is State.ATTACHING or (nic.state is State.DETACHED and not nic.doomed):
            return Verdict(State.GATEWAY if gateway else State.READY)
        if nic.state is State.BROKEN:
            return Verdict(State.GATEWAY if gateway else State.QUARANTINE, "its link is back")
    if cloud.attached and not here and nic.state in (State.DETACHED, State.ATTACHING, State.BROKEN):
        return Verdict(State.GONE, f"it is attached to {cloud.instance_id} now")
    if nic.state is State.DETACHING and not cloud.attached:
        return Verdict(State.DETACHED)
    if nic.state is State.BROKEN and not cloud.attached:
        return Verdict(State.DETACHED, "it was detached")
    if pending:
        return None
    if nic.state is State.ATTACHING and not cloud.attached:
        return Verdict(State.DETACHED, "attaching it failed", failed=True)
    if nic.state is State.DETACHING:
        return Verdict(State.DRAINING, "detaching it failed", failed=True)
    if nic.state is State.DELETING:
        return Verdict(State.DETACHED, "deleting it failed", failed=True)
    return None


def _unknown(nic: Nic, absent: int) -> t.Optional[Verdict]:
    """One empty answer may be stale, two in a row are believed; after a delete one is what was asked for."""
    if nic.state is State.DELETING:
        return Verdict(State.GONE)
    if absent > 1 and nic.state in (State.DETACHED, State.ATTACHING, State.DETACHING, State.BROKEN):
        return Verdict(State.GONE, "the cloud does not know it any more")
    return None
