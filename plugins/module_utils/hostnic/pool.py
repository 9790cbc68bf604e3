# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool as pods see it: reserve a NIC, keep it, give it back. Nothing here talks to the cloud."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .config import Settings
from .errors import Busy, HostnicError, NotFound, PoolEmpty
from .model import GATEWAY, POOL, KnownVxnet, Lease, LeaseKey, Nic
from .ports import Clock, Links
from .states import State
from .table import Move, Table

Cancelled = t.Callable[[], bool]


class _Ticket:
    """A place in the queue; `vxnets` are the acceptable ones, empty for any."""

    def __init__(self, vxnets: tuple[str, ...]) -> None:
        self.vxnets = vxnets

    def accepts(self, nic: Nic) -> bool:
        return not self.vxnets or nic.vxnet_id in self.vxnets


class Pool:
    """Hands NICs out and takes them back. Thread-safe; waits only in `acquire` and `gateway`.

    `wake` tells the reconciler that demand or supply changed.
    """

    def __init__(
        self, settings: Settings, table: Table, links: Links, clock: Clock, wake: t.Callable[[], None]
    ) -> None:
        self._settings = settings
        self._table = table
        self._links = links
        self._clock = clock
        self._wake = wake
        self._queue: list[_Ticket] = []
        self._gateways: set[str] = set()
        self._uncleaned = {nic.nic_id for nic in table.nics(State.QUARANTINE)}
        self._trouble: t.Optional[HostnicError] = None
        self._own: dict[str, str] = {}

    # -- for CNI -----------------------------------------------------------------------------------------------------

    def acquire(
        self,
        key: LeaseKey,
        args: dict[str, str],
        deadline: float,
        cancelled: Cancelled,
        vxnets: tuple[str, ...] = (),
    ) -> tuple[Nic, bool]:
        """Reserve a NIC from one of these vxnets (none named: any) for this attachment, first come, first served.

        The same key gets the same NIC again, with True. Raises what stands in the way, `PoolEmpty` where nothing
        definite does, at the deadline (seconds of the clock) or once `cancelled`.
        """
        with self._table.changed:
            held = self._table.lease(key)
            if held:
                return self._known(held.nic_id), True
            ticket = _Ticket(vxnets)
            self._queue.append(ticket)
            try:
                nic = self._supply(ticket)
                while nic is None:
                    self._wait(deadline, cancelled)
                    nic = self._supply(ticket)
                lease = Lease(key.network, key.container_id, key.ifname, nic.nic_id, self._clock(), args=args)
                return self._table.apply([Move(nic, State.RESERVED, {"note": ""})], put=[lease])[0], False
            finally:
                self._queue.remove(ticket)
                self._wake()

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
        with self._table.changed:
            while True:
                if vxnet_id in self._own:
                    return self._own[vxnet_id]
                standing = [nic for nic in self._table.nics(State.GATEWAY) if nic.vxnet_id == vxnet_id]
                if standing:
                    return standing[0].private_ip
                if vxnet_id not in self._gateways:
                    self._gateways.add(vxnet_id)
                    self._wake()
                self._wait(deadline, cancelled)

    def host_address(self) -> str:
        """The host's primary address, as the kernel has it; "" where `iface` has none."""
        return self._links.address_of(self._settings.iface)

    def poke(self) -> None:
        """Have every waiter look again whether it was cancelled."""
        with self._table.changed:
            self._table.changed.notify_all()

    # -- for the reconciler ------------------------------------------------------------------------------------------

    def waiting(self) -> tuple[tuple[str, ...], ...]:
        """The ADDs that wait, each as the vxnets that it accepts."""
        with self._table.lock:
            return tuple(ticket.vxnets for ticket in self._queue)

    def gateways(self) -> frozenset[str]:
        """Vxnets in which a gateway NIC of ours is wanted."""
        with self._table.lock:
            standing = {nic.vxnet_id for nic in self._table.nics() if nic.purpose == GATEWAY and not nic.doomed}
            return frozenset((self._gateways | standing) - self._own.keys())

    def own_addresses(self, addresses: dict[str, str]) -> None:
        """Vxnet ► address of the host's own NICs, as the cloud tells it: gateways that need not be made."""
        with self._table.changed:
            self._own = addresses
            self._table.changed.notify_all()

    def own_vxnets(self) -> frozenset[str]:
        """The vxnets in which the host has a NIC of its own; empty until the cloud has told."""
        with self._table.lock:
            return frozenset(self._own)

    def report(self, trouble: t.Optional[HostnicError]) -> None:
        """What keeps the pool from growing, told to whoever waits in vain."""
        with self._table.changed:
            self._trouble = trouble
            self._table.changed.notify_all()

    def uncleaned(self) -> list[Nic]:
        """Resting NICs whose address may still be in the host's connection tracking."""
        with self._table.lock:
            resting = {nic.nic_id: nic for nic in self._table.nics(State.QUARANTINE)}
            self._uncleaned &= resting.keys()
            return [resting[nic_id] for nic_id in self._uncleaned]

    def cleaned(self, nic_id: str) -> None:
        with self._table.changed:
            self._uncleaned.discard(nic_id)
            self._table.changed.notify_all()

    # -- inside; the lock is held ------------------------------------------------------------------------------------

    def _supply(self, ticket: _Ticket) -> t.Optional[Nic]:
        """The NIC for this place in the queue, or None: ready ones first, then the longest rested."""
        now = self._clock()
        rested = (
            nic
            for nic in self._table.nics(State.QUARANTINE)
            if now - nic.since >= self._settings.quarantine_min and nic.nic_id not in self._uncleaned
        )
        free = [nic for nic in (*self._table.nics(State.READY), *rested) if nic.purpose == POOL]
        for earlier in self._queue:
            choice = next((nic for nic in free if earlier.accepts(nic)), None)
            if earlier is ticket:
                return choice
            if choice:
                free.remove(choice)
        return None

    def _wait(self, deadline: float, cancelled: Cancelled) -> None:
        """Until something changes or a resting NIC may be taken; raises once waiting is over."""
        now = self._clock()
        if cancelled():
            raise PoolEmpty("the request was cancelled")
        if now >= deadline:
            reason = self._trouble.message if self._trouble else "NICs are on their way"
            if self._trouble and not self._trouble.transient:
                raise self._trouble
            raise PoolEmpty(f"no NIC became ready in time: {reason}")
        steals = [nic.since + self._settings.quarantine_min for nic in self._table.nics(State.QUARANTINE)]
        until = min([deadline, *(moment for moment in steals if moment > now)])
        self._wake()
        self._table.changed.wait(until - now)

    def _end(self, key: LeaseKey, target: State, note: str) -> None:
        with self._table.lock:
            lease = self._table.lease(key)
            if not lease:
                return
            nic = self._table.nic(lease.nic_id)
            if nic is None or nic.state not in (State.RESERVED, State.IN_USE):
                self._table.apply(drop=[lease])
                return
            if nic.state is State.IN_USE and target is State.READY:
                target = State.QUARANTINE
            self._table.apply([Move(nic, target, {"note": note})], drop=[lease])
            self._uncleaned.add(nic.nic_id)
        self._wake()

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
