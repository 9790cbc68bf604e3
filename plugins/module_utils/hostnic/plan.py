# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pool should do next, as data. Pure: the same snapshot gives the same plan, and the plan says why."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

from .config import Settings
from .model import GATEWAY, POOL, Nic
from .states import State

# After a refused attach, detach or delete a NIC is left alone this long (seconds), doubled each time up to the limit.
RETRY_PAUSE: t.Final = 2.0
RETRY_LIMIT: t.Final = 120.0
EVERY_VXNET: t.Final = "any vxnet"  # among the blocked: nothing can be made anywhere


@dataclass(frozen=True)
class Create:
    vxnet_id: str
    count: int
    purpose: str = POOL


@dataclass(frozen=True)
class Attach:
    nic_ids: tuple[str, ...]


@dataclass(frozen=True)
class Recycle:
    """Out of quarantine, back among the ready."""

    nic_ids: tuple[str, ...]


@dataclass(frozen=True)
class Drain:
    """Withdrawn from supply; nothing is sent yet."""

    nic_ids: tuple[str, ...]


@dataclass(frozen=True)
class Detach:
    nic_ids: tuple[str, ...]


@dataclass(frozen=True)
class Delete:
    nic_ids: tuple[str, ...]


Action = t.Union[Create, Attach, Recycle, Drain, Detach, Delete]


@dataclass(frozen=True)
class Snapshot:
    """All that the decision looks at. Times are seconds of the pool's clock."""

    nics: tuple[Nic, ...]
    waiting: tuple[tuple[str, ...], ...] = ()  # one entry an ADD that waits: the vxnets it accepts, empty for any
    creating: int = 0  # pool NICs asked for whose CreateNics has no known outcome yet
    creating_in: frozenset[str] = frozenset()  # vxnets with a CreateNics of unknown outcome: one at a time
    vxnets: tuple[str, ...] = ()  # in the order of the policy
    blocked: frozenset[str] = frozenset()  # vxnets in which no NIC can be made now, or EVERY_VXNET
    gateways: frozenset[str] = frozenset()  # vxnets in which a gateway NIC is wanted
    foreign: int = 1  # attached NICs that are not ours, the primary included
    limit: int = 64  # NICs that the cloud attaches to an instance
    attach_allowed: bool = True  # false while attach jobs must run one at a time and one runs
    draining: bool = False  # the whole pool is to go


@dataclass(frozen=True)
class Reasons:
    """The numbers behind a plan, in the order of their dependence."""

    used: int
    waiting: int
    inflight: int
    ready: int
    soon: int
    resting: int
    warm: int
    cap: int
    want: int
    grow: int
    shrink: int
    bounds: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    actions: tuple[Action, ...]
    reasons: Reasons

    def explain(self) -> dict[str, t.Any]:
        """The decision as JSON-ready data."""
        actions = [{"action": type(action).__name__.lower(), **asdict(action)} for action in self.actions]
        return {**asdict(self.reasons), "actions": actions}


def plan(snapshot: Snapshot, settings: Settings, now: float) -> Plan:
    """Compare what is there with what is wanted."""
    reasons = _reasons(snapshot, settings, now)
    actions: list[Action] = []
    rested = _ids(nic for nic in _among(snapshot, State.QUARANTINE) if now - nic.since >= settings.quarantine)
    if rested:
        actions.append(Recycle(rested))
    actions += _creates(snapshot, reasons)
    if snapshot.attach_allowed:
        actions += [Attach(chunk) for chunk in _chunks(_attachable(snapshot, settings, now), settings.attach_chunk)]
    actions += _removals(snapshot, settings, reasons, now)
    return Plan(tuple(actions), reasons)


def next_change(snapshot: Snapshot, settings: Settings, now: float) -> t.Optional[float]:
    """When time alone would change the plan, in seconds from now; None where it would not."""
    moments = [nic.since + settings.quarantine for nic in _among(snapshot, State.QUARANTINE)]
    moments += [_retry_at(nic) for nic in _among(snapshot, State.DETACHED, State.DRAINING)]
    ready = _among(snapshot, State.READY)
    if len(ready) > settings.pool_high:
        moments += [nic.since + _idle_limit(nic, settings) for nic in ready]
    ahead = [moment - now for moment in moments if moment > now]
    return min(ahead) if ahead else None


