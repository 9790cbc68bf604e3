# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool as pods see it: reserve a NIC, keep it, give it back. Nothing here talks to the cloud."""

from __future__ import annotations

import logging
import typing as t
from dataclasses import replace

from . import afterwards
from .config import Settings
from .context import current
from .demand import USUAL_LEAD, Demand
from .errors import AddressHeld, Busy, HostnicError, InvalidConfig, NotFound, PoolEmpty
from .model import GATEWAY, POOL, Fact, Fixed, KnownVxnet, Lease, LeaseKey, Nic, Waiter
from .orders import check_open, refusal
from .ports import Clock, Links
from .standin import netns_lease
from .states import State
from .table import Move, Table
from .troubles import EVERYWHERE, Troubles

log = logging.getLogger("hostnic.pool")

MASQUERADE: t.Final = "ipMasq of "  # begins the name of a fact; the network's name and a vxnet follow

# A pod that waits is served from these, sooner or later.
_SERVES_SOON: t.Final = (State.READY, State.QUARANTINE, State.ATTACHING)
# What stands in the way for good, until a person has changed something.
_HOPELESS: t.Final = (NotFound, InvalidConfig)

Cancelled = t.Callable[[], bool]


class Place:
    """A place in the queue; compared by identity."""

    def __init__(self, waiter: Waiter, workload: str) -> None:
        self.waiter = waiter
        self.workload = workload
        self.request = str(current().get("request", ""))
        self.refused: t.Optional[HostnicError] = None


