# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pool should do next, as data. Pure: the same snapshot gives the same plan, and the plan says why."""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import asdict, dataclass

from .config import Settings
from .model import GATEWAY, POOL, Nic
from .sizing import NO_RELEASES, NO_WRITES, Reasons, Sized, Snapshot, choice, is_kept_warm, size
from .states import State

# After a refused attach, detach or delete a NIC is left alone this long (seconds), doubled each time up to the limit.
RETRY_PAUSE: t.Final = 2.0
RETRY_LIMIT: t.Final = 120.0
SWEEP_AFTER: t.Final = 600.0  # s from finding that a free NIC is of no use to deleting it
YOUNG: t.Final = 60.0  # s after which the pods beside a gateway NIC are known, whatever the journal has forgotten


@dataclass(frozen=True)
class Create:
    """`private_ips`: an address for each, or none at all."""

    vxnet_id: str
    count: int
    purpose: str = POOL
    private_ips: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attach:
    nic_ids: tuple[str, ...]


@dataclass(frozen=True)
class Recycle:
    """Out of quarantine, back among the ready."""

    nic_ids: tuple[str, ...]


@dataclass(frozen=True)
class LetGo:
    """Held long enough: after a rest the address is anybody's."""

    nic_ids: tuple[str, ...]


@dataclass(frozen=True)
class Recall:
    """Wanted again before anything was sent."""

    nic_ids: tuple[str, ...]


@dataclass(frozen=True)
class Keep:
    """Free NICs that a person has ordered: pre-warmed ones from now on."""

    nic_ids: tuple[str, ...]


@dataclass(frozen=True)
class Drain:
    """Withdrawn from supply; nothing is sent yet."""

    nic_ids: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """Free NICs that nobody has any use for: deleted in a later round, should it still be so."""

    nic_ids: tuple[str, ...]


@dataclass(frozen=True)
class Unmark:
    nic_ids: tuple[str, ...]


@dataclass(frozen=True)
class Detach:
    nic_ids: tuple[str, ...]


@dataclass(frozen=True)
class Delete:
    nic_ids: tuple[str, ...]


Action = t.Union[Create, Attach, Recycle, LetGo, Recall, Keep, Drain, Mark, Unmark, Detach, Delete]


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
    sized = size(snapshot, settings, now)
    strays = _strays(snapshot, sized.reasons.cap)
    actions = [*_by_the_clock(snapshot, settings, now), *_of_some(Recall, sized.recall)]
    actions += _of_some(Keep, _to_keep(snapshot, settings, now))
    if snapshot.level != NO_WRITES:
        actions += _creates(snapshot, sized)
        actions += [Attach(chunk) for chunk in _attaches(snapshot, settings, strays, now)]
        if snapshot.level != NO_RELEASES:
            actions += _removals(snapshot, settings, sized, strays, now)
    return Plan(tuple(actions), sized.reasons)


def next_change(snapshot: Snapshot, settings: Settings, now: float) -> t.Optional[float]:
    """When time alone would change the plan, in seconds from now; None where it would not."""
    moments = [nic.since + settings.quarantine for nic in snapshot.pool(State.QUARANTINE)]
    moments += [nic.since + nic.keep for nic in snapshot.pool(State.HELD)]
    moments += [_retry_at(nic) for nic in snapshot.nics if nic.state in (State.DETACHED, State.DRAINING)]
    moments += [nic.marked + SWEEP_AFTER for nic in snapshot.nics if nic.marked]
    moments += [nic.since + YOUNG for nic in snapshot.gateway_nics() if snapshot.draining]
    ahead = [moment - now for moment in moments if moment > now]
    return min(ahead) if ahead else None


def _by_the_clock(snapshot: Snapshot, settings: Settings, now: float) -> t.Iterator[Action]:
    resting = snapshot.pool(State.QUARANTINE)
    yield from _of_some(Recycle, [nic for nic in resting if now - nic.since >= settings.quarantine])
    held = snapshot.pool(State.HELD)
    yield from _of_some(LetGo, [nic for nic in held if snapshot.draining or now - nic.since >= nic.keep])


def _to_keep(snapshot: Snapshot, settings: Settings, now: float) -> list[Nic]:
    """Free NICs that count for an order and are not kept for it yet."""
    if snapshot.draining:
        return []
    chosen: list[Nic] = []
    for vxnet_id, count in sorted(snapshot.ordered.items(), reverse=True):  # those for any vxnet come last
        free = snapshot.free(vxnet_id)
        kept = [nic for nic in free if is_kept_warm(nic, settings, now) or nic in chosen]
        chosen += [nic for nic in free if nic not in kept][: max(0, count - len(kept))]
    return chosen


def is_met(snapshot: Snapshot, settings: Settings, now: float, vxnet_id: str, size_: int) -> bool:
    """Whether so many free NICs are kept in that vxnet, "" for any."""
    return len([nic for nic in snapshot.free(vxnet_id) if is_kept_warm(nic, settings, now)]) >= size_


