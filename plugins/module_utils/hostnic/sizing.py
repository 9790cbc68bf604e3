# SPDX-License-Identifier: GPL-3.0-or-later
"""How many NICs the pool wants, where, and which bounds applied: the arithmetic beneath the plan. Pure."""

from __future__ import annotations

import math
import typing as t
from collections import Counter
from dataclasses import dataclass, field

from .config import Settings
from .model import GATEWAY, POOL, Intent, Nic, Waiter
from .states import LEAVING, State

EVERY_VXNET: t.Final = "any vxnet"  # among the blocked: nothing can be made anywhere
DRAINING: t.Final = "this node is drained: no pod starts, and what no pod uses goes, until `qingagent resume`"
NO_WRITES: t.Final = "L0"
NO_RELEASES: t.Final = "L1"

# Free for a pod, or about to be.
_FREE: t.Final = (State.READY, State.QUARANTINE, State.ATTACHING, State.DETACHED)
# A place on the instance is taken, or about to be.
_ATTACHED: t.Final = tuple(state for state in State if state not in (State.DETACHED, State.DELETING, State.GONE))


@dataclass(frozen=True)
class Snapshot:
    """All that the decision looks at. Times are seconds of the pool's clock."""

    nics: tuple[Nic, ...]
    waiting: tuple[Waiter, ...] = ()
    creating: tuple[Intent, ...] = ()  # CreateNics without a known outcome: one at a time in a vxnet
    vxnets: tuple[str, ...] = ()  # in the order of the policy
    blocked: frozenset[str] = frozenset()  # vxnets in which no NIC can be made now, or EVERY_VXNET
    homes: t.Mapping[Waiter, str] = field(default_factory=dict)  # ADD that waits for an address ► where that lies
    gateways: frozenset[str] = frozenset()  # vxnets in which a gateway NIC is wanted
    foreign: int = 1  # attached NICs that are not ours, the primary included
    limit: int = 64  # NICs that the cloud attaches to an instance
    rate: float = 0.0  # pods a second, 95th percentile
    lead_time: float = 0.0  # seconds from CreateNics to a link, 95th percentile
    tastes: tuple[tuple[tuple[str, ...], int], ...] = ()  # vxnets that recent pods accepted (none: any) ► how many pods
    quiet_surplus: int = 0  # NICs that nobody has needed for idle-ttl
    serial: bool = False  # the cloud runs one attach job at a time
    chunk: int = 10  # NICs in one attach job
    level: str = ""  # NO_WRITES, NO_RELEASES or nothing
    draining: bool = False  # all that no pod uses is to go, and nothing is made
    ordered: t.Mapping[str, int] = field(default_factory=dict)  # vxnet, "" for any ► free NICs that a person asked for
    unwanted: frozenset[str] = frozenset()  # NICs that a person gives back

    def pool(self, *states: State) -> list[Nic]:
        """NICs for pods in these states, all without; oldest in its state first."""
        found = [nic for nic in self.nics if nic.purpose == POOL and (not states or nic.state in states)]
        return sorted(found, key=lambda nic: nic.since)

    def accepted(self, vxnet_id: str) -> tuple[str, ...]:
        """The vxnets that an order for this one, "" for any, is about."""
        return (vxnet_id,) if vxnet_id else self.vxnets

    def free(self, vxnet_id: str) -> list[Nic]:
        """What counts for such an order: ready, resting or on its way; oldest in its state first."""
        nics = self.pool(*_FREE)
        return [n for n in nics if n.vxnet_id in self.accepted(vxnet_id) and not n.doomed and not n.keep]

    def attached(self) -> int:
        """Ours that take a place on the instance, gateway NICs among them."""
        return len([nic for nic in self.nics if nic.state in _ATTACHED])

    def gateway_nics(self) -> list[Nic]:
        """Oldest first, those on their way out left out."""
        return sorted((n for n in self.nics if n.purpose == GATEWAY and not n.doomed), key=lambda nic: nic.since)

    def needed_gateways(self) -> frozenset[str]:
        """The vxnets whose gateway NIC is wanted; of a pool that drains, those with a pod, known or perhaps."""
        pods = {nic.vxnet_id for nic in self.pool(State.RESERVED, State.IN_USE, State.BROKEN)}
        return self.gateways & pods if self.draining else self.gateways

    def gateway_places(self) -> int:
        """On the instance: one for each vxnet that has or needs a gateway NIC, and those of second ones."""
        nics = self.gateway_nics()
        attached = Counter(nic.vxnet_id for nic in nics if nic.state in _ATTACHED)
        return sum(max(1, attached[vxnet_id]) for vxnet_id in self.gateways | {nic.vxnet_id for nic in nics})

    def open(self, vxnet_id: str) -> bool:
        """Whether NICs may be asked for there: not blocked, and no CreateNics of unknown outcome."""
        asked = {intent.vxnet_id for intent in self.creating}
        return not self.blocked & {vxnet_id, EVERY_VXNET} and vxnet_id not in asked


