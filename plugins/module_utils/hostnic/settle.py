# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a NIC is, told from what the cloud and the kernel say of it. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .model import GATEWAY, CloudNic, Nic
from .states import State

ATTACH_TRIES: t.Final = 4  # after so many failed attaches a NIC is given up
VISIBLE: t.Final = 20.0  # s after which what a call has made or changed is expected to show in Describe
LINK_PATIENCE: t.Final = 60.0  # s from "in-use" in the cloud to a link in the kernel
JOB_PATIENCE: t.Final = 300.0  # s after which a job that still runs counts as stuck
LOST_PATIENCE: t.Final = 600.0  # s that a link may be nowhere before its NIC is given back


@dataclass(frozen=True)
class Witness:
    """What is known of one NIC at one look.

    `cloud`: its record, None where the cloud does not show it, since `absent_for` seconds; `ours`: that bears our name;
    `linked`: its link is where it belongs, in parking or, a gateway's, on the host; `nowhere`: it is in no netns at
    all, as far as that was looked at; `pending`: what was begun for it may still be going on; `age`: seconds in its
    state.
    """

    cloud: t.Optional[CloudNic]
    absent_for: float = 0.0
    ours: bool = True
    linked: bool = False
    nowhere: bool = False
    pending: bool = False
    age: float = 0.0


class Verdict(t.NamedTuple):
    """`failed`: what was begun did not work and is tried again after a pause; `doomed`: it is to go."""

    target: State
    note: str = ""
    failed: bool = False
    doomed: bool = False


def settle(nic: Nic, seen: Witness, instance_id: str) -> t.Optional[Verdict]:
    """The edge that the witnesses ask for, or None where the NIC stays."""
    if nic.state in (State.RESERVED, State.IN_USE):
        return None  # a pod's: DEL decides, and the survey of links
    if seen.cloud is None:
        return _unknown(nic, seen.absent_for)
    if seen.cloud.attached and seen.cloud.instance_id != instance_id:
        return _elsewhere(nic, seen.cloud)
    return _here(nic, seen) if seen.cloud.attached else _free(nic, seen)


def _unknown(nic: Nic, absent_for: float) -> t.Optional[Verdict]:
    """Describe may be stale, so only a NIC that was to be deleted is believed gone at once."""
    if nic.state is State.DELETING:
        return Verdict(State.GONE)
    if absent_for >= VISIBLE and nic.state in (State.DETACHED, State.ATTACHING, State.DETACHING, State.BROKEN):
        return Verdict(State.GONE, "the cloud does not know it any more")
    return None


def _elsewhere(nic: Nic, cloud: CloudNic) -> t.Optional[Verdict]:
    if nic.state in (State.DETACHED, State.ATTACHING, State.DETACHING, State.BROKEN):
        return Verdict(State.GONE, f"it is attached to {cloud.instance_id} now")
    if nic.state is State.DELETING:
        return Verdict(State.DETACHED, f"it is attached to {cloud.instance_id} now")
    return None


def _here(nic: Nic, seen: Witness) -> t.Optional[Verdict]:
    """Attached to this instance."""
    if not seen.ours and nic.state in (State.DRAINING, State.BROKEN):
        return Verdict(State.GONE, "it was renamed: it is not ours any more")
    standing = State.GATEWAY if nic.purpose == GATEWAY else State.HELD if nic.keep else State.READY
    if nic.state is State.ATTACHING:
        if seen.linked:
            return Verdict(standing)
        if seen.age >= LINK_PATIENCE:
            return Verdict(State.BROKEN, "attached, but its link did not come")
    elif nic.state is State.DETACHED:
        if nic.doomed:
            return Verdict(State.DRAINING, "it was attached after all", doomed=True)
        return Verdict(standing) if seen.linked else Verdict(State.ATTACHING, "attached by someone else")
    elif nic.state is State.BROKEN:
        if seen.linked:
            rest = State.HELD if nic.keep else State.QUARANTINE
            return Verdict(State.GATEWAY if nic.purpose == GATEWAY else rest, "its link is back")
        if seen.nowhere and seen.age >= LOST_PATIENCE:
            return Verdict(State.DRAINING, "its link is in no network namespace", doomed=True)
    elif not seen.pending and nic.state is State.DETACHING:
        return Verdict(State.DRAINING, "detaching it failed", failed=True)
    elif not seen.pending and nic.state is State.DELETING:
        return Verdict(State.DETACHED, "deleting it failed", failed=True)
    return None


def _free(nic: Nic, seen: Witness) -> t.Optional[Verdict]:
    """Attached to no instance."""
    idle = nic.state in (State.DETACHED, State.BROKEN) or (nic.state is State.ATTACHING and not seen.pending)
    if idle and not seen.ours:
        return Verdict(State.GONE, "it was renamed: it is not ours any more")
    if nic.state is State.BROKEN:
        return Verdict(State.DETACHED, "it was detached")
    if nic.state is State.DETACHING and not (seen.pending and seen.linked):
        return Verdict(State.DETACHED)
    if not seen.pending and nic.state is State.ATTACHING:
        return Verdict(State.DETACHED, "attaching it failed", failed=True)
    if not seen.pending and nic.state is State.DELETING:
        return Verdict(State.DETACHED, "deleting it failed", failed=True)
    return None