def _reasons(snapshot: Snapshot, settings: Settings, now: float) -> Reasons:
    def count(*among: State) -> int:
        return len([nic for nic in _among(snapshot, *among) if nic.purpose == POOL])

    used = count(State.RESERVED, State.IN_USE)
    ready = count(State.READY)
    wanted_detached = [nic for nic in _among(snapshot, State.DETACHED) if nic.purpose == POOL and not nic.doomed]
    inflight = snapshot.creating + len(wanted_detached) + count(State.ATTACHING)
    resting = count(State.QUARANTINE)
    soon = len([n for n in _among(snapshot, State.QUARANTINE) if now - n.since >= settings.quarantine_min])
    ours = len([nic for nic in snapshot.nics if nic.purpose == POOL]) + snapshot.creating
    gateways = len(snapshot.gateways | {n.vxnet_id for n in snapshot.nics if n.purpose == GATEWAY})

    bounds = []
    cap = min(settings.max_nics, snapshot.limit - snapshot.foreign - gateways)
    if cap < settings.max_nics:
        bounds.append(f"the instance's limit of {snapshot.limit} NICs")
    warm = 0 if snapshot.draining else settings.pool_low
    waiting = len(snapshot.waiting)
    want = min(cap, used + waiting + warm)
    if want < used + waiting + warm:
        bounds.append(f"the cap of {cap} NICs")
    grow = max(0, min(want - used - ready - inflight - soon, cap - ours))
    if grow and not any(_open(snapshot, vxnet_id) for vxnet_id in snapshot.vxnets):
        bounds.append("no vxnet that can take NICs now")
    idle = [nic for nic in _among(snapshot, State.READY) if now - nic.since >= _idle_limit(nic, settings)]
    leaving = count(State.DRAINING, State.DETACHING, State.DELETING)
    surplus = ready - (0 if snapshot.draining else settings.pool_high)
    shrink = ready if snapshot.draining else 0 if leaving else max(0, min(surplus, len(idle), settings.attach_chunk))
    return Reasons(used, waiting, inflight, ready, soon, resting, warm, cap, want, grow, shrink, tuple(bounds))


def _creates(snapshot: Snapshot, reasons: Reasons) -> t.Iterator[Create]:
    """One CreateNics a vxnet; ADDs that accept only some vxnets first, the rest where the policy points."""
    standing = {nic.vxnet_id for nic in snapshot.nics if nic.purpose == GATEWAY and not nic.doomed}
    for vxnet_id in sorted(snapshot.gateways - standing):
        if _open(snapshot, vxnet_id):
            yield Create(vxnet_id, 1, GATEWAY)
    counts: dict[str, int] = {}
    left = reasons.grow
    for accepted in snapshot.waiting:
        choice = next((vxnet_id for vxnet_id in accepted if _open(snapshot, vxnet_id)), None)
        if left and choice:
            counts[choice] = counts.get(choice, 0) + 1
            left -= 1
    free = [vxnet_id for vxnet_id in snapshot.vxnets if _open(snapshot, vxnet_id)]
    if left and free:
        counts[free[0]] = counts.get(free[0], 0) + left
    for vxnet_id, count in counts.items():
        yield Create(vxnet_id, count)


def _open(snapshot: Snapshot, vxnet_id: str) -> bool:
    """Whether NICs may be asked for there: not blocked, and no CreateNics of unknown outcome."""
    return not snapshot.blocked & {vxnet_id, EVERY_VXNET} and vxnet_id not in snapshot.creating_in


def _attachable(snapshot: Snapshot, settings: Settings, now: float) -> tuple[str, ...]:
    return _ids(nic for nic in _among(snapshot, State.DETACHED) if not nic.doomed and _retry_at(nic) <= now)


def _removals(snapshot: Snapshot, settings: Settings, reasons: Reasons, now: float) -> t.Iterator[Action]:
    idle = [
        nic
        for nic in _among(snapshot, State.READY)
        if snapshot.draining or now - nic.since >= _idle_limit(nic, settings)
    ]
    if reasons.shrink:
        yield Drain(_ids(idle[: reasons.shrink]))
    leaving = _ids(nic for nic in _among(snapshot, State.DRAINING) if _retry_at(nic) <= now)
    for chunk in _chunks(leaving, settings.attach_chunk):
        yield Detach(chunk)
    doomed = _ids(nic for nic in _among(snapshot, State.DETACHED) if nic.doomed and _retry_at(nic) <= now)
    for chunk in _chunks(doomed, settings.attach_chunk):
        yield Delete(chunk)


def _idle_limit(nic: Nic, settings: Settings) -> float:
    return max(settings.idle_ttl, settings.prewarm_ttl) if nic.prewarmed else settings.idle_ttl


def _retry_at(nic: Nic) -> float:
    return nic.since + (min(RETRY_PAUSE * 2 ** (nic.attempts - 1), RETRY_LIMIT) if nic.attempts else 0.0)


def _among(snapshot: Snapshot, *states: State) -> list[Nic]:
    return sorted((nic for nic in snapshot.nics if nic.state in states), key=lambda nic: nic.since)


def _ids(nics: t.Iterable[Nic]) -> tuple[str, ...]:
    return tuple(nic.nic_id for nic in nics)


def _chunks(ids: tuple[str, ...], size: int) -> list[tuple[str, ...]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]