@dataclass(frozen=True)
class Reasons:
    """The numbers behind a plan, in the order of their dependence."""

    used: int
    waiting: int
    ready: int
    soon: int  # resting, but may be taken when there is nothing else, or was made for us by someone else
    inflight: int
    resting: int
    held: int
    broken: int
    leaving: int
    rate: float
    lead_time: float
    warm: int
    ordered: int  # free NICs that a person has asked for and that are not all there yet
    foreign: int
    gateways: int
    limit: int
    cap: int
    want: int
    grow: int
    shrink: int
    bounds: tuple[str, ...]


@dataclass(frozen=True)
class Sized:
    """`unmet`: waiting pods and places of the warm pool that no NIC is on its way to, as far as there is room for them.

    `recall`: NICs on their way out that a waiting pod may have; `drain`: ready ones that are to go; `idle`: ready ones
    that nobody needs.
    """

    reasons: Reasons
    unmet: tuple[Waiter, ...]
    recall: tuple[Nic, ...]
    drain: tuple[Nic, ...]
    idle: tuple[Nic, ...]


class _Unit(t.NamedTuple):
    """A NIC that is or will be there for a pod; `nic` None while only its CreateNics is known."""

    vxnet_id: str
    private_ip: str
    nic: t.Optional[Nic] = None


