# SPDX-License-Identifier: GPL-3.0-or-later
"""ADD and DEL: what happens to the NIC, in which order, and how it is undone."""

from __future__ import annotations

import ipaddress
import logging
import typing as t
from dataclasses import dataclass

from ..errors import HostnicError
from ..model import KnownVxnet, Lease, LeaseKey, Nic, PodLink, Route
from ..ports import Clock
from ..states import State
from . import routes, spec
from .locks import HungUp, KeyedLocks, Turnstile, go_on
from .netconf import NetConf
from .ports import Cancelled, NicPool, PodLinks
from .skel import Invocation
from .spec import Attached, CniError

log = logging.getLogger("hostnic.cni")

# The kernel moves one link at a time; more callers at once only delay the pod in the middle.
_MOVES_AT_ONCE: t.Final = 4


@dataclass(frozen=True)
class Wait:
    """How long a call may take: `deadline` in seconds of the clock, `cancelled` once the caller is gone."""

    deadline: float
    cancelled: Cancelled


@dataclass(frozen=True)
class Netns:
    """A pod's network namespace: an open descriptor and its inode."""

    descriptor: int
    inode: int


class Verbs:
    """Thread-safe. Calls for one attachment take turns; different ones meet only where the kernel makes them."""

    def __init__(self, pool: NicPool, links: PodLinks, clock: Clock, moves_at_once: int = _MOVES_AT_ONCE) -> None:
        self._pool = pool
        self._links = links
        self._clock = clock
        self._attachments = KeyedLocks(clock)
        self._moves = Turnstile(moves_at_once, clock)

    def add(self, call: Invocation, conf: NetConf, netns: Netns, wait: Wait) -> Attached:
        """Give the pod a NIC, or find that this very attachment has it already.

        Raises `HostnicError` with the NIC back where it was; `HungUp` where the caller went before the NIC was the
        pod's.
        """
        with self._attachments.hold(call.key, wait.deadline, wait.cancelled):
            self._forgotten(call.key, call.args, netns)
            nic = self._standing(call.key, netns)
            if nic:
                log.info("%s already has %s", call.key, nic.nic_id)
                return _attached(call, conf, nic, *self._layout(nic, conf, wait))
            nic, _ = self._pool.acquire(call.key, call.args, wait.deadline, wait.cancelled, conf.vxnets)
            attempt = _Attempt(self._pool, self._links, call.key, nic, netns)
            try:
                vxnet, pod_routes = self._layout(nic, conf, wait)
                with self._moves.hold(wait.deadline, wait.cancelled):
                    go_on(wait.deadline, self._clock, wait.cancelled, "a NIC was reserved")
                    attempt.move(_pod_link(call, conf, nic, vxnet, pod_routes))
                if wait.cancelled():
                    raise HungUp("the caller hung up while its NIC was moved")
                attempt.commit()
            except BaseException:
                attempt.undo()
                raise
            return _attached(call, conf, nic, vxnet, pod_routes)

    def delete(self, key: LeaseKey, netns: t.Optional[Netns], asked_at: float, wait: Wait) -> None:
        """Take the NIC back; nothing to do where the attachment holds none.

        `asked_at` (boot seconds, 0 for unknown): a lease younger than that belongs to a later ADD and stays.
        Raises `LinkFailed` with the lease kept, so that the runtime's next DEL goes on.
        """
        with self._attachments.hold(key, wait.deadline, wait.cancelled):
            forgotten = self._forgotten(key, {}, netns)
            lease = self._pool.lease(key)
            if lease is None:
                log.info("%s holds nothing", key)
            elif asked_at and lease.since > asked_at and not forgotten:
                log.warning("%s: a DEL from before the present lease is ignored", key)
            else:
                returned = self._fetch(lease, netns)
                if not returned:
                    log.warning("%s: the link of %s was found nowhere", key, lease.nic_id)
                self._pool.release(key, returned)

    def poke(self) -> None:
        """Have everyone who waits look at `cancelled` again."""
        self._attachments.poke()
        self._moves.poke()
        self._pool.poke()

    # -- inside; the attachment's lock is held ------------------------------------------------------------------------

    def _standing(self, key: LeaseKey, netns: Netns) -> t.Optional[Nic]:
        """The NIC that this attachment has in this netns; None once there is nothing in the way of a new one.

        An agent that was killed during an ADD left a reservation: its link comes back to parking and is used again. A
        lease whose pod is elsewhere is one whose DEL never came: it ends now. Raises `CniError` (117) where the link
        is in a netns that still lives.
        """
        lease = self._pool.lease(key)
        nic = self._pool.nic(lease.nic_id) if lease else None
        if lease is None:
            return None
        if nic is None:
            self._pool.release(key, returned=False)
            return None
        if nic.state is State.RESERVED:
            if not self._fetch(lease, netns):
                self._pool.release(key, returned=False)
            return None
        if self._links.in_pod(nic.nic_id, netns.descriptor, key.ifname):
            return nic
        if not self._fetch(lease, netns):
            raise CniError(
                spec.HELD_ELSEWHERE,
                f"{key} has NIC {nic.nic_id} in another network namespace: DEL it there first",
                nic_id=nic.nic_id,
            )
        log.warning("%s was added anew without a DEL: %s is taken back", key, nic.nic_id)
        self._pool.release(key, returned=True)
        return None

    def _forgotten(self, key: LeaseKey, args: dict[str, str], netns: t.Optional[Netns]) -> bool:
        """Whether it got the NIC that the agent found in this very netns after its journal was lost."""
        found = None
        if netns is not None and self._pool.lease(key) is None:
            found = self._pool.found_in(netns.inode, key.ifname)
        if found is not None:
            log.warning("%s: the NIC %s found in its netns is its own", key, found.nic_id)
            self._pool.take_over(found, key, args)
        return found is not None

    def _fetch(self, lease: Lease, netns: t.Optional[Netns]) -> bool:
        """Whether the lease's link is back in parking; looks into `netns`, the host's and parking."""
        if netns is None:
            return self._links.from_pod(lease.nic_id, None, lease.ifname, 0)
        # in another netns than the lease's, its index and name are those of another pod's link: the MAC must do
        index = lease.ifindex if netns.inode == lease.netns_inode else 0
        return self._links.from_pod(lease.nic_id, netns.descriptor, lease.ifname, index)

    def _layout(self, nic: Nic, conf: NetConf, wait: Wait) -> tuple[KnownVxnet, tuple[Route, ...]]:
        """The NIC's vxnet and the pod's routes. May wait for a gateway NIC to be made."""
        vxnet = self._pool.vxnet(nic.vxnet_id)
        gateway = ""
        if routes.needs_gateway(conf):
            gateway = self._pool.gateway(nic.vxnet_id, wait.deadline, wait.cancelled)
        host = self._pool.host_address() if conf.is_gateway else ""
        return vxnet, routes.of_pod(conf, vxnet, gateway, host)


