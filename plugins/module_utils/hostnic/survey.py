# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's word: where the links of our NICs are, and back to parking with those that strayed."""

from __future__ import annotations

import logging
import math
import threading
import typing as t

from .errors import LinkFailed
from .model import GATEWAY, POOL, Link, Nic, PodPlace
from .pool import Pool
from .ports import Clock, Links
from .standin import stand_in_lease
from .states import State
from .table import Move, Table
from .telemetry import LOST_LEASE, LOST_LINK, SILENCE, Telemetry

log = logging.getLogger("hostnic.survey")

# In these states a NIC of ours belongs into parking.
_PARKED = (
    State.DETACHED,
    State.ATTACHING,
    State.READY,
    State.QUARANTINE,
    State.HELD,
    State.DRAINING,
    State.DETACHING,
    State.BROKEN,
)
# In these it must have a link, or it is broken.
_NEEDS_LINK = (State.READY, State.QUARANTINE, State.HELD, State.DRAINING, State.GATEWAY)


class Survey:
    """Compares links with the table; runs at start, on link events, and with every reconcile.

    Never asks the cloud, so that a NIC whose pod died is parked within milliseconds whatever the API does.
    """

    def __init__(self, table: Table, links: Links, pool: Pool, clock: Clock, listener: Telemetry = SILENCE) -> None:
        self._table = table
        self._links = links
        self._pool = pool
        self._clock = clock
        self._listener = listener
        self._one_at_a_time = threading.Lock()
        self._cleaning = threading.Lock()
        self._missing: set[str] = set()
        self._nowhere: set[str] = set()

    def run(self, starting: bool = False) -> dict[str, Link]:
        """Mend what can be mended; returns the links seen, by MAC. `starting`: no ADD or DEL is under way."""
        with self._one_at_a_time:
            listed_at = math.inf if starting else self._clock()
            links = {link.mac: link for link in self._links.list()}
            for nic in self._table.nics():
                link = links.get(nic.nic_id)
                if link:
                    links[nic.nic_id] = self._mended(nic, link, listed_at, starting)
            if starting:
                self._find_in_pods(links)
            self._find_missing(links)
        self.clean()
        return links

    def clean(self) -> None:
        """Have the host forget the addresses of NICs that have come to rest."""
        with self._cleaning:
            for nic in self._pool.uncleaned():
                self._clean(nic)

    def find_lost(self, links: t.Mapping[str, Link]) -> frozenset[str]:
        """Look into every netns for the NICs that no other netns explains; returns those that are in none of them.

        Pods' NICs among them are broken and their leases over, once two looks have found them nowhere. Raises
        `LinkFailed` where a netns could not be looked into.
        """
        with self._one_at_a_time:
            looked_at = self._clock()
            pods = [nic for nic in self._table.nics(State.RESERVED, State.IN_USE) if nic.nic_id not in links]
            lost = [nic for nic in self._table.nics(State.BROKEN) if nic.nic_id not in links]
            macs = [nic.nic_id for nic in (*pods, *lost)]
            found = self._links.in_netns(macs) if macs else {}
            nowhere = {mac for mac in macs if mac not in found}
            for nic in pods:
                if nic.nic_id in nowhere & self._nowhere:
                    self._end_lease(nic, looked_at, returned=False, why="its link is nowhere")
            for nic in lost:
                if nic.nic_id in found:
                    self._found_in_pod(nic, found[nic.nic_id])
            self._nowhere = nowhere
            return frozenset(nowhere)

    def evict(self) -> None:
        """Take away from all pods what they have; their leases end. Raises `LinkFailed`: those to come keep theirs.

        An ADD that is under way keeps its NIC, for it would still move it into its pod.
        """
        for lease in self._table.leases():
            nic = self._table.nic(lease.nic_id)
            if nic and nic.state is State.RESERVED:
                continue
            log.warning("%s: taken away from %s", lease.nic_id, lease.attachment)
            returned = self._links.retrieve(lease.nic_id, lease.netns_inode, lease.ifindex)
            self._pool.release(lease.attachment, returned)

    def _find_in_pods(self, links: t.Mapping[str, Link]) -> None:
        """Before anything is handed out: a damaged journal may not know that a NIC sits in a pod."""
        free = [nic for nic in self._table.nics() if nic.purpose == POOL and not self._table.lease_of(nic.nic_id)]
        hidden = [nic for nic in free if nic.nic_id not in links and nic.state is not State.DELETING]
        try:
            found = self._links.in_netns([nic.nic_id for nic in hidden]) if hidden else {}
        except LinkFailed as error:
            log.warning("%s", error.message)
            found = {}
        for nic in hidden:
            if nic.nic_id in found:
                self._found_in_pod(nic, found[nic.nic_id])
        self._missing = {nic.nic_id for nic in hidden}  # nothing moves at start: once is enough

    def _found_in_pod(self, nic: Nic, place: PodPlace) -> None:
        """A damaged journal may be wrong: it is a pod's, and has to rest once that has ended."""
        with self._table.lock:
            if self._table.nic(nic.nic_id) == nic and not self._table.lease_of(nic.nic_id):
                lease = stand_in_lease(nic.nic_id, place, self._clock())
                self._table.apply([Move(nic, State.IN_USE, {"note": "found in a pod", "doomed": False})], put=[lease])

    def _clean(self, nic: Nic) -> None:
        """Where the kernel refuses, the NIC rests on and is tried again."""
        try:
            self._links.flush(nic.private_ip)
        except LinkFailed as error:
            log.warning("%s", error.message)
        else:
            self._pool.cleaned(nic)

    def _mended(self, nic: Nic, link: Link, listed_at: float, starting: bool) -> Link:
        """One link that the kernel will not move must not keep the others from their place."""
        try:
            return self._seen(nic, link, listed_at, starting)
        except LinkFailed as error:
            log.warning("%s", error.message)
            return link

    def _seen(self, nic: Nic, link: Link, listed_at: float, starting: bool) -> Link:
        """A NIC of the table has a link outside of pods."""
        in_place = link.place == "host" if nic.purpose == GATEWAY else link.place == "parking"
        if nic.state is State.IN_USE:
            # the listing may be older than the ADD: only a link that can be parked now has left its pod
            parked = self._park(link)
            if parked:
                # only a DEL brings a link to parking: one that is under way, or that ended with its agent
                left = link.place == "host"
                why = "its netns is gone" if left else "a DEL has brought its link home"
                self._end_lease(nic, listed_at, returned=True, why=why, left=left)
            return parked or link
        if nic.state is State.RESERVED:
            # an ADD never passes by the host, and at start none is under way
            parked = self._park(link) if starting or link.place == "host" else None
            if parked:
                self._end_lease(nic, listed_at, returned=True, why="its ADD was interrupted")
            return parked or link
        if nic.state in _PARKED and not in_place:
            return self._park(link) or link
        return link

    def _park(self, link: Link) -> t.Optional[Link]:
        """None where the link has gone elsewhere since it was listed."""
        try:
            return self._links.park(link.mac)
        except LinkFailed as error:
            if error.details.get("missing"):
                return None
            raise

    def _end_lease(self, nic: Nic, looked_at: float, returned: bool, why: str, left: bool = True) -> None:
        """Of the pod that the look was about; a lease that is no older than the look belongs to another.

        `left`: nobody else would have ended it.
        """
        with self._table.lock:
            lease = self._table.lease_of(nic.nic_id)
            if lease and lease.since < looked_at and self._table.nic(nic.nic_id) == nic:
                level = logging.WARNING if left else logging.INFO
                log.log(level, "%s: the lease of %s ends: %s", nic.nic_id, lease.attachment, why)
                self._pool.release(lease.attachment, returned)
                if left:
                    self._listener.leaked(LOST_LEASE)

    def _find_missing(self, links: t.Mapping[str, Link]) -> None:
        """A NIC whose link is nowhere twice in a row is broken; once may be a move in between two listings."""
        missing = {nic.nic_id for nic in self._table.nics(*_NEEDS_LINK) if nic.nic_id not in links}
        for nic_id in missing & self._missing:
            with self._table.lock:
                nic = self._table.nic(nic_id)
                if nic and nic.state in _NEEDS_LINK:
                    self._table.apply([Move(nic, State.BROKEN, {"note": "its link is gone"})])
                    self._listener.leaked(LOST_LINK)
        self._missing = missing