def _creates(snapshot: Snapshot, sized: Sized) -> t.Iterator[Create]:
    """One CreateNics a vxnet, and one for each address: that one may be refused must not concern the others."""
    if snapshot.draining:
        return
    standing = {nic.vxnet_id for nic in snapshot.gateway_nics()}
    for vxnet_id in sorted(snapshot.gateways - standing):
        if snapshot.open(vxnet_id):
            yield Create(vxnet_id, 1, GATEWAY)
    counts: Counter[str] = Counter()
    addresses: dict[str, str] = {}
    for waiter in sized.unmet:
        chosen = choice(snapshot, waiter)
        if chosen and waiter.address:
            addresses[waiter.address] = chosen
        elif chosen:
            counts[chosen] += 1
    for address, home in addresses.items():
        yield Create(home, 1, private_ips=(address,))
    for home, count in counts.items():
        yield Create(home, count)


def _attaches(
    snapshot: Snapshot, settings: Settings, strays: t.Collection[Nic], now: float
) -> t.Iterator[tuple[str, ...]]:
    """As many as the instance has room for; those that were refused before go alone, so that they spoil no batch."""
    room = max(0, snapshot.limit - snapshot.foreign - snapshot.attached())
    free = [nic for nic in snapshot.nics if nic.state is State.DETACHED and not nic.doomed and nic not in strays]
    free = [nic for nic in free if not _is_unwanted(nic, snapshot)]
    free.sort(key=lambda nic: (nic.purpose != GATEWAY, nic.since))
    batches = _batches([nic for nic in free if _retry_at(nic) <= now][:room], snapshot.chunk)
    if not snapshot.serial:
        yield from batches
    elif not any(nic.state is State.ATTACHING for nic in snapshot.nics):
        yield from batches[:1]


def _removals(
    snapshot: Snapshot, settings: Settings, sized: Sized, strays: t.Sequence[Nic], now: float
) -> t.Iterator[Action]:
    # in a young one's vxnet there may be pods that are still to be found
    patience = YOUNG if snapshot.draining else SWEEP_AFTER
    useless = [nic for nic in strays if nic.state is State.GATEWAY and now - nic.since >= patience]
    unwanted = [nic for nic in snapshot.nics if nic.state is State.DETACHED and _is_unwanted(nic, snapshot)]
    yield from _of_some(Drain, [*sized.drain, *useless, *unwanted])
    leaving = sorted((nic for nic in snapshot.nics if nic.state is State.DRAINING), key=lambda nic: nic.since)
    yield from map(Detach, _batches([nic for nic in leaving if _retry_at(nic) <= now], settings.attach_chunk))
    free = [nic for nic in strays if nic.state is State.DETACHED]
    yield from _of_some(Mark, [nic for nic in free if not nic.marked])
    yield from _of_some(Unmark, [nic for nic in snapshot.nics if nic.marked and nic not in free])
    swept = [nic for nic in free if nic.marked and now - nic.marked >= SWEEP_AFTER]
    doomed = [nic for nic in snapshot.nics if nic.state is State.DETACHED and nic.doomed]
    yield from map(Delete, _batches([n for n in (*doomed, *swept) if _retry_at(n) <= now], settings.attach_chunk))


def _strays(snapshot: Snapshot, cap: int) -> list[Nic]:
    """Ours, wanted by nobody: free ones beyond the cap, newest first, and gateway NICs that are one too many."""
    free = [nic for nic in snapshot.pool(State.DETACHED) if not nic.doomed]
    surplus = max(0, len([nic for nic in snapshot.pool() if not nic.doomed]) - cap)
    busy = {nic.vxnet_id for nic in snapshot.pool(State.RESERVED, State.IN_USE)}  # their routes may lead there
    served: set[str] = set()
    useless = []
    for nic in sorted(snapshot.gateway_nics(), key=lambda nic: nic.state is not State.GATEWAY):
        needed = nic.vxnet_id in snapshot.needed_gateways() and nic.vxnet_id not in served
        if not needed and (nic.state is State.DETACHED or nic.vxnet_id not in busy):
            useless.append(nic)
        served.add(nic.vxnet_id)
    return free[max(0, len(free) - surplus) :] + useless


def _is_unwanted(nic: Nic, snapshot: Snapshot) -> bool:
    """Of one that is free: given back by a person, or the whole pool is to go."""
    needed = nic.purpose == GATEWAY and nic.vxnet_id in snapshot.needed_gateways()
    return not nic.doomed and (nic.nic_id in snapshot.unwanted or (snapshot.draining and not needed))


def _retry_at(nic: Nic) -> float:
    return nic.since + (min(RETRY_PAUSE * 2 ** (nic.attempts - 1), RETRY_LIMIT) if nic.attempts else 0.0)


def _batches(nics: t.Sequence[Nic], size_: int) -> list[tuple[str, ...]]:
    fresh = [nic.nic_id for nic in nics if not nic.attempts]
    return [
        *(tuple(fresh[start : start + size_]) for start in range(0, len(fresh), size_)),
        *((nic.nic_id,) for nic in nics if nic.attempts),
    ]


def _of_some(action: t.Callable[[tuple[str, ...]], Action], nics: t.Iterable[Nic]) -> list[Action]:
    """The action on these NICs, none at all on no NICs."""
    ids = tuple(nic.nic_id for nic in nics)
    return [action(ids)] if ids else []