def size(snapshot: Snapshot, settings: Settings, now: float) -> Sized:
    """The formula of the pool; what it works out is in the reasons."""
    ready = snapshot.pool(State.READY)
    resting = snapshot.pool(State.QUARANTINE)
    soon = [nic for nic in resting if nic.prewarmed or now - nic.since >= settings.quarantine_min]
    coming = [nic for nic in snapshot.pool(State.ATTACHING, State.DETACHED) if not nic.doomed and not nic.keep]
    asked = [unit for intent in snapshot.creating if intent.purpose == POOL for unit in _units_of(intent)]
    used = len(snapshot.pool(State.RESERVED, State.IN_USE))
    leaving = len(snapshot.pool(*LEAVING))
    ours = len(snapshot.pool()) + len(asked)
    bounds: list[str] = []

    gateways = snapshot.gateway_places()
    cap = max(0, min(settings.max_nics, snapshot.limit - snapshot.foreign - gateways))
    if cap < settings.max_nics:
        bounds.append(f"the instance takes {snapshot.limit} NICs, {snapshot.foreign + gateways} are not for pods")
    warm = 0 if snapshot.draining else warm_target(snapshot, settings, bounds)
    waiting = len(snapshot.waiting)
    want = min(cap, used + waiting + warm)
    if want < used + waiting + warm:
        bounds.append(f"the cap of {cap} NICs")

    supply = [_Unit(nic.vxnet_id, nic.private_ip, nic) for nic in (*ready, *soon, *coming)] + asked
    unmet_pods, supply = _matched(snapshot.waiting, supply, snapshot.vxnets)
    # one that was to be detached before may still be, by a job that everybody has given up
    unsent = [nic for nic in snapshot.pool(State.DRAINING) if not nic.attempts]
    drained = [_Unit(nic.vxnet_id, nic.private_ip, nic) for nic in unsent]
    unrecalled, kept = _matched(unmet_pods, drained, snapshot.vxnets)
    recall = [unit.nic for unit in drained if unit not in kept and unit.nic and not snapshot.draining]
    places = max(0, want - used - waiting)  # at the cap, pods come before the warm pool
    unmet_warm, spare = _matched(_warm_places(places, snapshot), supply, snapshot.vxnets)

    room = max(0, cap - ours)
    young = [_Unit(nic.vxnet_id, nic.private_ip, nic) for nic in resting if nic not in soon]
    lacking = _lacking(snapshot, [*supply, *young], unmet_warm)
    unmet = [] if snapshot.draining else [*unrecalled, *unmet_warm]
    able = [waiter for waiter in unmet if choice(snapshot, waiter)]
    ordered = [waiter for waiter in lacking if choice(snapshot, waiter) and not snapshot.draining]
    if len(able) + len(ordered) < len(unmet) + len(lacking) and not snapshot.draining:
        bounds.append("vxnets that take no NICs now")
    grow = [*able, *ordered][:room]
    spare_ready = [unit.nic for unit in spare if unit.nic and unit.nic.state is State.READY]
    # more than the cap are attached where a gateway NIC needs a place; more are wanted than there is room for
    crowding = max(len(able) - room, len(snapshot.pool(*_ATTACHED)) - cap) - leaving
    given_back = [nic for nic in ready if nic.nic_id in snapshot.unwanted]
    useless = _to_drain(snapshot, settings, ready, spare_ready, crowding, leaving, now)
    drain = [*given_back, *(nic for nic in useless if nic not in given_back)]
    if snapshot.draining:
        bounds.append(DRAINING)
    if snapshot.level:
        bounds.append(_LEVELS[snapshot.level])
    reasons = Reasons(
        used=used,
        waiting=waiting,
        ready=len(ready),
        soon=len(soon),
        inflight=len(coming) + len(asked),
        resting=len(resting),
        held=len(snapshot.pool(State.HELD)),
        broken=len(snapshot.pool(State.BROKEN)),
        leaving=leaving,
        rate=round(snapshot.rate, 3),
        lead_time=round(snapshot.lead_time, 3),
        warm=warm,
        ordered=sum(snapshot.ordered.values()),
        foreign=snapshot.foreign,
        gateways=gateways,
        limit=snapshot.limit,
        cap=cap,
        want=want,
        grow=len(grow),
        shrink=len(drain),
        bounds=tuple(bounds),
    )
    return Sized(reasons, tuple(grow), tuple(recall), tuple(drain), tuple(spare_ready))


def warm_target(snapshot: Snapshot, settings: Settings, bounds: list[str]) -> int:
    """As many as pods ask for while a new NIC is on its way, between pool-low and pool-high."""
    wished = math.ceil(snapshot.rate * snapshot.lead_time)
    if wished < settings.pool_low:
        bounds.append(f"pool-low {settings.pool_low}")
    elif wished > settings.pool_high:
        bounds.append(f"pool-high {settings.pool_high}")
    return max(settings.pool_low, min(wished, settings.pool_high))


def surplus(snapshot: Snapshot, settings: Settings, now: float) -> int:
    """Ready NICs above pool-high that nobody has pre-warmed."""
    ready = [nic for nic in snapshot.pool(State.READY) if not is_kept_warm(nic, settings, now)]
    return len(ready) - settings.pool_high


def is_kept_warm(nic: Nic, settings: Settings, now: float) -> bool:
    """Pre-warmed, and not for so long that nobody wants it any more."""
    return nic.prewarmed and now - nic.since < settings.prewarm_ttl


