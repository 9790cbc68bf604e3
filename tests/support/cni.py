# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand-written stand-ins for what CNI verbs need: a pool with a script, links that remember where they are."""

from __future__ import annotations

import os
import threading
import time
import typing as t
from dataclasses import replace

from hostnic import wire
from hostnic.errors import HostnicError, LinkFailed, NotFound, PoolEmpty
from hostnic.model import Fixed, KnownVxnet, Lease, LeaseKey, Nic, Placed, PodLink, PodState
from hostnic.states import State

VXNET = KnownVxnet("vxnet-a", "172.16.1.0/24", "172.16.1.1", "rtr-1")
GATEWAY_ADDRESS = "172.16.1.11"
HOST_ADDRESS = "172.16.0.11"
KEY = LeaseKey("pods", "c1", "eth0")


def nic(number: int = 1, state: State = State.READY) -> Nic:
    return Nic(f"52:54:00:00:00:{number:02x}", VXNET.vxnet_id, f"172.16.1.{100 + number}", state, 0.0)


class ScriptedPool:
    """Hands out `supply` in order; `fail` maps a method's name to the error that it raises next."""

    def __init__(self, *supply: Nic, clock: t.Callable[[], float] = wire.boottime) -> None:
        self.supply = list(supply)
        self.clock = clock
        self.fail: dict[str, Exception] = {}
        self.forgotten: dict[tuple[int, str], Lease] = {}
        self.calls: list[tuple[t.Any, ...]] = []
        self.leases: dict[LeaseKey, Lease] = {}
        self.nics: dict[str, Nic] = {}
        self.waiting = threading.Event()
        self.after_acquire: t.Callable[[], None] = lambda: None
        self.pokes = 0
        self.why_empty: t.Optional[HostnicError] = None
        self.standing = GATEWAY_ADDRESS
        self._changed = threading.Condition()

    def _called(self, name: str, *rest: t.Any) -> None:
        self.calls.append((name, *rest))
        error = self.fail.pop(name, None)
        if error:
            raise error

    def acquire(
        self,
        key: LeaseKey,
        args: dict[str, str],
        deadline: float,
        cancelled: t.Callable[[], bool],
        vxnets: tuple[str, ...] = (),
        fixed: t.Optional[Fixed] = None,
    ) -> tuple[Nic, bool]:
        self._called("acquire", key, args, vxnets, *([fixed] if fixed else []))
        with self._changed:
            if key in self.leases:
                return self.nics[self.leases[key].nic_id], True
            while not self.supply:
                if cancelled() or self.clock() >= deadline:
                    raise PoolEmpty("no NIC became ready in time")
                self.waiting.set()
                self._changed.wait(deadline - self.clock())
            taken = replace(self.supply.pop(0), state=State.RESERVED)
            self.nics[taken.nic_id] = taken
            self.leases[key] = Lease(key.network, key.container_id, key.ifname, taken.nic_id, self.clock(), args=args)
            self.after_acquire()
            return taken, False

    def commit(self, key: LeaseKey, netns_inode: int, ifindex: int) -> None:
        self._called("commit", key, netns_inode, ifindex)
        self.leases[key] = replace(self.leases[key], netns_inode=netns_inode, ifindex=ifindex)
        self._set(self.leases[key].nic_id, State.IN_USE)

    def abort(self, key: LeaseKey, touched_pod: bool) -> None:
        self._called("abort", key, touched_pod)
        self._set(self.leases.pop(key).nic_id, State.QUARANTINE if touched_pod else State.READY)

    def release(self, key: LeaseKey, returned: bool) -> None:
        self._called("release", key, returned)
        self._set(self.leases.pop(key).nic_id, State.QUARANTINE if returned else State.BROKEN)

    def lease(self, key: LeaseKey) -> t.Optional[Lease]:
        return self.leases.get(key)

    def unable(self, vxnets: tuple[str, ...], gateway: bool) -> t.Optional[HostnicError]:
        self._called("unable", vxnets, gateway)
        return None if self.supply else self.why_empty

    def attachments(self, network: str) -> list[LeaseKey]:
        return [key for key in self.leases if key.network == network]

    def found_in(self, netns_inode: int, ifname: str) -> t.Optional[Lease]:
        return self.forgotten.get((netns_inode, ifname))

    def take_over(self, lease: Lease, key: LeaseKey, args: dict[str, str]) -> bool:
        self.forgotten = {place: other for place, other in self.forgotten.items() if other != lease}
        self.leases[key] = replace(
            lease, network=key.network, container_id=key.container_id, ifname=key.ifname, args=args
        )
        return True

    def nic(self, nic_id: str) -> t.Optional[Nic]:
        return self.nics.get(nic_id)

    def vxnet(self, vxnet_id: str) -> KnownVxnet:
        self._called("vxnet", vxnet_id)
        if vxnet_id != VXNET.vxnet_id:
            raise NotFound(f"vxnet {vxnet_id} is not known")
        return VXNET

    def gateway(self, vxnet_id: str, deadline: float, cancelled: t.Callable[[], bool]) -> str:
        self._called("gateway", vxnet_id)
        return GATEWAY_ADDRESS

    def standing_gateway(self, vxnet_id: str) -> str:
        return self.standing

    def masquerade(self, network: str, vxnet_id: str, wanted: bool) -> None:
        self._called("masquerade", network, vxnet_id, wanted)

    def host_address(self) -> str:
        return HOST_ADDRESS

    def poke(self) -> None:
        with self._changed:
            self.pokes += 1
            self._changed.notify_all()

    def add(self, one: Nic) -> None:
        with self._changed:
            self.supply.append(one)
            self._changed.notify_all()

    def states(self) -> dict[str, State]:
        return {nic_id: one.state for nic_id, one in self.nics.items()}

    def named(self, *names: str) -> list[tuple[t.Any, ...]]:
        return [call for call in self.calls if call[0] in names]

    def _set(self, nic_id: str, state: State) -> None:
        if nic_id in self.nics:
            self.nics[nic_id] = replace(self.nics[nic_id], state=state)


