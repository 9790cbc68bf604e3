# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of NICs, leases and intents: in memory for speed, every change in the journal first."""

from __future__ import annotations

import logging
import threading
import typing as t
from dataclasses import replace

from . import afterwards, states
from .context import current, fields
from .model import Fact, Intent, KnownVxnet, Lease, LeaseKey, Nic, Record
from .ports import Clock, Journal, Store
from .states import State

log = logging.getLogger("hostnic.table")


class Move(t.NamedTuple):
    """One NIC's step along an edge of `states.EDGES`; `changes` are other fields of the record.

    A NIC that the table does not hold yet enters in its target state.
    """

    nic: Nic
    target: State
    changes: t.Mapping[str, t.Any] = {}


class Table:
    """Everything this agent knows, behind one lock that nobody holds across a cloud or netlink call.

    `changed` is notified after each change; whoever waits for a NIC waits on it. `rested` is set when a NIC has come to
    rest; it is cleared by whoever tidies up after it.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.rested = threading.Event()
        self._nics: dict[str, Nic] = {}
        self._leases: dict[LeaseKey, Lease] = {}
        self._intents: dict[str, Intent] = {}
        self._vxnets: dict[str, KnownVxnet] = {}
        self._facts: dict[str, Fact] = {}

    def open(self, boot_id: str, instance_id: str) -> None:
        """Load the journal. Another instance's is set aside (a cloned image); after a reboot no pod holds anything."""
        journal = self._store.load()
        if journal.binding[1] not in ("", instance_id):
            self._store.set_aside(f"of-{journal.binding[1]}")
            journal = Journal(("", ""))
        records: tuple[Record, ...] = (*journal.nics, *journal.leases, *journal.intents)
        if journal.binding[0] not in ("", boot_id):
            now = self._clock()
            records = (
                *(replace(nic, since=now, state=_after_reboot(nic.state), marked=0.0) for nic in journal.nics),
                *(replace(intent, since=now) for intent in journal.intents),
            )
            self._store.write(put=records, drop=journal.leases)
        self._store.bind(boot_id, instance_id)
        with self.lock:
            for record in (*records, *journal.vxnets, *journal.facts):
                self._remember(record)

    # -- reading: frozen records, safe to keep ------------------------------------------------------------------------

    def nics(self, *among: State) -> list[Nic]:
        """NICs in these states, all without; oldest in its state first."""
        with self.lock:
            found = [nic for nic in self._nics.values() if not among or nic.state in among]
        return sorted(found, key=lambda nic: nic.since)

    def nic(self, nic_id: str) -> t.Optional[Nic]:
        with self.lock:
            return self._nics.get(nic_id)

    def leases(self) -> list[Lease]:
        with self.lock:
            return list(self._leases.values())

    def lease(self, key: LeaseKey) -> t.Optional[Lease]:
        with self.lock:
            return self._leases.get(key)

    def lease_of(self, nic_id: str) -> t.Optional[Lease]:
        with self.lock:
            return next((lease for lease in self._leases.values() if lease.nic_id == nic_id), None)

    def intents(self, action: str = "") -> list[Intent]:
        with self.lock:
            return [intent for intent in self._intents.values() if not action or intent.action == action]

    def vxnets(self) -> dict[str, KnownVxnet]:
        with self.lock:
            return dict(self._vxnets)

    def fact(self, name: str) -> str:
        """What was found out, "" for nothing."""
        with self.lock:
            known = self._facts.get(name)
        return known.value if known else ""

    def facts(self) -> list[str]:
        """The names of what was found out."""
        with self.lock:
            return list(self._facts)

    # -- writing: journal first, then memory, then whoever waits ------------------------------------------------------

    def move(self, nic: Nic, target: State, **changes: t.Any) -> Nic:
        """Take one NIC along one edge; returns its new record."""
        return self.apply([Move(nic, target, changes)])[0]

    def apply(
        self,
        moves: t.Iterable[Move] = (),
        put: t.Iterable[Record] = (),
        drop: t.Iterable[Record] = (),
        durable: bool = False,
    ) -> list[Nic]:
        """Several steps, and other records with them, in one transaction.

        A NIC that is not where its `Move` says (another thread was faster) raises `IllegalTransition`.
        """
        moves = list(moves)
        now = self._clock()
        with self.lock:
            before = [self._nics.get(nic.nic_id) for nic, *__ in moves]
            after = []
            for current, (nic, target, changes) in zip(before, moves):
                states.check(current.state if current else None, target)
                if current is not None and current.state is not nic.state:
                    raise states.IllegalTransition(f"{nic.nic_id} is {current.state.value}, not {nic.state.value}")
                after.append(replace(current or nic, **{"state": target, "since": now, **changes}))
            gone = [nic for nic in after if nic.state is State.GONE]
            kept = [nic for nic in after if nic.state is not State.GONE]
            put, drop = [*kept, *put], [*gone, *drop]
            self._store.write(put, drop, durable)
            for record in put:
                self._remember(record)
            for record in drop:
                self._forget(record)
            self.changed.notify_all()
        if any(nic.state is State.QUARANTINE for nic in after):
            afterwards.do(self.rested.set)
        ended = {record.nic_id: record for record in drop if isinstance(record, Lease)}
        for source, nic in zip(before, after):
            self._tell(source, nic, ended.get(nic.nic_id))
        return after

    def amend(self, nic: Nic, **changes: t.Any) -> None:
        """It stays in its state; a NIC that has left it meanwhile is left alone."""
        with self.lock:
            current = self._nics.get(nic.nic_id)
            if current is not None and current.state is nic.state:
                self.apply(put=[replace(current, **changes)])

    def retry(self, nic: Nic, note: str) -> None:
        """It stays where it is; what was wanted of it is tried again after a longer pause."""
        self.amend(nic, attempts=nic.attempts + 1, since=self._clock(), note=note)

    def _tell(self, source: t.Optional[Nic], nic: Nic, ended: t.Optional[Lease]) -> None:
        """Where no call is being carried out, which names the pod by itself, its lease does."""
        about = {"nic": nic.nic_id, "vxnet": nic.vxnet_id}
        if nic.note:
            about["why"] = nic.note
        if "pod" not in current():
            lease = ended or self.lease_of(nic.nic_id)
            pod = lease.pod if lease else nic.workload
            if pod:
                about["pod"] = pod
        told = (source.state.value if source else "new", nic.state.value)
        afterwards.do(lambda: log.info("%s > %s", *told, extra=fields(**about)))

    def _remember(self, record: Record) -> None:
        kind, key = self._shelf(record)
        kind[key] = record

    def _forget(self, record: Record) -> None:
        kind, key = self._shelf(record)
        kind.pop(key, None)

    def _shelf(self, record: Record) -> tuple[dict[t.Any, t.Any], t.Any]:
        if isinstance(record, Nic):
            return self._nics, record.nic_id
        if isinstance(record, Lease):
            return self._leases, record.attachment
        if isinstance(record, Intent):
            return self._intents, record.intent_id
        if isinstance(record, KnownVxnet):
            return self._vxnets, record.vxnet_id
        return self._facts, record.name


def _after_reboot(state: State) -> State:
    """No pod is left: what one had is where the kernel says, so it has to be found first."""
    return State.BROKEN if state in (State.RESERVED, State.IN_USE) else state