_LEVELS: t.Final = {
    NO_WRITES: "degradation L0: nothing is changed in the cloud",
    NO_RELEASES: "degradation L1: nothing is given back to the cloud",
}


def _units_of(intent: Intent) -> list[_Unit]:
    addresses = intent.private_ips or ("",) * intent.count
    return [_Unit(intent.vxnet_id, address) for address in addresses]


def _warm_places(warm: int, snapshot: Snapshot) -> list[Waiter]:
    """The warm pool's places, shared out as recent pods chose their vxnets; none for what cannot be had."""
    tastes = [taste for taste in snapshot.tastes if not taste[0] or any(map(snapshot.open, taste[0]))]
    total = sum(count for __, count in tastes)
    places: list[Waiter] = []
    for vxnets, count in sorted(tastes, key=lambda taste: -taste[1]):
        share = min(warm - len(places), math.ceil(warm * count / total))
        places += [Waiter(vxnets)] * share
    return places + [Waiter()] * (warm - len(places))


def _lacking(snapshot: Snapshot, free: t.Sequence[_Unit], coming: t.Sequence[Waiter]) -> list[Waiter]:
    """What has yet to be asked for, so that there are as many free NICs as a person has ordered."""
    there = [*(unit.vxnet_id for unit in free), *(choice(snapshot, waiter) for waiter in coming)]
    lacking: list[Waiter] = []
    for vxnet_id, count in sorted(snapshot.ordered.items(), reverse=True):  # those for any vxnet come last
        found = len([one for one in there if one in snapshot.accepted(vxnet_id)])
        more = [Waiter((vxnet_id,) if vxnet_id else ())] * (count - found)
        there += [choice(snapshot, waiter) for waiter in more]
        lacking += more
    return lacking


def _matched(
    waiters: t.Sequence[Waiter], units: t.Sequence[_Unit], vxnets: t.Sequence[str]
) -> tuple[list[Waiter], list[_Unit]]:
    """Who gets none of the units, and the units that are left; the most particular choose first.

    `vxnets`: what those accept who name none.
    """
    left, unmet = list(units), []
    for waiter in sorted(waiters, key=lambda one: (not one.address, not one.vxnets, len(one.vxnets))):
        unit = next((unit for unit in left if _fits(waiter, unit, vxnets)), None)
        if unit is None:
            unmet.append(waiter)
        else:
            left.remove(unit)
    return unmet, left


def _fits(waiter: Waiter, unit: _Unit, vxnets: t.Sequence[str]) -> bool:
    return unit.vxnet_id in (waiter.vxnets or vxnets) and waiter.address in ("", unit.private_ip)


def choice(snapshot: Snapshot, waiter: Waiter) -> t.Optional[str]:
    """The vxnet in which a NIC for it may be asked for now."""
    if waiter.address:
        home = snapshot.homes.get(waiter)
        taken = any(nic.private_ip == waiter.address for nic in snapshot.nics)  # it rests, or is about to go
        return home if home and snapshot.open(home) and not taken else None
    return next((vxnet_id for vxnet_id in waiter.vxnets or snapshot.vxnets if snapshot.open(vxnet_id)), None)


def _to_drain(
    snapshot: Snapshot, settings: Settings, ready: list[Nic], spare: list[Nic], crowding: int, leaving: int, now: float
) -> list[Nic]:
    """All of them, those in the way of others that are needed more, or a batch that nobody has needed for long."""
    if snapshot.draining:
        return ready
    if crowding > 0:
        return spare[:crowding]
    if leaving:
        return []
    configured = [nic for nic in spare if nic.vxnet_id in snapshot.vxnets]
    idle = [nic for nic in spare if nic not in configured] + configured
    return [nic for nic in idle if not is_kept_warm(nic, settings, now)][
        : min(snapshot.quiet_surplus, settings.attach_chunk)
    ]
