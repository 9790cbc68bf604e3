# SPDX-License-Identifier: GPL-3.0-or-later
"""One round: look at kernel and cloud, bring the table in line, do what the plan says. One thread runs this."""

from __future__ import annotations

import ipaddress
import logging
import math
import typing as t
from dataclasses import replace
from functools import partial

from . import plan as planning
from . import policy
from .act import Actor, no_such_vxnet
from .blocks import Blocks
from .context import about
from .errors import Busy, HostnicError, InvalidConfig, PoolEmpty
from .jobs import AttachJobs
from .model import POOL, Nic, Waiter
from .observe import Observer
from .pace import Pace
from .parts import Parts
from .sizing import NO_WRITES, Snapshot, size, surplus
from .states import IllegalTransition
from .troubles import EVERYWHERE

log = logging.getLogger("hostnic.reconcile")

FLUSH_AGAIN: t.Final = 5.0  # s after which an address that could not be forgotten is tried again
GIVING_BACK: t.Final = ("DetachNics", "DeleteNics")  # no pod waits for these
LIFT: t.Final = "take it back from the setting degradation, or remove the file of that name in statedir"
COALESCE: t.Final = 0.2  # s in which demand gathers before it is acted upon


class Reconciler:
    """`step` is one round; it returns the seconds after which the next is due, sooner if woken."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._table = parts.table
        self._blocks = Blocks(parts.clock, parts.probed.nic_limit)
        self._jobs = AttachJobs(parts.table, parts.settings.attach_chunk, parts.clock, parts.probed)
        self._observer = Observer(parts, self._blocks, self._jobs)
        self._actor = Actor(parts, self._blocks, self._jobs, self._observer)
        self._pace = Pace(parts.settings.reconcile_interval, parts.clock, parts.dice)
        self._quiet_surplus = 0

    def step(self) -> float:
        """Never raises what the cloud or the kernel does: whoever waits in vain is told."""
        try:
            with self._for_those_who_wait():
                return self._step()
        except HostnicError as error:
            pause = self._pace.failed(error)
            with self._table.lock:
                self._parts.pool.demand.disturbed()
            log.warning("%s; the cloud is asked again in %.0f s", error.message, pause)
            self._tell(error)
            return pause

    def explain(self) -> dict[str, t.Any]:
        """Why the pool wants what it wants. Any thread may ask."""
        snapshot = self._snapshot()
        decision = planning.plan(snapshot, self._parts.settings, self._parts.clock()).explain()
        trouble = self._parts.pool.trouble()
        return {
            **decision,
            "blocked": self._blocks.explain(),
            "steals": self._parts.pool.steals,
            "attach_jobs": "one at a time" if snapshot.serial else "side by side",
            "draining": snapshot.draining,
            "trouble": trouble.facts() if trouble else None,
            "look_wanted": self._parts.orders.look_wanted,
            "strangers": self._observer.strangers,
            "proven": self._observer.foreign is not None,
            "looked_ago": self._looked_ago(),
            "cloud": self._parts.cloud.state(),
        }

    def preview(self, **wished: t.Any) -> dict[str, t.Any]:
        """As `explain`, what would be done at once, and only because of that, were these fields of the snapshot so."""
        snapshot, settings, now = self._snapshot(), self._parts.settings, self._parts.clock()
        usual = planning.plan(snapshot, settings, now).actions
        decided = planning.plan(replace(snapshot, **wished), settings, now)
        return replace(decided, actions=tuple(one for one in decided.actions if one not in usual)).explain()

    @property
    def instance_id(self) -> str:
        return self._parts.instance_id

    def level(self) -> str:
        """How much of the cloud may be changed now, see `sizing.NO_WRITES`."""
        return self._parts.level()

    def idle(self) -> tuple[Nic, ...]:
        """Ready NICs that neither pods nor the warm pool need."""
        return size(self._snapshot(), self._parts.settings, self._parts.clock()).idle

    def free(self, vxnet_id: str) -> int:
        """NICs that are or will be free in this vxnet, "" for any."""
        snapshot = self._snapshot()
        asked = [one for one in snapshot.creating if one.purpose == POOL]
        coming = [one.count for one in asked if one.vxnet_id in snapshot.accepted(vxnet_id)]
        return len(snapshot.free(vxnet_id)) + sum(coming)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _looked_ago(self) -> t.Optional[float]:
        """Seconds since the cloud was last looked at in full; None before the first time."""
        age = self._parts.clock() - self._observer.looked_at
        return round(age, 3) if math.isfinite(age) else None

    def _for_those_who_wait(self) -> t.ContextManager[None]:
        """A round works for all of them, and for the pool: the log names who waited when it called the cloud."""
        return about(waiting=self._parts.pool.requests())

    def _step(self) -> float:
        links = self._parts.survey.run()
        if self._pace.due_in():
            return self._pace.due_in()
        if self._observer.foreign is None:
            self._observer.prove(links)
        orders = self._parts.orders
        looks, orders.look_wanted = orders.look_wanted, False
        try:
            if not self._observer.due_in(links) or looks:
                self._observer.look(links, around=looks)
        except HostnicError:
            orders.look_wanted = orders.look_wanted or looks
            raise
        self._find_homes()
        snapshot = self._snapshot(measure=True)
        actions = self._planned(snapshot)
        self._do(actions)
        if any(isinstance(action, planning.Create) for action in actions):
            self._do(self._planned(self._snapshot()))  # what was just made is attached at once
        orders.review(partial(planning.is_met, self._snapshot(), self._parts.settings, self._parts.clock()))
        self._pace.succeeded()
        self._tell(self._full())
        return COALESCE if actions else self._pause(snapshot)

    def _planned(self, snapshot: Snapshot) -> tuple[planning.Action, ...]:
        return planning.plan(snapshot, self._parts.settings, self._parts.clock()).actions

    def _do(self, actions: t.Iterable[planning.Action]) -> None:
        """All of them: what one vxnet or NIC is too busy for must not hold up the others."""
        first: t.Optional[Exception] = None
        for action in actions:
            try:
                with self._for_those_who_wait():
                    self._actor.do(action)
            except IllegalTransition as raced:  # a pod was faster than the plan
                log.debug("%s", raced.message)
            except Busy as error:
                first = first or error
            except HostnicError:
                raise
            except Exception as defect:
                log.error("a defect in %s", action)
                first = first or defect
        if first:
            raise first

    def _snapshot(self, measure: bool = False) -> Snapshot:
        """`measure`: the reconciler's own, which ends periods of surplus."""
        parts, now = self._parts, self._parts.clock()
        with self._table.lock:
            demand = parts.pool.demand
            rate, lead_time, tastes = demand.rate(now), demand.lead_time(), demand.tastes(now)
        waiting = parts.pool.waiting()
        snapshot = Snapshot(
            nics=tuple(self._table.nics()),
            waiting=waiting,
            creating=tuple(self._table.intents("create")),
            vxnets=tuple(policy.order(parts.settings.policy, parts.settings.vxnet, self._actor.cursor, parts.dice)),
            blocked=self._blocks.blocked(),
            homes={waiter: self._home(waiter) or "" for waiter in waiting if waiter.address},
            gateways=parts.pool.gateways(),
            foreign=self._observer.foreign or 0,
            rate=rate,
            lead_time=lead_time,
            tastes=tastes,
            quiet_surplus=self._quiet_surplus,
            serial=self._jobs.serial,
            chunk=self._jobs.chunk,
            level=self._parts.level(),
            draining=parts.orders.draining,
            ordered=parts.orders.ordered(),
            unwanted=parts.orders.unwanted(),
        )
        # NICs that came to be attached after the limit was found count as well
        snapshot = replace(snapshot, limit=max(self._blocks.limit, snapshot.foreign + snapshot.attached()))
        if not measure:
            return snapshot
        period = parts.settings.idle_ttl
        self._quiet_surplus = demand.quiet_surplus(surplus(snapshot, parts.settings, now), period, now)
        return replace(snapshot, quiet_surplus=self._quiet_surplus)

    def _home(self, waiter: Waiter) -> t.Optional[str]:
        """The vxnet in which an address lies; None where one of them is still to be read, "" where it lies in none."""
        known, blocked, unread = self._table.vxnets(), self._blocks.blocked(), False
        for vxnet_id in waiter.vxnets or self._parts.settings.vxnet:
            if vxnet_id not in known:
                unread = unread or vxnet_id not in blocked
            elif ipaddress.ip_address(waiter.address) in ipaddress.ip_network(known[vxnet_id].network):
                return vxnet_id
        return None if unread else ""

    def _find_homes(self) -> None:
        """Read the vxnets that may hold an address that is waited for; refuse those addresses that lie in none."""
        waiting = [waiter for waiter in self._parts.pool.waiting() if waiter.address]
        homeless = [waiter for waiter in waiting if self._home(waiter) is None]
        wanted = {vxnet_id for waiter in homeless for vxnet_id in waiter.vxnets or self._parts.settings.vxnet}
        unread = sorted(wanted - self._table.vxnets().keys() - self._blocks.blocked())
        found = self._observer.read_vxnets(unread) if unread else {}
        for vxnet_id in unread:
            vxnet = found.get(vxnet_id)
            problem = vxnet.problem() if vxnet else no_such_vxnet(vxnet_id)
            if vxnet_id not in self._table.vxnets():
                self._blocks.block(vxnet_id, problem or no_such_vxnet(vxnet_id))
        for waiter in waiting:
            if self._home(waiter) == "":
                vxnets = ", ".join(waiter.vxnets or self._parts.settings.vxnet)
                said = f"address {waiter.address} is in none of the vxnets {vxnets}: ask for one of their addresses"
                self._parts.pool.refuse([waiter], InvalidConfig(said))

    def _full(self) -> t.Optional[HostnicError]:
        """Where every NIC that this node may have is taken, waiting helps only once a pod ends."""
        reasons = size(self._snapshot(), self._parts.settings, self._parts.clock()).reasons
        taken = reasons.used + reasons.held + reasons.broken
        if taken < reasons.cap:
            return None
        remedies = ["end a pod"] if reasons.used else []
        remedies += ["let go of a kept address (qingagent release)"] if reasons.held else []
        remedies += ["raise max-nics"] if reasons.cap == self._parts.settings.max_nics else []
        remedy = ", or ".join(remedies) or "take NICs that are not the pool's off this instance, or use a larger one"
        limited = self._blocks.limit_error()
        why = f" ({limited.what})" if limited else ""
        return PoolEmpty(f"all {reasons.cap} NICs that this node may have are taken{why}", remedy=remedy)

    def _tell(self, error: t.Optional[HostnicError]) -> None:
        """Whoever waits in vain hears the strongest reason of now."""
        troubles = self._blocks.troubles()
        everywhere = [troubles.get(vxnet_id) for vxnet_id in self._parts.settings.vxnet]
        if everywhere[-1] and all(everywhere):
            troubles.setdefault(EVERYWHERE, everywhere[-1])
        if self._parts.level() == NO_WRITES:
            troubles[EVERYWHERE] = Busy("nothing is changed in the cloud now: degradation L0 is set", remedy=LIFT)
        if error is not None:
            troubles[EVERYWHERE] = error
        refused = self._parts.cloud.state().get("refused", {})
        told = [one for action, one in refused.items() if action not in GIVING_BACK]
        last = min(told, key=lambda one: float(one["ago"]), default=None)
        self._parts.pool.report(troubles, f"{last['what']}: {last['remedy']}" if last else "")

    def _pause(self, snapshot: Snapshot) -> float:
        """Until the next look is due or time alone changes the plan."""
        moments = [self._observer.due_in({})]
        change = planning.next_change(snapshot, self._parts.settings, self._parts.clock())
        if change is not None:
            moments.append(change)
        surplus_ends = self._parts.pool.demand.surplus_ends(self._parts.settings.idle_ttl)
        if surplus_ends is not None:
            moments.append(surplus_ends - self._parts.clock())
        block_ends = self._blocks.ends_in()
        if block_ends is not None:
            moments.append(block_ends)
        if self._parts.pool.uncleaned():
            moments.append(FLUSH_AGAIN)
        return max(COALESCE, min(moments))
