# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's word: where the links of our NICs are, and back to parking with those that strayed."""

from __future__ import annotations

import logging
import threading
import typing as t

from .errors import LinkFailed
from .model import GATEWAY, Link, Nic
from .pool import Pool
from .ports import Links
from .states import State
from .table import Move, Table

log = logging.getLogger("hostnic.survey")

# In these states a NIC of ours belongs into parking.
_PARKED = (
    State.DETACHED,
    State.ATTACHING,
    State.READY,
    State.QUARANTINE,
    State.DRAINING,
    State.DETACHING,
    State.BROKEN,
)
# In these it must have a link, or it is broken.
_NEEDS_LINK = (State.READY, State.QUARANTINE, State.DRAINING, State.GATEWAY)


class Survey:
    """Compares links with the table; runs at start, on link events, and with every reconcile.

    Never asks the cloud, so that a NIC whose pod died is parked within milliseconds whatever the API does.
    """

    def __init__(self, table: Table, links: Links, pool: Pool) -> None:
        self._table = table
        self._links = links
        self._pool = pool
        self._one_at_a_time = threading.Lock()
        self._missing: set[str] = set()

    def run(self, starting: bool = False) -> dict[str, Link]:
        """Mend what can be mended; returns the links seen, by MAC. `starting`: no ADD or DEL is under way."""
        with self._one_at_a_time:
            links = {link.mac: link for link in self._links.list()}
            for nic in self._table.nics():
                link = links.get(nic.nic_id)
                if link:
                    links[nic.nic_id] = self._mended(nic, link, starting)
            self._find_missing(links)
            for nic in self._pool.uncleaned():
                self._clean(nic)
            return links

    def _clean(self, nic: Nic) -> None:
        """Where the kernel refuses, the NIC rests on and is tried again."""
        try:
            self._links.flush(nic.private_ip)
        except LinkFailed as error:
            log.warning("%s", error.message)
        else:
            self._pool.cleaned(nic.nic_id)

    def _mended(self, nic: Nic, link: Link, starting: bool) -> Link:
        """One link that the kernel will not move must not keep the others from their place."""
        try:
            return self._seen(nic, link, starting)
        except LinkFailed as error:
            log.warning("%s", error.message)
            return link

    def _seen(self, nic: Nic, link: Link, starting: bool) -> Link:
        """A NIC of the table has a link outside of pods."""
        in_place = link.place == "host" if nic.purpose == GATEWAY else link.place == "parking"
        if nic.state is State.IN_USE:
            # the listing may be older than the ADD: only a link that can be parked now has left its pod
            parked = self._park(link)
            if parked:
                self._end_lease(nic, parked, "its netns is gone")
        elif nic.state is State.RESERVED and (starting or link.place == "host"):  # an ADD never passes by the host
            self._end_lease(nic, self._park(link), "its ADD was interrupted")
        elif nic.state in _PARKED and not in_place:
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

    def _end_lease(self, nic: Nic, parked: t.Optional[Link], why: str) -> None:
        lease = self._table.lease_of(nic.nic_id)
        if lease:
            log.warning("%s is back, the lease of %s ends: %s", nic.nic_id, lease.attachment, why)
            self._pool.release(lease.attachment, returned=parked is not None)

    def _find_missing(self, links: dict[str, Link]) -> None:
        """A NIC whose link is nowhere twice in a row is broken; once may be a move in between two listings."""
        missing = {nic.nic_id for nic in self._table.nics(*_NEEDS_LINK) if nic.nic_id not in links}
        for nic_id in missing & self._missing:
            with self._table.lock:
                nic = self._table.nic(nic_id)
                if nic and nic.state in _NEEDS_LINK:
                    self._table.apply([Move(nic, State.BROKEN, {"note": "its link is gone"})])
        self._missing = missing