Place = t.Union[str, tuple[int, str]]  # "parking" or (`netns_of` a descriptor, ifname); absent: nowhere


def netns_of(descriptor: int) -> int:
    """The file behind a descriptor; of a number that is none, the number."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return descriptor


class ScriptedLinks:
    """Every NIC starts in parking. `fail` as in `ScriptedPool`; `during_move` runs while a link is moved."""

    def __init__(self, *macs: str) -> None:
        self.places: dict[str, Place] = dict.fromkeys(macs, "parking")
        self.fail: dict[str, HostnicError] = {}
        self.during_move: t.Callable[[], None] = lambda: None
        self.calls: list[tuple[t.Any, ...]] = []
        self.pods: dict[str, PodLink] = {}
        self.differs: dict[str, t.Any] = {}  # what `look` shows otherwise than it was configured
        self.findings: list[str] = []
        self.moving = 0
        self.most_moving = 0
        self._lock = threading.Lock()

    def to_pod(self, mac: str, netns: int, pod: PodLink) -> Placed:
        self.calls.append(("to_pod", mac, netns, pod))
        with self._lock:
            self.moving += 1
            self.most_moving = max(self.moving, self.most_moving)
        try:
            self.during_move()
            if "to_pod" in self.fail:
                raise self.fail.pop("to_pod")
            if self.places.get(mac) != "parking":
                raise LinkFailed(f"NIC {mac} is not in the parking namespace", missing=True)
            self.places[mac] = (netns_of(netns), pod.ifname)
            self.pods[mac] = pod
            return Placed(7, pod.mtu or 1500)
        finally:
            with self._lock:
                self.moving -= 1

    def from_pod(self, mac: str, netns: t.Optional[int], ifname: str, ifindex: int) -> bool:
        self.calls.append(("from_pod", mac, netns, ifname, ifindex))
        if "from_pod" in self.fail:
            raise self.fail.pop("from_pod")
        place = self.places.get(mac)
        inside = None if netns is None else netns_of(netns)
        if place == "parking" or (isinstance(place, tuple) and place[0] == inside):
            self.places[mac] = "parking"
            return True
        return False

    def in_pod(self, mac: str, netns: int, ifname: str) -> bool:
        return self.places.get(mac) == (netns_of(netns), ifname)

    def look(self, netns: int, ifname: str) -> t.Optional[PodState]:
        here = [mac for mac, place in self.places.items() if place == (netns_of(netns), ifname)]
        if not here:
            return None
        pod = self.pods[here[0]]
        state = PodState(here[0], here[0], 7, True, pod.mtu or 1500, (pod.address,), pod.routes)
        return replace(state, **self.differs)

    def retrieve(self, mac: str, netns_inode: int = 0, ifindex: int = 0) -> bool:
        self.calls.append(("retrieve", mac, netns_inode, ifindex))
        if "retrieve" in self.fail:
            raise self.fail.pop("retrieve")
        known = mac in self.places
        if known:
            self.places[mac] = "parking"
        return known

    def host_findings(self, iface: str) -> list[str]:
        return self.findings


def eventually(condition: t.Callable[[], t.Any], within: float = 10.0) -> None:
    """Wait until this is true; fails at the deadline."""
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not within {within} s: {condition}")
        time.sleep(0.002)
