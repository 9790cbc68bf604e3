# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the cloud: prove whose instance this is, and settle what was begun."""

from __future__ import annotations

import logging
import typing as t
from dataclasses import replace

from . import proof
from .adopt import Adopter
from .blocks import Blocks
from .errors import Busy, Denied, HostnicError, LinkFailed, Unreachable
from .jobs import AttachJobs
from .model import CloudNic, Intent, KnownVxnet, Link, Nic, Vxnet
from .parts import Parts, in_place
from .settle import ATTACH_TRIES, JOB_PATIENCE, LINK_PATIENCE, VISIBLE, Verdict, Witness, settle
from .states import SERVING, State
from .table import Move

log = logging.getLogger("hostnic.observe")

UNREAD: t.Final[tuple[float, list[CloudNic]]] = (float("-inf"), [])
ABSENT_LOOKS: t.Final = 3  # in a row, before a NIC that the cloud does not show counts as absent
POLL: t.Final = 4.0  # s between looks while something is under way; link events come sooner
GATHER: t.Final = 1.0  # s in which the links of one attach job are awaited before the cloud is asked about them
NAMES_EVERY: t.Final = 600.0  # s between readings of all that bears our name, where nothing changes or calls are scarce
NAMES_WITHIN: t.Final = 600.0  # s from the start to the first of them, where calls are scarce
FRESH: t.Final = 300.0  # s for which a proof that led nowhere yet, and a vxnet with plenty of room, are not read anew
PLENTY: t.Final = 50  # addresses besides those that are wanted: others take some meanwhile
LONG: t.Final = 1.0  # s of reading after which links are listed anew
CALLS_A_LOOK: t.Final = 6  # at most one of so many is a look around
SOON: t.Final = 10.0  # s within which the link of a NIC has come, if it comes
QUIET_LIMIT: t.Final = 120.0  # s, the longest pause between looks when nothing changes


