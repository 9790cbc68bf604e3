# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods, and what CNI does for them: ADD and DEL in the order of the agent's verbs, over the real pool."""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass

import hostnic.model
from hostnic.errors import HostnicError
from hostnic.model import POOL, Lease, LeaseKey, Nic, PodLink
from hostnic.orders import refusal
from hostnic.pool import Pool
from hostnic.ports import Links
from hostnic.states import State
from hostnic.table import Table
from tests.model.fibers import Fiber

FIXED: t.Final[t.Any] = getattr(hostnic.model, "Fixed", None)  # None: this pool keeps no addresses
IFNAME: t.Final = "eth0"


class Stage(enum.Enum):
    """CUT: its ADD has failed or was lost, and the runtime will send a DEL. GONE: its netns is."""

    ADDING = "adding"
    RUNNING = "running"
    DELETING = "deleting"
    CUT = "cut"
    GONE = "gone"


class HungUp(HostnicError):
    """The caller is gone."""


@dataclass(eq=False)
class Pod:
    """`robbed`: its NIC was taken away by somebody else than the agent."""

    key: LeaseKey
    netns: int
    stage: Stage = Stage.CUT
    nic_id: str = ""
    robbed: bool = False

    @property
    def alive(self) -> bool:
        return self.stage is not Stage.GONE


@dataclass(frozen=True)
class Request:
    """What an ADD asks for: any of these vxnets, until then at most."""

    vxnets: tuple[str, ...]
    deadline: float
    fixed: t.Optional[t.Any] = None


class Listener(t.Protocol):
    def fail(self, invariant: str, text: str) -> None: ...

    def taken(self, pod: Pod, nic: Nic, request: Request) -> None:
        """Reserved for this pod."""


class Cni:
    """The verbs of one process of the agent."""

    def __init__(
        self,
        pool: Pool,
        table: Table,
        links: Links,
        clock: t.Callable[[], float],
        listener: Listener,
        vxnets: tuple[str, ...],
    ) -> None:
        """`vxnets`: the agent's, for pods that name none."""
        self._vxnets = vxnets
        self._pool = pool
        self._table = table
        self._links = links
        self._clock = clock
        self._listener = listener

    def add(self, pod: Pod, request: Request) -> None:
        """Leaves the pod RUNNING or CUT."""
        pod.stage, outcome = Stage.ADDING, Stage.CUT
        try:
            nic = self._standing(pod) or self._added(pod, request)
            pod.nic_id, outcome = nic.nic_id, Stage.RUNNING
        except HostnicError:
            pass  # the runtime's next DEL is the answer
        finally:
            if pod.alive:
                pod.stage = outcome

    def delete(self, key: LeaseKey, netns: t.Optional[int], asked_at: float = 0.0) -> None:
        try:
            forgotten = self._forgotten(key, netns)
            lease = self._pool.lease(key)
            if lease is None or (asked_at and lease.since > asked_at and not forgotten):
                return
            returned = self._fetch(lease, netns)
            self._pool.release(key, returned)
        except HostnicError as error:
            self._listener.fail("del_never_fails", f"DEL of {key}: {error.message}")

    def _standing(self, pod: Pod) -> t.Optional[Nic]:
        """The NIC that it has already; whatever else it holds is taken back."""
        self._forgotten(pod.key, pod.netns)
        lease = self._pool.lease(pod.key)
        if lease is None:
            return None
        nic = self._pool.nic(lease.nic_id)
        if nic is None or nic.state is State.RESERVED:
            if nic is None or not self._fetch(lease, pod.netns):
                self._pool.release(pod.key, returned=False)
            return None
        if self._links.in_pod(nic.nic_id, pod.netns, IFNAME):
            return nic
        if not self._fetch(lease, pod.netns):
            raise HungUp("its NIC is in another netns")
        self._pool.release(pod.key, returned=True)
        return None

    def _added(self, pod: Pod, request: Request) -> Nic:
        nic = self._acquired(pod, request)
        touched = False
        try:
            Fiber.point()
            touched = True
            ifindex = self._links.to_pod(nic.nic_id, pod.netns, PodLink(IFNAME, f"{nic.private_ip}/24")).ifindex
            Fiber.point()
            self._commit(pod, nic, ifindex)
        except HostnicError:
            self._undo(pod, nic, touched)
            raise
        return nic

    def _acquired(self, pod: Pod, request: Request) -> Nic:
        ready = [nic for nic in self._table.nics(State.READY) if nic.purpose == POOL]
        fitting = [nic.nic_id for nic in ready if nic.vxnet_id in (request.vxnets or self._vxnets)]
        has_to_wait = not fitting or request.fixed or self._pool.waiting() or self._pool.lease(pod.key)
        has_to_wait = has_to_wait or refusal(self._table)
        deadline = request.deadline if has_to_wait else self._clock()
        more = {"fixed": request.fixed} if request.fixed else {}
        try:
            nic, again = self._pool.acquire(pod.key, {}, deadline, lambda: False, request.vxnets, **more)
        except HostnicError as error:
            if not has_to_wait:
                text = f"{pod.key} got none of {', '.join(fitting)}: {error.message}"
                self._listener.fail("an_add_never_waits_beside_a_ready_nic", text)
            raise
        if not again:
            self._listener.taken(pod, nic, request)
        return nic

    def _commit(self, pod: Pod, nic: Nic, ifindex: int) -> None:
        try:
            self._pool.commit(pod.key, pod.netns, ifindex)
        except HostnicError as error:
            if pod.alive and not pod.robbed:
                text = f"{pod.key} lost {nic.nic_id} before it was committed: {error.message}"
                self._listener.fail("an_add_keeps_its_nic", text)
            raise

    def _undo(self, pod: Pod, nic: Nic, touched: bool) -> None:
        back = not touched or self._links.from_pod(nic.nic_id, pod.netns, IFNAME, 0)
        if back:
            self._pool.abort(pod.key, touched_pod=touched)
        else:
            self._pool.release(pod.key, returned=False)

    def _forgotten(self, key: LeaseKey, netns: t.Optional[int]) -> bool:
        """Whether what was found in its netns, after the journal was lost, is now its own."""
        found_in = getattr(self._pool, "found_in", None)
        lease = found_in(netns, IFNAME) if found_in and netns and not self._pool.lease(key) else None
        if lease is not None:
            self._pool.take_over(lease, key, {})
        return lease is not None

    def _fetch(self, lease: Lease, netns: t.Optional[int]) -> bool:
        index = lease.ifindex if netns == lease.netns_inode else 0
        return self._links.from_pod(lease.nic_id, netns, lease.ifname, index)