class Pool:
    """Hands NICs out and takes them back. Thread-safe; waits only in `acquire` and `gateway`.

    `settings` are those that count now: a reload replaces them as a whole.
    `wake` tells the reconciler that demand or supply changed. `steals` counts NICs that rested less than they should.
    """

    def __init__(
        self,
        settings: Settings,
        table: Table,
        links: Links,
        clock: Clock,
        wake: t.Callable[[], None],
        usual_lead: float = USUAL_LEAD,
    ) -> None:
        self.settings = settings
        self._table = table
        self._links = links
        self._clock = clock
        self._wake = wake
        self._queue: list[Place] = []
        self._gateways: set[str] = set()
        self._clean: dict[str, float] = {}  # resting NICs whose address is forgotten ► since when they rest
        self.troubles: t.Final = Troubles()
        self.demand = Demand(clock(), usual_lead)
        self.steals = 0

    # -- for CNI -----------------------------------------------------------------------------------------------------

    def acquire(
        self,
        key: LeaseKey,
        args: dict[str, str],
        deadline: float,
        cancelled: Cancelled,
        vxnets: tuple[str, ...] = (),
        fixed: t.Optional[Fixed] = None,
    ) -> tuple[Nic, bool]:
        """Reserve a NIC from one of these vxnets (none named: any) for this attachment, first come, first served.

        The same key gets the same NIC again, with True. `fixed` asks for one address and keeps it for its workload.
        Raises what stands in the way, `AddressHeld` where the address is another workload's, `PoolEmpty` where nothing
        definite does, at the deadline (seconds of the clock) or once `cancelled`.
        """
        with self._table.changed:
            held = self._table.lease(key)
            if held:
                return self._known(held.nic_id), True
            place = self.enter(vxnets, fixed)
            try:
                nic = self._supply(place)
                while nic is None:
                    self._wait(place, deadline, cancelled)
                    nic = self._supply(place)
                return self._reserve(nic, key, args, fixed), False
            finally:
                self.leave(place)

    def enter(self, vxnets: tuple[str, ...] = (), fixed: t.Optional[Fixed] = None) -> Place:
        """A place in the queue, for `leave` to give up; `acquire` does both, and waits in between."""
        with self._table.lock:
            check_open(self._table)
            self.demand.arrived(vxnets, self._clock())
            place = Place(Waiter(vxnets, fixed.address if fixed else ""), fixed.workload if fixed else "")
            self._queue.append(place)
            return place

    def take(self, place: Place, key: LeaseKey) -> t.Optional[Nic]:
        """What that place is served with now, reserved; None where it has to wait."""
        with self._table.lock:
            nic = self._supply(place)
            return self._reserve(nic, key, {}, None) if nic else None

    def leave(self, place: Place) -> None:
        """Served, or waiting no longer."""
        with self._table.lock:
            self._queue.remove(place)
        afterwards.do(self._wake)

    def commit(self, key: LeaseKey, netns_inode: int, ifindex: int) -> None:
        """The NIC is in the pod and configured."""
        with self._table.lock:
            lease = self._held(key)
            nic = self._known(lease.nic_id)
            moves = [Move(nic, State.IN_USE)] if nic.state is State.RESERVED else []
            self._table.apply(moves, put=[replace(lease, netns_inode=netns_inode, ifindex=ifindex)])

    def abort(self, key: LeaseKey, touched_pod: bool) -> None:
        """The ADD failed and the NIC is back in parking; one that the pod has seen rests before reuse."""
        self._end(key, State.QUARANTINE if touched_pod else State.READY, "an ADD failed")

    def release(self, key: LeaseKey, returned: bool) -> None:
        """The attachment is over. `returned`: the link is back in parking; else it was found nowhere."""
        self._end(key, State.QUARANTINE if returned else State.BROKEN, "" if returned else "its link is nowhere")

    def unable(self, vxnets: tuple[str, ...] = (), gateway: bool = False) -> t.Optional[HostnicError]:
        """Why an ADD that accepts these vxnets (none named: the agent's) would fail now; None where one can be served.

        `gateway`: it also needs the host's foot in the vxnet.
        """
        accepted = vxnets or self.settings.vxnet
        closed = refusal(self._table)
        if closed:
            return closed
        with self._table.lock:
            everywhere = self.troubles.standing().get(EVERYWHERE)
            # what is free in the cloud has yet to be attached, which may be in trouble
            states = _SERVES_SOON if everywhere else (*_SERVES_SOON, State.DETACHED)
            coming = [nic for nic in self._table.nics(*states) if nic.purpose == POOL and not nic.doomed]
            served = {nic.vxnet_id for nic in coming} & set(accepted)
            if gateway and served:
                served = {vxnet_id for vxnet_id in served if self.standing_gateway(vxnet_id)}
            return None if served else everywhere or self.troubles.in_all(accepted)

    def attachments(self, network: str) -> list[LeaseKey]:
        """Those of this network that hold a NIC."""
        return [lease.attachment for lease in self._table.leases() if lease.network == network]

    def let_go(self, address: str) -> bool:
        """A kept address is anybody's again; False where none such is kept."""
        with self._table.changed:
            for nic in self._table.nics(State.HELD):
                if nic.private_ip == address:
                    self._table.move(nic, State.QUARANTINE, workload="", keep=0.0, note="released by hand")
                    self._wake()
                    return True
        return False

    def found_in(self, netns_inode: int, ifname: str) -> t.Optional[Lease]:
        """The lease of a NIC that was found in this netns without a journal's word of it."""
        return self._table.lease(netns_lease(netns_inode, ifname))

    def take_over(self, lease: Lease, key: LeaseKey, args: dict[str, str]) -> bool:
        """The NIC that was found in a netns is this attachment's; False where that lease has ended meanwhile."""
        taken = replace(lease, network=key.network, container_id=key.container_id, ifname=key.ifname, args=args)
        with self._table.lock:
            if self._table.lease(lease.attachment) != lease:
                return False
            self._table.apply(put=[taken], drop=[lease])
            return True

    def lease(self, key: LeaseKey) -> t.Optional[Lease]:
        return self._table.lease(key)

    def nic(self, nic_id: str) -> t.Optional[Nic]:
        return self._table.nic(nic_id)

    def vxnet(self, vxnet_id: str) -> KnownVxnet:
        """From memory; `Busy` where it was not read yet."""
        known = self._table.vxnets().get(vxnet_id)
        if not known:
            raise Busy(f"vxnet {vxnet_id} has not been read from the cloud yet")
        return known

    def gateway(self, vxnet_id: str, deadline: float, cancelled: Cancelled) -> str:
        """The address of the host's foot in this vxnet; a gateway NIC is made where the host has none."""
        place = Place(Waiter((vxnet_id,)), "")
        with self._table.changed:
            while True:
                standing = self.standing_gateway(vxnet_id)
                if standing:
                    self._gateways.discard(vxnet_id)  # it stays as long as there are NICs of pods beside it
                    return standing
                if vxnet_id not in self._gateways:
                    self._gateways.add(vxnet_id)
                    self._wake()
                self._wait(place, deadline, cancelled)

    def standing_gateway(self, vxnet_id: str) -> str:
        """As `gateway`, "" where the host has none there now."""
        known = self._table.vxnets().get(vxnet_id)
        if known and known.host_address:
            return known.host_address
        return next((nic.private_ip for nic in self._table.nics(State.GATEWAY) if nic.vxnet_id == vxnet_id), "")

    def masquerade(self, network: str, vxnet_id: str, wanted: bool) -> None:
        """Whether what this network's pods in the vxnet send out of the VPC by their host is masqueraded (ipMasq)."""
        fact = Fact(f"{MASQUERADE}{network} {vxnet_id}", "yes")
        if wanted != bool(self._table.fact(fact.name)):
            self._table.apply(put=[fact] if wanted else [], drop=[] if wanted else [fact])
            self._wake()

    def masqueraded(self) -> frozenset[str]:
        """The vxnets in which a network with ipMasq has pods now."""
        with self._table.lock:
            asked = {name for name in self._table.facts() if name.startswith(MASQUERADE)}
            nics = [(lease.network, self._table.nic(lease.nic_id)) for lease in self._table.leases()]
            here = [(network, nic.vxnet_id) for network, nic in nics if nic]
            return frozenset(vxnet_id for network, vxnet_id in here if f"{MASQUERADE}{network} {vxnet_id}" in asked)

    def host_address(self) -> str:
        """The host's primary address, as the kernel has it; "" where `iface` has none."""
        return self._links.address_of(self.settings.iface)

    def poke(self) -> None:
        """Have every waiter look again whether it was cancelled."""
        with self._table.changed:
            self._table.changed.notify_all()

    # -- for the reconciler ------------------------------------------------------------------------------------------

    def waiting(self) -> tuple[Waiter, ...]:
        """The ADDs that wait, and are to have what they wait for."""
        with self._table.lock:
            return tuple(place.waiter for place in self._queue if not place.refused)

    def gateways(self) -> frozenset[str]:
        """Vxnets in which a gateway NIC of ours is wanted: asked for, or still standing beside NICs of pods."""
        with self._table.lock:
            nics = self._table.nics()
            pods = {nic.vxnet_id for nic in nics if nic.purpose == POOL}
            standing = {nic.vxnet_id for nic in nics if nic.purpose == GATEWAY and not nic.doomed}
            own = {vxnet.vxnet_id for vxnet in self._table.vxnets().values() if vxnet.host_address}
            return frozenset((self._gateways | (standing & pods)) - own)

    def own_vxnets(self) -> frozenset[str]:
        """The vxnets in which the host has a NIC of its own, as far as the cloud has told."""
        known = self._table.vxnets().values()
        return frozenset(vxnet.vxnet_id for vxnet in known if vxnet.host_address)

    def report(self, troubles: t.Mapping[str, HostnicError], refused: str = "") -> None:
        """As `Troubles.report`, told to whoever waits in vain."""
        with self._table.changed:
            self.troubles.report(troubles, refused)
            self._table.changed.notify_all()

    def trouble(self, vxnets: tuple[str, ...] = ()) -> t.Optional[HostnicError]:
        """What keeps the pool from growing in these vxnets (none named: the agent's)."""
        return self.troubles.of(vxnets or self.settings.vxnet)

    def refuse(self, waiters: t.Collection[Waiter], error: HostnicError) -> None:
        """What these wait for cannot be had: they are told now."""
        with self._table.changed:
            for place in self._queue:
                if place.waiter in waiters:
                    place.refused = error
            self._table.changed.notify_all()

    def requests(self) -> tuple[str, ...]:
        """The ids of the calls that wait for a NIC, as far as they have any."""
        with self._table.lock:
            return tuple(place.request for place in self._queue if place.request)

    def uncleaned(self) -> list[Nic]:
        """Resting NICs whose address may still be in the host's connection tracking."""
        with self._table.lock:
            resting = self._table.nics(State.QUARANTINE)
            self._clean = {nic.nic_id: nic.since for nic in resting if self._is_clean(nic)}
            return [nic for nic in resting if nic.nic_id not in self._clean]

    def cleaned(self, nic: Nic) -> None:
        """As it was when its address was forgotten: another rest needs another flush."""
        with self._table.changed:
            self._clean[nic.nic_id] = nic.since
            self._table.changed.notify_all()

    # -- inside; the lock is held ------------------------------------------------------------------------------------

    def _supply(self, place: Place) -> t.Optional[Nic]:
        """The NIC for this place in the queue, or None: ready ones first, then the longest rested.

        Those who want one address choose first: it was made for them.
        """
        now = self._clock()
        rested = [
            nic
            for nic in self._table.nics(State.QUARANTINE)
            if now - nic.since >= self.settings.quarantine_min and self._is_clean(nic)
        ]
        free = [n for n in (*self._table.nics(State.HELD, State.READY), *rested) if n.purpose == POOL]
        for earlier in sorted(self._queue, key=lambda one: not one.waiter.address):
            choice = next((nic for nic in free if self._suits(earlier, nic)), None)
            if earlier is place:
                return choice
            if choice:
                free.remove(choice)
        return None

    def _reserve(self, nic: Nic, key: LeaseKey, args: dict[str, str], fixed: t.Optional[Fixed]) -> Nic:
        now = self._clock()
        if nic.state is State.QUARANTINE and now - nic.since < self.settings.quarantine:
            self.steals += 1
            log.info("%s is taken after %.0f s of rest", nic.nic_id, now - nic.since)
        whose = {"workload": fixed.workload if fixed else "", "keep": fixed.keep if fixed else 0.0}
        lease = Lease(key.network, key.container_id, key.ifname, nic.nic_id, now, args=args)
        changes = {"note": "", "prewarmed": False, **whose}
        return self._table.apply([Move(nic, State.RESERVED, changes)], put=[lease])[0]

    def _wait(self, place: Place, deadline: float, cancelled: Cancelled) -> None:
        """Until something changes or a resting NIC may be taken; raises once waiting is over."""
        now = self._clock()
        if cancelled():
            raise PoolEmpty("the request was cancelled")
        check_open(self._table)
        if place.refused:
            raise place.refused
        if place.waiter.address:
            self._check_holder(place)
        reason = self.troubles.why_empty(place.waiter.vxnets or self.settings.vxnet)
        if now >= deadline or isinstance(reason, _HOPELESS):
            raise reason
        steals = [nic.since + self.settings.quarantine_min for nic in self._table.nics(State.QUARANTINE)]
        until = min([deadline, *(moment for moment in steals if moment > now)])
        self._wake()
        afterwards.now()
        self._table.changed.wait(until - now)
        check_open(self._table)

    def _check_holder(self, place: Place) -> None:
        """Raises `AddressHeld`."""
        address = place.waiter.address
        for nic in self._table.nics(State.HELD, State.RESERVED, State.IN_USE):
            if nic.private_ip == address and nic.purpose == POOL and self._accepts(place, nic):
                lease = self._table.lease_of(nic.nic_id)
                holder = str(lease.attachment) if lease else nic.workload
                remedy = "" if lease else f", or release it: qingagent release {address}"
                said = f"address {address} is held by {holder}: delete that pod first{remedy}"
                raise AddressHeld(said, holder=holder)

    def _end(self, key: LeaseKey, target: State, note: str) -> None:
        with self._table.lock:
            lease = self._table.lease(key)
            if not lease:
                return
            nic = self._table.nic(lease.nic_id)
            if nic is None or nic.state not in (State.RESERVED, State.IN_USE):
                self._table.apply(drop=[lease])
                return
            changes: dict[str, t.Any] = {"note": note}
            if nic.keep and target is not State.BROKEN:
                target, changes = State.HELD, {"note": f"kept for {nic.workload}"}
            elif target is not State.BROKEN:
                changes.update(workload="")
                target = State.QUARANTINE if nic.state is State.IN_USE else target
            self._table.apply([Move(nic, target, changes)], drop=[lease])
        afterwards.do(self._wake)

    def _accepts(self, place: Place, nic: Nic) -> bool:
        """Of the vxnets that it names, or of the agent's: those of other networks are theirs."""
        return nic.vxnet_id in (place.waiter.vxnets or self.settings.vxnet) and place.waiter.accepts(nic)

    def _suits(self, place: Place, nic: Nic) -> bool:
        """A kept address goes to its workload alone, and to none that did not ask for it."""
        if nic.state is State.HELD and (not place.waiter.address or nic.workload != place.workload):
            return False
        return self._accepts(place, nic)

    def _is_clean(self, nic: Nic) -> bool:
        return self._clean.get(nic.nic_id) == nic.since

    def _held(self, key: LeaseKey) -> Lease:
        lease = self._table.lease(key)
        if not lease:
            raise NotFound(f"no lease for {key}")
        return lease

    def _known(self, nic_id: str) -> Nic:
        nic = self._table.nic(nic_id)
        if not nic:
            raise NotFound(f"the table has no NIC {nic_id}")
        return nic