class Observer:
    """Brings the table in line with what the cloud shows. Changes nothing there but a gateway NIC's source check."""

    def __init__(self, parts: Parts, blocks: Blocks, jobs: AttachJobs) -> None:
        self._parts = parts
        self._blocks = blocks
        self._jobs = jobs
        self._table = parts.table
        self._adopter = Adopter(parts, self.read_vxnets)
        self.looked_at = float("-inf")  # the end of the last look that succeeded
        self._around_at = float("-inf")  # when all of this instance's NICs are to be read
        within = NAMES_WITHIN * (0.2 + 0.8 * parts.dice()) if parts.settings.calls_are_scarce else 0.0
        self._names_at = parts.clock() + within  # when all of our name are to be read with them
        self._attached = UNREAD  # when this instance's NICs were read to prove it, and which
        self._vxnets: dict[str, tuple[float, Vxnet]] = {}  # since when they are known so
        self._unread = False  # whether those that the journal knows have yet to be read
        self._arrived: frozenset[str] = frozenset()  # links of NICs being attached that the last look knew of
        self._interval = self._shortest
        self._poll = POLL
        self._before: object = None  # the table at the last look
        self._before_around: object = None
        # NICs of the table that the cloud does not show
        self._absent: dict[str, tuple[float, int]] = {}  # since when and in how many looks
        self._nowhere: frozenset[str] = frozenset()
        self.foreign: t.Optional[int] = None  # attached NICs that are not ours; None until the instance is proven

    def prove(self, links: t.Mapping[str, Link]) -> None:
        """This machine is the instance if the instance's primary NIC is a link of this machine; else `Denied`.

        A cloned image carries its parent's id: until this is proven no call changes anything.
        """
        instance_id = self._parts.instance_id
        read_at, attached = self._attached
        if self._parts.clock() - read_at > FRESH:  # else the round before this one got no further
            attached = self._parts.cloud.describe_nics(instance_id=instance_id)
            self._attached = (self._parts.clock(), attached)
        doubt, primary = proof.doubt(instance_id, attached, links), proof.primary_of(attached)
        if doubt or primary is None:
            raise Denied(doubt, remedy="write this machine's own id into /etc/qingcloud/instance-id")
        self._unread = self._parts.settings.calls_are_scarce  # as they were before the restart, they will do for now
        known = self._table.vxnets() if self._unread else {}
        self.read_vxnets(one for one in (*self._parts.settings.vxnet, primary.vxnet_id) if one not in known)
        self._know_hosts_own(attached, links)
        if self._table.intents():  # jobs are looked at before NICs
            self._attached = UNREAD
        log.info("this machine is %s, its primary NIC is %s", instance_id, primary.nic_id)

    def due_in(self, links: t.Mapping[str, Link]) -> float:
        """Seconds until the next look; links that came up for NICs being attached ask for one soon."""
        attaching = self._table.nics(State.ATTACHING)
        arrived = {nic.nic_id for nic in attaching if nic.nic_id in links}
        intents = self._table.intents()
        busy = attaching or self._table.nics(State.DETACHING, State.DELETING) or intents
        # a link tells of the end of an attach: before it can have come there is nothing to see
        usual = min(self._parts.pool.demand.lead_time(), SOON) + GATHER
        sent = [intent.since + usual for intent in intents if intent.action == "attach" and intent.job_id]
        moments = [max([self._around_at, *sent])]
        if arrived - self._arrived:
            at_once = len(arrived) == len(attaching) or self._parts.pool.waiting()
            moments.append(self.looked_at + (0.0 if at_once else GATHER))
        if busy:
            only_sent = sent if len(sent) == len(intents) else []
            moments.append(max([self.looked_at + self._poll, *only_sent]))
        return max(0.0, min(moments) - self._parts.clock())

    @property
    def strangers(self) -> int:
        """NICs of our name that the last look around has shown and that are not taken in yet."""
        return self._adopter.waiting

    def look(self, links: t.Mapping[str, Link], around: bool = False) -> None:
        """One reading of our NICs, and what follows from it for each. `around`: whenever the last look around was."""
        arrived = frozenset(nic.nic_id for nic in self._table.nics(State.ATTACHING) if nic.nic_id in links)
        if arrived - self._arrived:
            self._poll = GATHER  # the cloud may say so a little later
        self._arrived = arrived
        ordered, around = around, around or self._around_at <= self._parts.clock()
        began = self._parts.clock()
        live = self._live_jobs(links)  # before the NICs: what a finished job did is then visible
        seen = {nic.nic_id: nic for nic in self._read_nics(links, around, ordered)}
        if self._parts.clock() - began >= LONG:  # calls wait for their turn, links do not
            links = self._parts.survey.run()
        if around:
            self._find_lost(links)
        now = self._parts.clock()
        nics = self._table.nics()
        before = self._absent
        missing = [nic.nic_id for nic in nics if nic.nic_id not in seen]
        self._absent = {mac: (before.get(mac, (now, 0))[0], before.get(mac, (now, 0))[1] + 1) for mac in missing}
        for nic in nics:
            try:
                self._settle(nic, seen.get(nic.nic_id), links, live)
                if nic.state is State.GATEWAY:
                    self._parts.stand_gateway(nic)
            except HostnicError as error:  # this one is tried again with the next look; the others go on
                log.warning("%s: %s", nic.nic_id, error.message)
        strangers = [nic for nic in seen.values() if not self._table.nic(nic.nic_id)]
        self._adopter.adopt(strangers, links, thorough=around)
        self._close_intents()
        unknown = {nic.vxnet_id for nic in self._table.nics()} - self._table.vxnets().keys()
        if unknown:
            self.read_vxnets(sorted(unknown))
        self._slow_down(around)

    def read_vxnets(self, vxnet_ids: t.Iterable[str]) -> dict[str, Vxnet]:
        """DescribeVxnets, remembered for the time when the cloud is away."""
        found = {vxnet.vxnet_id: vxnet for vxnet in self._parts.cloud.describe_vxnets(list(vxnet_ids))}
        now = self._parts.clock()
        self._vxnets.update((vxnet_id, (now, vxnet)) for vxnet_id, vxnet in found.items())
        before = self._table.vxnets()
        known = [
            KnownVxnet(v.vxnet_id, v.network, v.gateway, v.router_id, _host_address(before.get(v.vxnet_id)))
            for v in found.values()
            if v.network
        ]
        self._table.apply(put=[record for record in known if before.get(record.vxnet_id) != record])
        return found

    def vxnet_for(self, vxnet_id: str, count: float) -> t.Optional[Vxnet]:
        """As it was read a moment ago where it had plenty of room for these, else read now; None if there is none."""
        read_at, vxnet = self._vxnets.get(vxnet_id, (float("-inf"), None))
        fresh = self._parts.clock() - read_at <= FRESH
        if vxnet and fresh and not vxnet.problem() and (vxnet.available or 0) >= count + PLENTY:
            return vxnet
        return self.read_vxnets([vxnet_id]).get(vxnet_id)

    def taken(self, vxnet_id: str, count: int) -> None:
        """So many of its addresses, since it was read."""
        read_at, vxnet = self._vxnets[vxnet_id]
        if vxnet.available is not None:
            self._vxnets[vxnet_id] = (read_at, replace(vxnet, available=vxnet.available - count))

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read_nics(self, links: t.Mapping[str, Link], around: bool, ordered: bool) -> list[CloudNic]:
        """Around: all of this instance, and at times all of our name. Else the table's, and what a lost answer made."""
        found: list[CloudNic] = []
        cloud, names = self._parts.cloud, self._parts.names
        if around:
            (read_at, attached), self._attached = self._attached, UNREAD
            if self._parts.clock() - read_at > FRESH or ordered:
                attached = cloud.describe_nics(instance_id=self._parts.instance_id)
            if not any(nic.role == 1 for nic in attached):
                raise Unreachable("the cloud's list of this instance's NICs lacks the primary one: not believed")
            self._know_hosts_own(attached, links)
            found += [nic for nic in attached if self._parts.purpose(nic)]
        due = ordered or (around and self._names_are_due())
        asked = {intent.purpose for intent in self._table.intents("create")}
        awaited = {purpose for purpose in names if around and self._adopter.awaits(purpose)}
        for purpose in sorted(names if due else asked | awaited):
            found += cloud.describe_nics(name=names[purpose])
        if due:
            self._names_at = self._parts.clock() + NAMES_EVERY
            self._refresh_vxnets()
        seen = {nic.nic_id for nic in found}
        return found + cloud.describe_nics(nic_ids=[n.nic_id for n in self._table.nics() if n.nic_id not in seen])

    @property
    def _shortest(self) -> float:
        """Seconds between looks where things change: no more than a few of all calls are looks."""
        settings = self._parts.settings
        return max(settings.reconcile_interval, CALLS_A_LOOK / settings.api_rate)

    def _names_are_due(self) -> bool:
        """Nobody waits for what they show, but where things change they are read with every look around."""
        scarce = self._parts.settings.calls_are_scarce
        if not scarce and self._interval < QUIET_LIMIT:
            return True
        growing = self._table.intents() or self._table.nics(State.ATTACHING, State.DETACHED)
        return not (scarce and growing) and self._names_at <= self._parts.clock()

    def _refresh_vxnets(self) -> None:
        """Those that were believed to be as the journal knows them."""
        if self._unread:
            self._unread = False
            self.read_vxnets(sorted({*self._parts.settings.vxnet, *self._table.vxnets()} - self._vxnets.keys()))

    def _know_hosts_own(self, attached: t.Sequence[CloudNic], links: t.Mapping[str, Link]) -> None:
        """Count what is not ours, and remember in which vxnets the host has an address of its own."""
        ours = {nic.nic_id for nic in attached if self._parts.purpose(nic) or self._table.nic(nic.nic_id)}
        own = [nic for nic in attached if nic.role == 1 or nic.nic_id not in ours]
        standing = {nic.vxnet_id: nic.private_ip for nic in own if nic.role == 1 or self._serves(nic, links)}
        known = self._table.vxnets().values()
        told = [replace(vxnet, host_address=standing.get(vxnet.vxnet_id, "")) for vxnet in known]
        self._table.apply(put=[vxnet for vxnet in told if vxnet not in known])
        self.foreign = len(own)

    def _serves(self, nic: CloudNic, links: t.Mapping[str, Link]) -> bool:
        """Whether the host has configured this NIC, which is not ours, with its address."""
        link = links.get(nic.nic_id)
        if link is None or link.place != "host":
            return False
        try:
            return self._parts.links.address_of(link.name) == nic.private_ip
        except LinkFailed as error:
            log.warning("%s", error.message)
            return False

    def _live_jobs(self, links: t.Mapping[str, Link]) -> frozenset[str]:
        """Those that are not over, as far as is known: one whose links are all there is not asked about."""
        begun = [intent for intent in self._table.intents() if intent.job_id]
        told = {intent.job_id for intent in begun if self._shows(intent, links)}
        jobs = self._parts.cloud.describe_jobs([intent.job_id for intent in begun if intent.job_id not in told])
        self._jobs.seen(begun, jobs)
        return frozenset(told | {job_id for job_id, status in jobs.items() if status in ("pending", "working")})

    def _shows(self, intent: Intent, links: t.Mapping[str, Link]) -> bool:
        """Whether the kernel shows what an attach was to do; the cloud is believed to say so soon."""
        recent = self._parts.clock() - intent.since < LINK_PATIENCE
        return recent and intent.action == "attach" and all(nic_id in links for nic_id in intent.nic_ids)

    def _find_lost(self, links: t.Mapping[str, Link]) -> None:
        try:
            self._nowhere = self._parts.survey.find_lost(links)
        except LinkFailed as error:  # unknown means leave alone
            log.warning("%s", error.message)
            self._nowhere = frozenset()

    # -- settling ------------------------------------------------------------------------------------------------------

    def _settle(self, nic: Nic, cloud: t.Optional[CloudNic], links: t.Mapping[str, Link], live: frozenset[str]) -> None:
        now = self._parts.clock()
        intent = next((intent for intent in self._table.intents() if nic.nic_id in intent.nic_ids), None)
        witness = Witness(
            cloud,
            absent_for=self._absent_for(nic.nic_id),
            ours=cloud is None or self._parts.purpose(cloud) == nic.purpose,
            linked=in_place(nic, links),
            nowhere=nic.nic_id in self._nowhere,
            pending=intent is not None and self._may_be_going_on(intent, live),
            age=now - nic.since,
        )
        verdict = settle(nic, witness, self._parts.instance_id)
        if verdict is None:
            return
        if verdict.target is State.GATEWAY:
            self._parts.stand_gateway(nic)
        attempts = nic.attempts + 1 if verdict.failed else 0
        doomed = nic.doomed or verdict.doomed or (nic.state is State.ATTACHING and attempts >= ATTACH_TRIES)
        doomed = doomed and verdict.target not in SERVING  # its link came back while it was on its way out
        changes = {"note": verdict.note, "attempts": attempts, "doomed": doomed}
        self._table.apply([Move(nic, verdict.target, changes)])
        if nic.state is State.ATTACHING:
            self._learn(nic, verdict, doomed, now)

    def _absent_for(self, nic_id: str) -> float:
        """Seconds; 0 while too few looks have missed it, however long ago the first was: a machine may sleep."""
        since, looks = self._absent.get(nic_id, (0.0, 0))
        return self._parts.clock() - since if looks >= ABSENT_LOOKS else 0.0

    def _learn(self, nic: Nic, verdict: Verdict, doomed: bool, now: float) -> None:
        """From the end of an attach."""
        if verdict.target in (State.READY, State.GATEWAY, State.HELD):
            self._parts.pool.demand.ready(nic.nic_id, now)
            self._blocks.attach_worked()
        elif verdict.target is not State.GONE:
            self._blocks.attach_failed()
            if doomed or verdict.target is State.BROKEN:
                self._blocks.given_up(Busy(f"{nic.nic_id} could not be attached: {verdict.note}"))

    def _may_be_going_on(self, intent: Intent, live: frozenset[str]) -> bool:
        age = self._parts.clock() - intent.since
        return intent.job_id in live and age < JOB_PATIENCE if intent.job_id else age < VISIBLE

    def _close_intents(self) -> None:
        """Drop the intents whose outcome is known; a create that shows nothing by now has made nothing."""
        under_way = {nic.nic_id for nic in self._table.nics(State.ATTACHING, State.DETACHING, State.DELETING)}
        for intent in self._table.intents():
            if intent.action == "create":
                over = self._parts.clock() - intent.since >= VISIBLE
            else:
                over = not under_way.intersection(intent.nic_ids)
            if over:
                self._table.apply(drop=[intent])

    def _slow_down(self, around: bool) -> None:
        """Where nothing has changed since the last look, the next one comes later."""
        pause = self._shortest
        table = (self._table.nics(), self._table.leases(), self._table.intents())
        self.looked_at = self._parts.clock()
        slower = min(1.5 * self._poll, max(POLL, pause))
        self._poll = slower if table == self._before or self._poll < POLL else POLL
        self._before = table
        if around:
            quiet = table == self._before_around
            self._interval = min(2 * self._interval, max(QUIET_LIMIT, pause)) if quiet else pause
            # nodes that began together do not stay together
            spread = 1.0 if self._parts.settings.calls_are_scarce else 0.2
            pause = self._interval * (1 + spread * (self._parts.dice() - 0.5))
            self._around_at = min(self.looked_at + pause, self._adopter.ripe_at)
            self._before_around = table


def _host_address(vxnet: t.Optional[KnownVxnet]) -> str:
    return vxnet.host_address if vxnet else ""
