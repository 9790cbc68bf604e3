# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs: what happens to the NIC, in which order, and how it is undone."""

from __future__ import annotations

import itertools
import logging
import random
import typing as t
from collections import defaultdict
from dataclasses import dataclass

from .. import policy, telemetry
from ..errors import HostnicError, InvalidConfig
from ..model import POOL, Fixed, KnownVxnet, Lease, LeaseKey, Nic, Placed, PodLink, Route
from ..ports import Clock
from ..states import LEAVING, State
from . import routes, spec
from .attempt import Attempt
from .check import Expected, differences, unlike
from .locks import HungUp, KeyedLocks, Turnstile, go_on
from .netconf import NetConf
from .netns import Netns
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
class Host:
    """`vxnets` and `policy`: the agent's, for networks that name none; `iface`: the host's own link."""

    vxnets: tuple[str, ...] = ()
    policy: str = policy.FAIL_ROTATE
    iface: str = "eth0"


class Verbs:
    """Thread-safe. Calls for one attachment take turns; different ones meet only where the kernel makes them."""

    def __init__(
        self,
        pool: NicPool,
        links: PodLinks,
        clock: Clock,
        host: Host = Host(),
        moves_at_once: int = _MOVES_AT_ONCE,
        dice: t.Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._links = links
        self._clock = clock
        self._host = host
        self._dice = dice
        self._turns: dict[str, t.Iterator[int]] = defaultdict(itertools.count)  # ADDs of a network, for its policy
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
                return self._again(call, conf, nic, netns, wait)
            fixed = self._fixed(call, conf)
            vxnets = self._vxnets(call.network, conf)
            telemetry.phase(telemetry.RESERVE)
            nic, __ = self._pool.acquire(call.key, call.args, wait.deadline, wait.cancelled, vxnets, fixed)
            attempt = Attempt(self._pool, self._links, call.key, nic, netns)
            try:
                if conf.wishes.mac not in ("", nic.nic_id):
                    raise _no_such_mac(conf.wishes.mac)
                telemetry.phase(telemetry.GATEWAY)
                vxnet, pod_routes = self._layout(nic, conf, wait)
                self._pool.masquerade(call.network, nic.vxnet_id, conf.ip_masq)
                telemetry.phase(telemetry.TURN)
                with self._moves.hold(wait.deadline, wait.cancelled):
                    go_on(wait.deadline, self._clock, wait.cancelled, "a NIC was reserved")
                    pod = PodLink(call.ifname, _address(nic, vxnet), pod_routes, conf.mtu)
                    placed = attempt.move(pod)
                if wait.cancelled():
                    raise HungUp("the caller hung up while its NIC was moved")
                attempt.commit()
            except BaseException:
                attempt.undo()
                raise
            return _attached(call, conf, nic, vxnet, pod_routes, placed)

    def check(self, call: Invocation, conf: NetConf, netns: Netns, wait: Wait) -> None:
        """Raises `CniError` (118) that names all that differs from what an ADD would have made."""
        with self._attachments.hold(call.key, wait.deadline, wait.cancelled):
            lease = self._pool.lease(call.key) or self._pool.found_in(netns.inode, call.ifname)
            nic = self._pool.nic(lease.nic_id) if lease else None
            expected = self._expected(call, conf, nic)
            seen = self._links.look(netns.descriptor, call.ifname)
        found = differences(expected, lease, nic, netns.inode, seen, conf.previous or {})
        if routes.needs_gateway(conf):
            found += self._links.host_findings(self._host.iface)
        if found:
            raise CniError(spec.DIFFERS, f"{call.ifname} of {call.container_id}: {'; '.join(found)}")

    def collect(self, network: str, valid: t.Collection[tuple[str, str]], asked_at: float, wait: Wait) -> None:
        """Release this network's attachments that are not among these (container id, ifname).

        Goes on after an error, and raises `CniError` with all of them.
        """
        troubles: list[HostnicError] = []
        for key in self._pool.attachments(network):
            if (key.container_id, key.ifname) in valid:
                continue
            try:
                self._release(key, None, asked_at, wait, everywhere=True)
                log.info("%s is not valid any more: its NIC is back", key)
            except HostnicError as error:
                log.warning("%s is not valid any more, and stays: %s", key, error)
                troubles.append(error)
        if troubles:
            code = spec.TRY_AGAIN if all(error.transient for error in troubles) else spec.code_of(troubles[0])
            raise CniError(code, "; ".join(error.message for error in troubles))

    def status(self, conf: NetConf) -> None:
        """Raises `CniError` (50) where no ADD of this network can be served. From memory."""
        reason = self._pool.unable(conf.vxnets, routes.needs_gateway(conf))
        if reason:
            raise CniError(spec.NOT_AVAILABLE, reason.message, kind=reason.kind)

    def delete(self, key: LeaseKey, netns: t.Optional[Netns], asked_at: float, wait: Wait) -> None:
        """Take the NIC back; nothing to do where the attachment holds none.

        `asked_at` (boot seconds, 0 for unknown): a lease younger than that belongs to a later ADD and stays.
        Raises `LinkFailed` with the lease kept, so that the runtime's next DEL goes on.
        """
        self._release(key, netns, asked_at, wait)

    def poke(self) -> None:
        """Have everyone who waits look at `cancelled` again."""
        self._attachments.poke()
        self._moves.poke()
        self._pool.poke()

    def _release(
        self, key: LeaseKey, netns: t.Optional[Netns], asked_at: float, wait: Wait, everywhere: bool = False
    ) -> None:
        """`everywhere`: its netns is not known, but may still be there."""
        with self._attachments.hold(key, wait.deadline, wait.cancelled):
            forgotten = self._forgotten(key, {}, netns)
            lease = self._pool.lease(key)
            if lease is None:
                log.info("%s holds nothing", key)
            elif asked_at and lease.since > asked_at and not forgotten:
                log.warning("%s: a %s from before the present lease is ignored", key, "GC" if everywhere else "DEL")
            else:
                telemetry.phase(telemetry.FETCH)
                if everywhere:
                    returned = self._links.retrieve(lease.nic_id, lease.netns_inode, lease.ifindex)
                else:
                    returned = self._fetch(lease, netns)
                if not returned:
                    log.warning("%s: the link of %s was found nowhere", key, lease.nic_id)
                telemetry.phase(telemetry.COMMIT)
                self._pool.release(key, returned)

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
            return self._pool.take_over(found, key, args)
        return False

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
        return vxnet, routes.of_pod(conf, vxnet, gateway, self._host_address(conf))

    def _host_address(self, conf: NetConf) -> str:
        return self._pool.host_address() if conf.is_gateway else ""

    def _expected(self, call: Invocation, conf: NetConf, nic: t.Optional[Nic]) -> Expected:
        """What ADD would make of this NIC now, with the gateway that stands."""
        if nic is None:
            return Expected(call.ifname, call.netns, "", ())
        vxnet = self._pool.vxnet(nic.vxnet_id)
        missing: tuple[str, ...] = ()
        pod_routes: tuple[Route, ...] = ()
        gateway = self._pool.standing_gateway(nic.vxnet_id) if routes.needs_gateway(conf) else ""
        if routes.needs_gateway(conf) and not gateway:
            missing = (f"the host has no gateway NIC in {nic.vxnet_id} now",)
        else:
            pod_routes = routes.of_pod(conf, vxnet, gateway, self._host_address(conf))
        return _as_added(call, conf, nic, vxnet, pod_routes, missing)

    def _again(self, call: Invocation, conf: NetConf, nic: Nic, netns: Netns, wait: Wait) -> Attached:
        """The result of an ADD that was carried out before. Raises `CniError` (118) where another is wanted now."""
        vxnet, pod_routes = self._layout(nic, conf, wait)
        seen = self._links.look(netns.descriptor, call.ifname)
        found = unlike(_as_added(call, conf, nic, vxnet, pod_routes), nic, seen)
        if found or seen is None:
            said = f"{call.ifname} of {call.container_id} was added otherwise, DEL it first: {'; '.join(found)}"
            raise CniError(spec.DIFFERS, said)
        log.info("%s already has %s", call.key, nic.nic_id)
        placed = Placed(seen.ifindex, seen.mtu, seen.pci_id)
        return _attached(call, conf, nic, vxnet, pod_routes, placed)

    def _vxnets(self, network: str, conf: NetConf) -> tuple[str, ...]:
        """In the order in which new NICs are asked for; none where the agent's vxnets and policy are to be followed."""
        if not conf.policy and not conf.vxnets:
            return ()
        chosen = conf.policy or self._host.policy
        # with the other policies, what is full or fails is passed over anyway
        turn = next(self._turns[network]) if chosen == policy.ROUND_ROTATE else 0
        return tuple(policy.order(chosen, conf.vxnets or self._host.vxnets, turn, self._dice))

    def _fixed(self, call: Invocation, conf: NetConf) -> t.Optional[Fixed]:
        """The address that this pod must have. A MAC stands for the NIC's address: both are for life."""
        address, mac = conf.wishes.address, conf.wishes.mac
        if mac:
            nic = self._pool.nic(mac)
            if nic is None or nic.purpose != POOL or nic.doomed or nic.state in LEAVING:
                raise _no_such_mac(mac)
            if address not in ("", nic.private_ip):
                raise InvalidConfig(
                    f"mac {mac} has the address {nic.private_ip}, not {address}: ask for one of the two"
                )
            address = nic.private_ip
        if not address:
            return None
        name, namespace = call.args.get("K8S_POD_NAME", ""), call.args.get("K8S_POD_NAMESPACE", "")
        if not (name and namespace):  # podman gives a name, but none that comes back
            return Fixed(address, call.container_id)
        return Fixed(address, f"{namespace}/{name}", conf.keep)


def _no_such_mac(mac: str) -> CniError:
    return CniError(
        spec.UNSUPPORTED_FIELD,
        f"mac={mac} is no NIC that this node's pool can give: a NIC's MAC is fixed when QingCloud makes it; leave it "
        "out, or name a READY one of `qingagent pool`",
    )


def _as_added(
    call: Invocation,
    conf: NetConf,
    nic: Nic,
    vxnet: KnownVxnet,
    pod_routes: tuple[Route, ...],
    missing: tuple[str, ...] = (),
) -> Expected:
    return Expected(call.ifname, call.netns, _address(nic, vxnet), pod_routes, conf.mtu or 0, missing)


def _address(nic: Nic, vxnet: KnownVxnet) -> str:
    return f"{nic.private_ip}/{vxnet.network.partition('/')[2]}"


def _attached(
    call: Invocation, conf: NetConf, nic: Nic, vxnet: KnownVxnet, pod_routes: tuple[Route, ...], placed: Placed
) -> Attached:
    return Attached(
        ifname=call.ifname,
        mac=nic.nic_id,
        sandbox=call.netns,
        address=_address(nic, vxnet),
        gateway=routes.default_gateway(pod_routes),
        routes=pod_routes,
        dns=conf.dns,
        mtu=placed.mtu,
        pci_id=placed.pci_id,
    )
