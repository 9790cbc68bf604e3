# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out a plan: journal the intent, call, journal the outcome."""

from __future__ import annotations

import logging
import math
import typing as t
import uuid
from dataclasses import replace

from . import plan as planning
from . import policy
from .blocks import Blocks
from .errors import AddressHeld, Busy, Denied, HostnicError, NotFound, QuotaExceeded, VxnetFull
from .jobs import AttachJobs
from .model import GATEWAY, Intent, Nic
from .observe import Observer
from .parts import Parts
from .settle import ATTACH_TRIES
from .sizing import EVERY_VXNET
from .states import State
from .table import Move
from .witness import destroyable

log = logging.getLogger("hostnic.act")


class Actor:
    """One thread uses it. `cursor` is the policy's: see `policy.order`."""

    def __init__(self, parts: Parts, blocks: Blocks, jobs: AttachJobs, observer: Observer) -> None:
        self._parts = parts
        self._table = parts.table
        self._blocks = blocks
        self._jobs = jobs
        self._observer = observer
        self.cursor = policy.start(parts.instance_id, len(parts.settings.vxnet))
        self._actions: t.Mapping[type, t.Callable[[t.Any], None]] = {
            planning.Create: self._create,
            planning.Attach: self._attach,
            planning.Detach: self._detach,
            planning.Delete: self._delete,
            planning.Recycle: lambda one: self._shift(one.nic_ids, State.QUARANTINE, State.READY),
            planning.LetGo: lambda one: self._shift(one.nic_ids, State.HELD, State.QUARANTINE, workload="", keep=0.0),
            planning.Recall: lambda one: self._shift(one.nic_ids, State.DRAINING, State.READY, doomed=False),
            planning.Keep: self._keep,
            planning.Drain: self._drain,
            planning.Mark: lambda one: self._amend(one.nic_ids, marked=parts.clock()),
            planning.Unmark: lambda one: self._amend(one.nic_ids, marked=0.0),
        }

    def do(self, action: planning.Action) -> None:
        """Raises what is transient or ambiguous; what the cloud has refused is noted, blocked and reported."""
        self._actions[type(action)](action)

    # -- growing -------------------------------------------------------------------------------------------------------

    def _create(self, action: planning.Create) -> None:
        wanted = math.inf if action.private_ips else action.count  # how full it is tells why an address is refused
        vxnet = self._observer.vxnet_for(action.vxnet_id, wanted)
        problem = vxnet.problem() if vxnet else no_such_vxnet(action.vxnet_id)
        if vxnet is None or problem:
            return self._blocked(action.vxnet_id, problem or no_such_vxnet(action.vxnet_id))
        count = action.count if vxnet.available is None else min(action.count, vxnet.available)
        addresses = action.private_ips[:count]
        intent = Intent(
            uuid.uuid4().hex, "create", self._parts.clock(), action.vxnet_id, count, purpose=action.purpose,
            private_ips=addresses,
        )  # fmt: skip
        self._table.apply(put=[intent], durable=True)
        try:
            made = self._parts.cloud.create_nics(
                action.vxnet_id, count, self._parts.names[action.purpose], addresses
            )  # fmt: skip
        except HostnicError as error:
            if error.ambiguous:
                self._table.apply(put=[replace(intent, since=self._parts.clock())])  # what it made shows by its name
                raise
            self._table.apply(drop=[intent])
            if error.transient:
                raise
            if addresses and not isinstance(error, (QuotaExceeded, VxnetFull)):
                return self._refuse(action.vxnet_id, addresses[0], error)
            return self._blocked(EVERY_VXNET if isinstance(error, QuotaExceeded) else action.vxnet_id, error)
        now = self._parts.clock()
        nics = [Nic(c.nic_id, action.vxnet_id, c.private_ip, State.DETACHED, now, action.purpose) for c in made]
        self._table.apply([Move(nic, State.DETACHED) for nic in nics], drop=[intent], durable=True)
        self._parts.pool.demand.made((nic.nic_id for nic in nics), now - intent.since)
        self._observer.taken(action.vxnet_id, count)
        self.cursor = policy.advance(self._parts.settings.policy, self.cursor, failed=False)
        return None

    def _refuse(self, vxnet_id: str, address: str, error: HostnicError) -> None:
        """Whoever waits for this address of this vxnet is told who has it, or what the cloud has said."""
        asking = [w for w in self._parts.pool.waiting() if w.address == address]
        concerned = [w for w in asking if vxnet_id in (w.vxnets or self._parts.settings.vxnet)]
        self._parts.pool.refuse(concerned, self._holder(vxnet_id, address) or error)

    def _holder(self, vxnet_id: str, address: str) -> t.Optional[AddressHeld]:
        """Who has an address that was refused, None where the cloud does not show anybody."""
        held = [nic for nic in self._parts.cloud.describe_nics(vxnet_id=vxnet_id) if nic.private_ip == address]
        if not held:
            return None
        where = f"of {held[0].instance_id}" if held[0].instance_id else "of no instance"
        holder = f"NIC {held[0].nic_id} ({held[0].nic_name or 'without a name'}) {where}"
        remedy = f"delete its pod there, or release it on that node: qingagent release {address}"
        return AddressHeld(f"address {address} is held by {holder}", remedy=remedy, holder=holder)

    def _blocked(self, vxnet_id: str, error: HostnicError) -> None:
        self._blocks.block(vxnet_id, error)
        self.cursor = policy.advance(self._parts.settings.policy, self.cursor, failed=True)

    def _attach(self, action: planning.Attach) -> None:
        if self._jobs.must_wait(action.nic_ids):
            return
        nics = [nic for nic in self._still(action.nic_ids, State.DETACHED) if self._may_send(nic)]
        self._parts.protect()
        self._send(
            "attach", nics, State.ATTACHING, lambda ids: self._parts.cloud.attach_nics(ids, self._parts.instance_id)
        )

    def _may_send(self, nic: Nic) -> bool:
        """Service replies leave by a gateway NIC with the cluster address as source: the cloud has to allow it."""
        if nic.purpose != GATEWAY:
            return True
        if nic.nic_id not in destroyable(self._parts, [nic]):  # it may have become somebody else's
            return False
        try:
            self._parts.cloud.allow_foreign_sources(nic.nic_id)
        except HostnicError as error:
            if error.transient:
                raise
            self._table.retry(nic, error.message)
            self._blocks.block(nic.vxnet_id, error)
            return False
        return True

    def _keep(self, action: planning.Keep) -> None:
        for nic in filter(None, map(self._table.nic, action.nic_ids)):
            since = self._parts.clock() if nic.state is State.READY else nic.since  # a rest is not begun anew
            self._table.amend(nic, prewarmed=True, since=since)

    # -- shrinking -----------------------------------------------------------------------------------------------------

    def _drain(self, action: planning.Drain) -> None:
        self._shift(action.nic_ids, State.READY, State.DRAINING, doomed=True)
        self._shift(action.nic_ids, State.GATEWAY, State.DRAINING, doomed=True)
        for nic in self._still(action.nic_ids, State.DETACHED):
            self._table.amend(nic, doomed=True)

    def _detach(self, action: planning.Detach) -> None:
        nics = self._still(action.nic_ids, State.DRAINING)
        seen = destroyable(self._parts, nics)
        attached = [nic for nic in nics if nic.nic_id in seen and seen[nic.nic_id].attached]
        for nic in nics:
            if nic not in attached:
                self._table.amend(nic, attempts=nic.attempts + 1, since=self._parts.clock())
        self._send("detach", attached, State.DETACHING, self._parts.cloud.detach_nics)

    def _delete(self, action: planning.Delete) -> None:
        nics = self._still(action.nic_ids, State.DETACHED)
        seen = destroyable(self._parts, nics)
        free = [nic for nic in nics if nic.nic_id in seen and not seen[nic.nic_id].attached]
        for nic in nics:
            if nic not in free:
                self._table.amend(nic, attempts=nic.attempts + 1, since=self._parts.clock())
        self._send("delete", free, State.DELETING, self._delete_now)

    def _delete_now(self, nic_ids: t.Sequence[str]) -> str:
        self._parts.cloud.delete_nics(nic_ids)
        self._shift(nic_ids, State.DELETING, State.GONE)
        return ""

    # -- both ----------------------------------------------------------------------------------------------------------

    def _send(
        self, action: str, nics: t.Sequence[Nic], during: State, call: t.Callable[[t.Sequence[str]], str]
    ) -> None:
        """Journal the intent, call, journal the job; take it back where the cloud has refused."""
        if not nics:
            return
        ids = tuple(nic.nic_id for nic in nics)
        others = bool(self._table.intents(action))
        intent = Intent(uuid.uuid4().hex, action, self._parts.clock(), nic_ids=ids)
        self._table.apply([Move(nic, during, {"marked": 0.0}) for nic in nics], put=[intent], durable=True)
        try:
            job_id = call(ids)
        except HostnicError as error:
            if error.ambiguous:
                raise
            crowded = action == "attach" and others and isinstance(error, (Busy, Denied))
            too_long = self._jobs.too_long(ids)
            changes = {"note": error.message, "attempts": nics[0].attempts + (0 if crowded or too_long else 1)}
            self._table.apply([Move(nic, nics[0].state, changes) for nic in self._still(ids, during)], drop=[intent])
            if error.transient and not crowded:
                raise
            log.warning("the cloud refused to %s %s: %s", action, ", ".join(ids), error.message)
            if action == "attach":
                self._jobs.refused(ids, crowded)
                if not crowded:
                    self._not_attached(ids, error)
            return
        begun = replace(intent, job_id=job_id, since=self._parts.clock())
        self._table.apply(put=[begun] if job_id else [], drop=[] if job_id else [intent])
        if action == "attach":
            self._parts.pool.demand.sent(ids, intent.since)
            self._jobs.accepted(ids)

    def _not_attached(self, ids: tuple[str, ...], error: HostnicError) -> None:
        """A batch is tried again NIC by NIC; one that was refused alone, for a reason of its own or the instance's."""
        self._blocks.attach_failed()
        nic = self._table.nic(ids[0])
        if len(ids) > 1 or nic is None:
            return
        if isinstance(error, QuotaExceeded) and error.details.get("scope") == "instance":
            attached = {one.nic_id for one in self._parts.cloud.describe_nics(instance_id=self._parts.instance_id)}
            coming = {one.nic_id for one in self._table.nics(State.ATTACHING)}
            self._blocks.lower_limit(len(attached | coming), error)
        elif nic.attempts >= ATTACH_TRIES:
            self._table.amend(nic, doomed=True)
            self._blocks.given_up(error)

    def _amend(self, nic_ids: t.Sequence[str], **changes: t.Any) -> None:
        for nic in filter(None, map(self._table.nic, nic_ids)):
            self._table.amend(nic, **changes)

    def _shift(self, nic_ids: t.Sequence[str], source: State, target: State, **changes: t.Any) -> None:
        """A step that needs no call, for those that are still where the plan saw them."""
        with self._table.lock:
            self._table.apply(Move(nic, target, changes) for nic in self._still(nic_ids, source))

    def _still(self, nic_ids: t.Sequence[str], state: State) -> list[Nic]:
        return [nic for nic in map(self._table.nic, nic_ids) if nic and nic.state is state]


def no_such_vxnet(vxnet_id: str) -> HostnicError:
    return NotFound(f"the cloud has no vxnet {vxnet_id}", remedy="check `vxnet`")
