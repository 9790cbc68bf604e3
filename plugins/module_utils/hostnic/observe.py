# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the cloud: prove whose instance this is, settle what was begun, adopt what carries our name."""

from __future__ import annotations

import logging
import typing as t

from .config import Settings
from .errors import Denied, LinkFailed
from .model import GATEWAY, POOL, CloudNic, Intent, KnownVxnet, Link, Nic, Vxnet, gateway_link, nic_names
from .pool import Pool
from .ports import Clock, Cloud, Guard, Links
from .settle import ATTACH_TRIES, settle
from .states import State
from .table import Move, Table

log = logging.getLogger("hostnic.observe")

POLL: t.Final = 2.0  # s between looks while something is under way; link events come sooner
VISIBLE: t.Final = 20.0  # s after which what a call has made or changed is expected to show in Describe


class Observer:
    """Brings the table in line with what the cloud shows. Changes nothing in the cloud."""

    def __init__(
        self,
        settings: Settings,
        instance_id: str,
        cloud: Cloud,
        links: Links,
        guard: Guard,
        table: Table,
        pool: Pool,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._instance_id = instance_id
        self._cloud = cloud
        self._links = links
        self._guard = guard
        self._table = table
        self._pool = pool
        self._clock = clock
        self._names = nic_names(instance_id, settings.gatewayns)
        self._looked_at = float("-inf")
        self._first_seen: dict[str, float] = {}  # NICs of our name that the table does not hold
        self._absent: dict[str, int] = {}  # NICs of the table ► looks in a row without them
        self.foreign: t.Optional[int] = None  # attached NICs that are not ours; None until the instance is proven

    def prove(self, links: dict[str, Link]) -> None:
        """This machine is the instance if the instance's primary NIC is a link of this machine; else `Denied`.

        A cloned image carries its parent's id: until this is proven no call changes anything.
        """
        attached = self._cloud.describe_nics(instance_id=self._instance_id)
        primary = next((nic for nic in attached if nic.role == 1), None)
        if primary is None:
            raise Denied(f"the cloud shows no primary NIC of {self._instance_id}: is that this machine's instance id?")
        if primary.nic_id not in links:
            raise Denied(
                f"the primary NIC {primary.nic_id} of {self._instance_id} is no link of this machine:"
                " write this machine's own id into /etc/qingcloud/instance-id"
            )
        foreign = [nic for nic in attached if nic.nic_name not in self._names.values()]
        self._pool.own_addresses({primary.vxnet_id: primary.private_ip})
        self.read_vxnets([*self._settings.vxnet, primary.vxnet_id])
        self.foreign = len(foreign)
        log.info("this machine is %s, its primary NIC is %s", self._instance_id, primary.nic_id)

    def due_in(self, links: t.Mapping[str, Link]) -> float:
        """Seconds until the next look; a link that came up for a NIC being attached asks for one at once."""
        if any(nic.nic_id in links for nic in self._table.nics(State.ATTACHING)):
            return 0.0
        busy = self._table.nics(State.ATTACHING, State.DETACHING, State.DELETING) or self._table.intents()
        interval = POLL if busy else self._settings.reconcile_interval
        return max(0.0, self._looked_at + interval - self._clock())

    def look(self, links: t.Mapping[str, Link]) -> None:
        """One reading of our NICs, and what follows from it for each."""
        live = self._live_jobs()  # before the NICs: what a finished job did is then visible
        first = self._looked_at == float("-inf")
        names = [self._names[POOL], *([self._names[GATEWAY]] if first or self._pool.gateways() else [])]
        seen = {nic.nic_id: nic for name in names for nic in self._cloud.describe_nics(name=name)}
        unseen = [nic.nic_id for nic in self._table.nics() if nic.nic_id not in seen]
        seen.update((nic.nic_id, nic) for nic in self._cloud.describe_nics(nic_ids=unseen))
        nics = self._table.nics()
        self._absent = {nic.nic_id: self._absent.get(nic.nic_id, 0) + 1 for nic in nics if nic.nic_id not in seen}
        for nic in nics:
            try:
                self._settle(nic, seen.get(nic.nic_id), _in_place(nic, links), live)
                if nic.state is State.GATEWAY:
                    self._stand_gateway(nic)  # as it should be, whatever a reboot or a network manager made of it
            except LinkFailed as error:  # this one is tried again with the next look; the others go on
                log.warning("%s", error.message)
        self._adopt([nic for nic in seen.values() if not self._table.nic(nic.nic_id)], links)
        self._close_intents()
        unknown = {nic.vxnet_id for nic in self._table.nics()} - self._table.vxnets().keys()
        if unknown:
            self.read_vxnets(sorted(unknown))
        self._looked_at = self._clock()

    def read_vxnets(self, vxnet_ids: t.Iterable[str]) -> dict[str, Vxnet]:
        """DescribeVxnets, remembered for the time when the cloud is away."""
        found = {vxnet.vxnet_id: vxnet for vxnet in self._cloud.describe_vxnets(list(vxnet_ids))}
        known = [KnownVxnet(v.vxnet_id, v.network, v.gateway, v.router_id) for v in found.values() if v.network]
        self._table.apply(put=[record for record in known if self._table.vxnets().get(record.vxnet_id) != record])
        return found

    def destroyable(self, nics: t.Sequence[Nic]) -> dict[str, CloudNic]:
        """What the cloud says now of those NICs that may be taken away; the others are left alone, with a note.

        Three witnesses: the journal has them, the cloud shows our name and our instance or none and no primary, the
        kernel uses them neither for its default route nor as `iface`.
        """
        seen = {nic.nic_id: nic for nic in self._cloud.describe_nics(nic_ids=[nic.nic_id for nic in nics])}
        hosts_own = {
            link.mac for link in self._links.list() if link.place == "host" and link.name == self._settings.iface
        }
        protected = hosts_own | {self._links.default_route_link()}
        for nic in nics:
            cloud = seen.get(nic.nic_id)
            if cloud is None:
                continue
            ours = cloud.nic_name == self._names[nic.purpose] and cloud.instance_id in ("", self._instance_id)
            if not ours or cloud.role == 1 or nic.nic_id in protected:
                del seen[nic.nic_id]
                note = f"left alone: it is {cloud.nic_name!r} of {cloud.instance_id or 'no instance'} in the cloud"
                self._table.retry(nic, note)
        return seen

    # -- inside --------------------------------------------------------------------------------------------------------

    def _live_jobs(self) -> frozenset[str]:
        jobs = self._cloud.describe_jobs([intent.job_id for intent in self._table.intents() if intent.job_id])
        return frozenset(job_id for job_id, status in jobs.items() if status in ("pending", "working"))

    def _settle(self, nic: Nic, cloud: t.Optional[CloudNic], linked: bool, live: frozenset[str]) -> None:
        intent = next((intent for intent in self._table.intents() if nic.nic_id in intent.nic_ids), None)
        pending = intent is not None and self._may_be_going_on(intent, live)
        verdict = settle(nic, cloud, self._absent.get(nic.nic_id, 0), linked, pending, self._instance_id)
        if verdict is None:
            return
        if verdict.target is State.GATEWAY:
            self._stand_gateway(nic)
        attempts = nic.attempts + 1 if verdict.failed else 0
        doomed = nic.doomed or (nic.state is State.ATTACHING and attempts >= ATTACH_TRIES)
        changes = {"note": verdict.note, "attempts": attempts, "doomed": doomed}
        self._table.apply([Move(nic, verdict.target, changes)])

    def _may_be_going_on(self, intent: Intent, live: frozenset[str]) -> bool:
        if intent.job_id:
            return intent.job_id in live
        return self._clock() - intent.since < VISIBLE

    def _adopt(self, strangers: t.Sequence[CloudNic], links: t.Mapping[str, Link]) -> None:
        """NICs of our name that the table does not hold: an outstanding create's, or made for us by someone else."""
        now = self._clock()
        asked = {(intent.vxnet_id, intent.purpose): intent for intent in self._table.intents("create")}
        for cloud in strangers:
            if cloud.role == 1:
                continue
            purpose = GATEWAY if cloud.nic_name == self._names[GATEWAY] else POOL
            intent = asked.get((cloud.vxnet_id, purpose))
            first = self._first_seen.setdefault(cloud.nic_id, now)
            state, prewarmed = State.DETACHED, intent is None
            nic = Nic(cloud.nic_id, cloud.vxnet_id, cloud.private_ip, state, now, purpose, prewarmed=prewarmed)
            if cloud.attached and cloud.instance_id == self._instance_id and cloud.nic_id in links:
                try:
                    self._adopt_attached(nic)
                except LinkFailed as error:
                    log.warning("%s", error.message)
            elif not cloud.attached and (intent or now - first >= VISIBLE):
                self._table.apply(
                    [Move(nic, State.DETACHED, {"note": "found under our name"})], drop=filter(None, [intent])
                )
        self._first_seen = {nic.nic_id: self._first_seen.get(nic.nic_id, now) for nic in strangers}

    def _adopt_attached(self, nic: Nic) -> None:
        self._guard.protect([*(known.nic_id for known in self._table.nics()), nic.nic_id])
        self.read_vxnets([nic.vxnet_id])
        if nic.purpose == GATEWAY:
            self._stand_gateway(nic)
        else:
            self._links.park(nic.nic_id)
        standing = State.GATEWAY if nic.purpose == GATEWAY else State.READY
        self._table.apply([Move(nic, standing, {"note": "found attached under our name"})])

    def _stand_gateway(self, nic: Nic) -> None:
        prefix = self._pool.vxnet(nic.vxnet_id).network.partition("/")[2]
        self._links.host_gateway(nic.nic_id, gateway_link(nic.nic_id), f"{nic.private_ip}/{prefix}")

    def _close_intents(self) -> None:
        """Drop the intents whose outcome is known; a create that shows nothing by now has made nothing."""
        under_way = {nic.nic_id for nic in self._table.nics(State.ATTACHING, State.DETACHING, State.DELETING)}
        for intent in self._table.intents():
            if intent.action == "create":
                over = self._clock() - intent.since >= VISIBLE
            else:
                over = not under_way.intersection(intent.nic_ids)
            if over:
                self._table.apply(drop=[intent])


def _in_place(nic: Nic, links: t.Mapping[str, Link]) -> bool:
    """Whether its link is where a NIC that serves has it; a gateway's goes to its place on the host from anywhere."""
    link = links.get(nic.nic_id)
    return link is not None and (nic.purpose == GATEWAY or link.place == "parking")
