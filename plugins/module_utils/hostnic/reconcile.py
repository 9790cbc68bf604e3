# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing the cloud: plan, journal the intent, call, journal the outcome. One thread runs this."""

from __future__ import annotations

import logging
import random
import typing as t
import uuid
from dataclasses import replace

from . import plan as planning
from . import policy
from .config import Settings
from .errors import Busy, Denied, HostnicError, NotFound, QuotaExceeded
from .model import GATEWAY, POOL, Intent, Nic, nic_names
from .observe import Observer
from .pool import Pool
from .ports import Clock, Cloud, Guard
from .states import State
from .survey import Survey
from .table import Move, Table

log = logging.getLogger("hostnic.reconcile")

NIC_LIMIT: t.Final = 64  # NICs that QingCloud attaches to an instance, the primary included
BLOCK: t.Final = 600.0  # s that a full vxnet or an exhausted quota is left alone
COALESCE: t.Final = 0.2  # s in which demand gathers before it is acted upon
BACKOFF_LIMIT: t.Final = 120.0  # s, the longest pause after failures


class Reconciler:
    """`step` is one round; it returns the seconds after which the next is due, sooner if woken."""

    def __init__(
        self,
        settings: Settings,
        instance_id: str,
        cloud: Cloud,
        guard: Guard,
        table: Table,
        pool: Pool,
        survey: Survey,
        observer: Observer,
        clock: Clock,
        dice: t.Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._instance_id = instance_id
        self._cloud = cloud
        self._guard = guard
        self._table = table
        self._pool = pool
        self._survey = survey
        self._observer = observer
        self._clock = clock
        self._dice = dice
        self._names = nic_names(instance_id, settings.gatewayns)
        self._cursor = policy.start(instance_id, len(settings.vxnet))
        self._blocked: dict[str, float] = {}  # vxnet or EVERY_VXNET ► until
        self._serial = False  # the cloud refused a second attach job
        self._failures = 0
        self._not_before = float("-inf")  # until then the cloud is left alone, whoever asks for a step
        self._actions: t.Mapping[type, t.Callable[[t.Any], None]] = {
            planning.Create: self._create,
            planning.Attach: self._attach,
            planning.Recycle: lambda action: self._shift(action.nic_ids, State.QUARANTINE, State.READY),
            planning.Drain: lambda action: self._shift(action.nic_ids, State.READY, State.DRAINING, doomed=True),
            planning.Detach: self._detach,
            planning.Delete: self._delete,
        }

    def step(self) -> float:
        """Look at kernel and cloud, bring the table in line, do what the plan says."""
        try:
            links = self._survey.run()
            if self._clock() < self._not_before:
                return self._not_before - self._clock()
            if self._observer.foreign is None:
                self._observer.prove(links)
            if not self._observer.due_in(links):
                self._observer.look(links)
            actions = self._plan().actions
            for action in actions:
                self._actions[type(action)](action)
        except HostnicError as error:
            return self._failed(error)
        self._failures = 0
        return COALESCE if actions else self._pause()

    def explain(self) -> dict[str, t.Any]:
        """Why the pool wants what it wants."""
        return self._plan().explain()

    # -- deciding ------------------------------------------------------------------------------------------------------

    def _plan(self) -> planning.Plan:
        return planning.plan(self._snapshot(), self._settings, self._clock())

    def _snapshot(self) -> planning.Snapshot:
        now = self._clock()
        blocked = {vxnet_id for vxnet_id, until in self._blocked.items() if until > now}
        order = policy.order(self._settings.policy, self._settings.vxnet, self._cursor, self._dice)
        creating = self._table.intents("create")
        return planning.Snapshot(
            nics=tuple(self._table.nics()),
            waiting=self._pool.waiting(),
            creating=sum(intent.count for intent in creating if intent.purpose == POOL),
            creating_in=frozenset(intent.vxnet_id for intent in creating),
            vxnets=tuple(order),
            blocked=frozenset(blocked),
            gateways=self._pool.gateways(),
            foreign=self._observer.foreign or 0,
            limit=NIC_LIMIT,
            attach_allowed=not (self._serial and self._table.nics(State.ATTACHING)),
        )

    # -- acting -------------------------------------------------------------------------------------------------------

    def _create(self, action: planning.Create) -> None:
        vxnet = self._observer.read_vxnets([action.vxnet_id]).get(action.vxnet_id)
        if vxnet is None:
            return self._block(action.vxnet_id, NotFound(f"the cloud has no vxnet {action.vxnet_id}: check `vxnet`"))
        problem = vxnet.problem()
        if problem:
            return self._block(action.vxnet_id, problem)
        count = action.count if vxnet.available is None else min(action.count, vxnet.available)
        intent = self._intend("create", vxnet_id=action.vxnet_id, count=count, purpose=action.purpose)
        try:
            made = self._cloud.create_nics(action.vxnet_id, count, self._names[action.purpose])
        except HostnicError as error:
            if error.ambiguous:
                self._table.apply(put=[replace(intent, since=self._clock())])  # what it made shows under its name
                raise
            self._table.apply(drop=[intent])
            if error.transient:
                raise
            return self._block(planning.EVERY_VXNET if isinstance(error, QuotaExceeded) else action.vxnet_id, error)
        now = self._clock()
        nics = [Nic(c.nic_id, action.vxnet_id, c.private_ip, State.DETACHED, now, action.purpose) for c in made]
        self._table.apply([Move(nic, State.DETACHED) for nic in nics], drop=[intent], durable=True)
        self._cursor = policy.advance(self._settings.policy, self._cursor, failed=False)
        return self._pool.report(None)

    def _attach(self, action: planning.Attach) -> None:
        nics = [nic for nic in self._still(action.nic_ids, State.DETACHED) if self._may_send(nic)]
        self._guard.protect(nic.nic_id for nic in self._table.nics())
        self._send("attach", nics, State.ATTACHING, lambda ids: self._cloud.attach_nics(ids, self._instance_id))

    def _may_send(self, nic: Nic) -> bool:
        """Service replies leave by a gateway NIC with the cluster address as source: the cloud has to allow it."""
        if nic.purpose != GATEWAY:
            return True
        try:
            self._cloud.allow_foreign_sources(nic.nic_id)
        except HostnicError as error:
            if error.transient:
                raise
            self._table.retry(nic, error.message)
            self._pool.report(error)
            return False
        return True

    def _detach(self, action: planning.Detach) -> None:
        nics = self._still(action.nic_ids, State.DRAINING)
        seen = self._observer.destroyable(nics)
        self._send("detach", [nic for nic in nics if nic.nic_id in seen], State.DETACHING, self._cloud.detach_nics)

    def _delete(self, action: planning.Delete) -> None:
        nics = self._still(action.nic_ids, State.DETACHED)
        seen = self._observer.destroyable(nics)
        free = [nic for nic in nics if nic.nic_id in seen and not seen[nic.nic_id].attached]
        for nic in self._still([nic.nic_id for nic in nics if nic not in free], State.DETACHED):
            self._table.retry(nic, nic.note or "not to be deleted now")
        self._send("delete", free, State.DELETING, self._delete_now)

    def _delete_now(self, nic_ids: t.Sequence[str]) -> str:
        self._cloud.delete_nics(nic_ids)
        self._shift(nic_ids, State.DELETING, State.GONE)
        return ""

    def _send(
        self, action: str, nics: t.Sequence[Nic], during: State, call: t.Callable[[t.Sequence[str]], str]
    ) -> None:
        """Journal the intent, call, journal the job; take it back where the cloud has refused."""
        if not nics:
            return
        ids = tuple(nic.nic_id for nic in nics)
        busy = bool(self._table.intents(action))
        intent = Intent(uuid.uuid4().hex, action, self._clock(), nic_ids=ids)
        self._table.apply([Move(nic, during) for nic in nics], put=[intent], durable=True)
        try:
            job_id = call(ids)
        except HostnicError as error:
            if error.ambiguous:
                raise
            self._serial = self._serial or (busy and isinstance(error, (Busy, Denied)))
            changes = {"note": error.message, "attempts": nics[0].attempts + (0 if busy and self._serial else 1)}
            self._table.apply([Move(nic, nics[0].state, changes) for nic in self._still(ids, during)], drop=[intent])
            if error.transient:
                raise
            log.warning("the cloud refused to %s %s: %s", action, ", ".join(ids), error.message)
            self._pool.report(error)
        else:
            self._table.apply(put=[replace(intent, job_id=job_id)] if job_id else [], drop=[] if job_id else [intent])

    def _intend(self, action: str, **fields: t.Any) -> Intent:
        intent = Intent(uuid.uuid4().hex, action, self._clock(), **fields)
        self._table.apply(put=[intent], durable=True)
        return intent

    def _shift(self, nic_ids: t.Sequence[str], source: State, target: State, **changes: t.Any) -> None:
        """A step that needs no call, for those that are still where the plan saw them."""
        with self._table.lock:
            self._table.apply(Move(nic, target, changes) for nic in self._still(nic_ids, source))

    def _still(self, nic_ids: t.Sequence[str], state: State) -> list[Nic]:
        return [nic for nic in map(self._table.nic, nic_ids) if nic and nic.state is state]

    # -- pacing -------------------------------------------------------------------------------------------------------

    def _block(self, vxnet_id: str, error: HostnicError) -> None:
        log.warning("no new NICs in %s for %d s: %s", vxnet_id, BLOCK, error.message)
        self._blocked[vxnet_id] = self._clock() + BLOCK
        self._cursor = policy.advance(self._settings.policy, self._cursor, failed=True)
        self._pool.report(error)

    def _failed(self, error: HostnicError) -> float:
        """Full-jitter back-off; the kernel's side goes on meanwhile, woken by link events."""
        self._failures += 1
        pause = min(BACKOFF_LIMIT, 2.0 ** min(self._failures, 10))
        log.warning("%s; the cloud is asked again within %.0f s", error.message, pause)
        self._pool.report(error)
        delay = max(COALESCE, self._dice() * pause)
        self._not_before = self._clock() + delay
        return delay

    def _pause(self) -> float:
        """Until the next look is due or time alone changes the plan."""
        change = planning.next_change(self._snapshot(), self._settings, self._clock())
        due = self._observer.due_in({})
        return max(COALESCE, due if change is None else min(due, change))
