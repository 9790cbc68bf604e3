# SPDX-License-Identifier: GPL-3.0-or-later
"""What people and other programs do in the cloud while the agent is at work."""

from __future__ import annotations

import typing as t

from hostnic.model import Nic as Record
from hostnic.states import State
from tests.emulator.models import AVAILABLE, IN_USE, PRIMARY, Nic
from tests.model.cloudside import HOSTS, NARROW, NODE, OTHER, WIDE
from tests.model.world import World

FILLER: t.Final = "filler"
# Names that a careless filter takes for ours.
FOREIGN: t.Final = (f"qingcni_{NODE}0", f"my-qingcni_{NODE}", f"qingcni_{OTHER}", "somebody-elses")

_LEAVING = (State.DRAINING, State.DETACHING, State.DELETING, State.DETACHED)


def take(world: World, how: str, pick: int) -> bool:
    """`how`: detach, delete or steal one of ours; even `pick`s prefer those that are on their way out."""
    nic = _ours(world, pick)
    if nic is None:
        return False
    pod = world.pod_at(nic.nic_id) or next((pod for pod in world.pods.values() if pod.nic_id == nic.nic_id), None)
    if pod is not None:
        pod.robbed = True
    if how == "delete":
        world.cloud.delete(nic)
    elif nic.status == IN_USE:
        world.cloud.detach(nic)
    if how == "steal":
        world.cloud.attach(nic, OTHER)
    return True


def rename(world: World, pick: int) -> bool:
    """Somebody makes one of ours his own."""
    nic = _ours(world, pick)
    if nic is not None:
        nic.nic_name = "kept-by-a-person"
        world.renamed.add(nic.nic_id)
    return nic is not None


def give_back(world: World) -> bool:
    """NICs of our name that another instance has are detached from there."""
    stolen = [nic for nic in world.cloud.named(*world.names) if nic.instance_id == OTHER]
    for nic in stolen:
        world.cloud.detach(nic)
    return bool(stolen)


def attach_free(world: World, pick: int) -> bool:
    """One of ours that is free is attached to its instance by hand."""
    free = [nic for nic in world.cloud.named(*world.names) if nic.status == AVAILABLE and world.cloud.idle(nic)]
    if not free or not _room(world):
        return False
    world.cloud.attach(free[pick % len(free)], NODE)
    return True


def prewarm(world: World, vxnet_id: str, count: int, attached: bool) -> bool:
    """Another program makes NICs under the pool's name."""
    made = world.cloud.make(vxnet_id, world.names[0], count)
    world.others_made.update(nic.nic_id for nic in made)
    for nic in made:
        if attached and _room(world):
            world.cloud.attach(nic, NODE)
    return bool(made)


def hot_plug_foreign(world: World, pick: int) -> bool:
    """Somebody gives the machine a NIC of another name."""
    made = world.cloud.make((HOSTS, WIDE, NARROW)[pick % 3], FOREIGN[pick % len(FOREIGN)])
    for nic in made:
        if _room(world):
            world.cloud.attach(nic, NODE)
    return bool(made)


def unplug_foreign(world: World) -> bool:
    foreign = [nic for nic in world.cloud.attached_here() if nic.nic_name in FOREIGN]
    if foreign:
        world.cloud.delete(foreign[0])
    return bool(foreign)


def fill(world: World, vxnet_id: str, left: int) -> bool:
    """Somebody uses up a vxnet's addresses but for so many."""
    count = world.cloud.left(vxnet_id) - left
    return count > 0 and bool(world.cloud.make(vxnet_id, FILLER, count))


def empty(world: World) -> bool:
    fillers = world.cloud.named(FILLER)
    for nic in fillers:
        world.cloud.delete(nic)
    return bool(fillers)


def _ours(world: World, pick: int) -> t.Optional[Nic]:
    mine = [nic for nic in world.cloud.named(*world.names) if nic.role != PRIMARY and world.cloud.idle(nic)]
    if pick % 2 == 0:
        leaving = {nic.nic_id for nic in world.agent.store.of(Record) if nic.state in _LEAVING}
        mine = [nic for nic in mine if nic.nic_id in leaving] or mine
    return mine[pick % len(mine)] if mine else None


def _room(world: World) -> bool:
    """Also for what is being attached just now."""
    coming = [nic_id for job in world.cloud.cloud.live_jobs() for nic_id in job.nic_ids]
    return len(world.cloud.attached_here()) + len(coming) < world.cloud.limit()