class _Attempt:
    """A reserved NIC on its way into a pod: knows how far it came, hence what to undo."""

    def __init__(self, pool: NicPool, links: PodLinks, key: LeaseKey, nic: Nic, netns: Netns) -> None:
        self._pool = pool
        self._links = links
        self._key = key
        self._nic = nic
        self._netns = netns
        self._touched = False  # the pod may have seen it
        self._ifindex = 0

    def move(self, pod: PodLink) -> None:
        self._touched = True
        self._ifindex = self._links.to_pod(self._nic.nic_id, self._netns.descriptor, pod).ifindex

    def commit(self) -> None:
        self._pool.commit(self._key, self._netns.inode, self._ifindex)

    def undo(self) -> None:
        """Never raises: what cannot be undone keeps its reservation for the DEL that follows a failed ADD."""
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


def _address(nic: Nic, vxnet: KnownVxnet) -> str:
    return f"{nic.private_ip}/{ipaddress.ip_network(vxnet.network).prefixlen}"


def _pod_link(call: Invocation, conf: NetConf, nic: Nic, vxnet: KnownVxnet, pod_routes: tuple[Route, ...]) -> PodLink:
    return PodLink(call.ifname, _address(nic, vxnet), pod_routes, conf.mtu)


def _attached(call: Invocation, conf: NetConf, nic: Nic, vxnet: KnownVxnet, pod_routes: tuple[Route, ...]) -> Attached:
    return Attached(
        ifname=call.ifname,
        mac=nic.nic_id,
        sandbox=call.netns,
        address=_address(nic, vxnet),
        gateway=routes.default_gateway(pod_routes),
        routes=pod_routes,
        dns=conf.dns,
    )
