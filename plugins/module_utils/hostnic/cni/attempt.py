# SPDX-License-Identifier: GPL-3.0-or-later
"""A reserved NIC on its way into a pod, and back where that fails."""

from __future__ import annotations

import logging

from .. import telemetry
from ..errors import HostnicError
from ..model import LeaseKey, Nic, Placed, PodLink
from .netns import Netns
from .ports import NicPool, PodLinks

log = logging.getLogger("hostnic.cni")


class Attempt:
    """Knows how far it came, hence what to undo."""

    def __init__(self, pool: NicPool, links: PodLinks, key: LeaseKey, nic: Nic, netns: Netns) -> None:
        self._pool = pool
        self._links = links
        self._key = key
        self._nic = nic
        self._netns = netns
        self._touched = False  # the pod may have seen it
        self._ifindex = 0

    def move(self, pod: PodLink) -> Placed:
        self._touched = True
        telemetry.phase(telemetry.MOVE)
        placed = self._links.to_pod(self._nic.nic_id, self._netns.descriptor, pod)
        self._ifindex = placed.ifindex
        return placed

    def commit(self) -> None:
        telemetry.phase(telemetry.COMMIT)
        self._pool.commit(self._key, self._netns.inode, self._ifindex)

    def undo(self) -> None:
        """Never raises: what cannot be undone keeps its reservation for the DEL that follows a failed ADD."""
        telemetry.phase(telemetry.UNDO)
        try:
            back = True
            if self._touched:
                # an error of `to_pod` does not always tell where the link is
                back = self._links.from_pod(self._nic.nic_id, self._netns.descriptor, self._key.ifname, self._ifindex)
            if back:
                self._pool.abort(self._key, touched_pod=self._touched)
            else:
                self._pool.release(self._key, returned=False)
        except HostnicError as trouble:
            log.error("%s: undoing a failed ADD of %s failed too: %s", self._key, self._nic.nic_id, trouble)
        except Exception:
            log.exception("%s: undoing a failed ADD of %s failed too", self._key, self._nic.nic_id)
