# SPDX-License-Identifier: GPL-3.0-or-later
"""NICs of our name that the journal does not hold: a lost answer's, made for us by someone else, or forgotten."""

from __future__ import annotations

import logging
import math
import typing as t
from dataclasses import replace

from .errors import HostnicError, LinkFailed
from .model import GATEWAY, POOL, CloudNic, Intent, Link, Nic, PodPlace
from .parts import Parts
from .settle import LINK_PATIENCE, VISIBLE
from .sizing import NO_WRITES
from .standin import stand_in_lease
from .states import State
from .table import Move
from .telemetry import LOST_NIC

log = logging.getLogger("hostnic.adopt")


class Adopter:
    """`read_vxnets` makes sure that a vxnet is known before a NIC in it stands."""

    def __init__(self, parts: Parts, read_vxnets: t.Callable[[t.Sequence[str]], object]) -> None:
        self._parts = parts
        self._read_vxnets = read_vxnets
        self._first_seen: dict[str, float] = {}
        self._awaited: frozenset[str] = frozenset()
        self.ripe_at = math.inf  # when the first of those that are free may be taken in
        self.waiting = 0  # those of our name at the last thorough look that stay strangers
        self._were_attached: set[str] = set()  # so that CreateNics of ours cannot have made them just now

    def adopt(self, strangers: t.Sequence[CloudNic], links: t.Mapping[str, Link], thorough: bool) -> None:
        """Take in what can be explained by now. `thorough`: also look into every netns for links that are missing."""
        now = self._parts.clock()
        before = self._first_seen
        self._first_seen = {} if thorough else dict(before)  # other looks do not show every stranger
        self._first_seen.update((nic.nic_id, before.get(nic.nic_id, now)) for nic in strangers)
        ours = [nic for nic in strangers if nic.role != 1 and self._parts.purpose(nic)]
        self._were_attached |= {nic.nic_id for nic in ours if nic.attached}
        awaited = frozenset(map(self._parts.purpose, ours))
        self._awaited = awaited if thorough else self._awaited | awaited
        self.ripe_at = math.inf
        hidden = [nic for nic in ours if self._parts.here(nic) and nic.nic_id not in links]
        places: t.Mapping[str, PodPlace] = {}
        if hidden and thorough:
            try:
                places = self._parts.links.in_netns([nic.nic_id for nic in hidden])
            except LinkFailed as error:  # unknown means leave alone
                log.warning("%s", error.message)
                ours = [nic for nic in ours if nic not in hidden]
        for nic in self._not_leaving(ours):
            try:
                if not nic.attached:
                    self._free(nic, now - self._first_seen[nic.nic_id])
                elif self._parts.here(nic) and nic.nic_id in links:
                    self._linked(nic)
                elif nic.nic_id in places:
                    self._in_pod(nic, places[nic.nic_id])
                elif nic in hidden and thorough and now - self._first_seen[nic.nic_id] >= LINK_PATIENCE:
                    self._enter(nic, State.BROKEN, "found attached under our name, its link nowhere")
            except HostnicError as error:  # this one is tried again with the next look; the others go on
                log.warning("%s", error.message)
        if thorough:
            named = [nic for nic in strangers if nic.role != 1 and self._parts.purpose(nic)]
            near = [nic for nic in named if not nic.attached or self._parts.here(nic)]
            self.waiting = len([nic for nic in near if not self._parts.table.nic(nic.nic_id)])

    def _not_leaving(self, nics: t.Sequence[CloudNic]) -> t.Sequence[CloudNic]:
        """Without those that a DetachNics is about to take away, sent before a journal was lost or by somebody else."""
        if not any(map(self._parts.here, nics)):
            return nics
        leaving = self._parts.cloud.being_detached()
        return [nic for nic in nics if nic.nic_id not in leaving]

    def awaits(self, purpose: str) -> bool:
        """Whether such NICs were there at the last look around or since, not explained yet."""
        return purpose in self._awaited

    def _free(self, cloud: CloudNic, known_for: float) -> None:
        """At once where we have asked for it; else not before whoever is making it must be done."""
        purpose = self._parts.purpose(cloud)
        seen_at = self._parts.clock() - known_for
        patience = max(VISIBLE, 2 * self._parts.pool.demand.lead_time())
        asked = [
            intent
            for intent in self._parts.table.intents("create")
            if (intent.vxnet_id, intent.purpose) == (cloud.vxnet_id, purpose)
            and seen_at >= intent.since  # what was there before the call is not of its making
            and cloud.nic_id not in self._were_attached
        ]
        if asked:
            self._enter(cloud, State.DETACHED, "made by a call whose answer was lost", intent=asked[0])
        elif seen_at + patience <= self._parts.clock():
            self._enter(cloud, State.DETACHED, "found under our name", prewarmed=purpose == POOL)
        else:
            self.ripe_at = min(self.ripe_at, seen_at + patience)

    def _linked(self, cloud: CloudNic) -> None:
        """Just attached for us, or forgotten and just released by a pod: it rests before a pod gets it."""
        self._parts.protect(cloud.nic_id)
        self._read_vxnets([cloud.vxnet_id])
        if self._parts.purpose(cloud) == GATEWAY:
            if self._parts.level() == NO_WRITES:
                return
            self._parts.cloud.allow_foreign_sources(cloud.nic_id)
            self._parts.stand_gateway(self._nic(cloud, State.GATEWAY))
            self._enter(cloud, State.GATEWAY, "found attached under our name")
        else:
            self._parts.links.park(cloud.nic_id)
            self._enter(cloud, State.QUARANTINE, "found attached under our name", prewarmed=True)

    def _in_pod(self, cloud: CloudNic, place: PodPlace) -> None:
        """The pod lives, the journal has forgotten it: never handed out, and its DEL finds it by its netns."""
        lease = stand_in_lease(cloud.nic_id, place, self._parts.clock())
        self._read_vxnets([cloud.vxnet_id])
        nic = self._nic(cloud, State.IN_USE, note="found in a pod")
        self._parts.table.apply([Move(nic, State.IN_USE)], put=[lease])
        self._parts.listener.leaked(LOST_NIC)

    def _enter(
        self, cloud: CloudNic, state: State, note: str, intent: t.Optional[Intent] = None, prewarmed: bool = False
    ) -> None:
        nic = self._nic(cloud, state, note=note, prewarmed=prewarmed)
        left = intent.count - 1 if intent else 0
        put = [replace(intent, count=left)] if intent and left else []
        drop = [intent] if intent and not left else []
        self._parts.table.apply([Move(nic, state)], put=put, drop=drop)
        if intent is None:
            self._parts.listener.leaked(LOST_NIC)

    def _nic(self, cloud: CloudNic, state: State, **fields: t.Any) -> Nic:
        now = self._parts.clock()
        return Nic(
            cloud.nic_id, cloud.vxnet_id, cloud.private_ip, state, now, self._parts.purpose(cloud), **fields
        )  # fmt: skip
