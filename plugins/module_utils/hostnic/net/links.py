# SPDX-License-Identifier: GPL-3.0-or-later
"""The port Links: cloud NICs between the host's, the parking and the pods' namespaces.

A move is not atomic: the kernel moves first and looks at the name, the MAC and the rest afterwards. So no error tells
where a link is; after any of them it is looked for in all three places.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import typing as t
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .. import afterwards, telemetry
from ..errors import HostnicError, LinkFailed
from ..model import Link, Placed, PodLink, PodPlace, PodState
from . import forget, gateway, host_findings, netns, pci, requests, sysctl
from .addresses import addresses
from .census import Census, Known
from .devices import Device, everything, find, named
from .home import ROUNDS, Home, default_route_mac, refuse_the_hosts_own
from .netlink import NETFILTER, Netlink, Request, Sockets
from .parking import Parking
from .pulse import Pulse
from .routes import routes_out_of

log = logging.getLogger("hostnic.net")

PARKING: t.Final = "/run/netns/qingagent"


class KernelLinks:
    """Implements `ports.Links`; any thread may call, none ever leaves its namespace."""

    def __init__(self, parking: str = PARKING, host: str = netns.HOST) -> None:
        """`host`: for tests; the agent's own namespace otherwise. `LinkFailed` where the parking one is missing."""
        with ExitStack() as undo:
            self._host_fd = netns.open_path(host)
            undo.callback(os.close, self._host_fd)
            self._parking_fd = netns.open_path(parking)
            undo.callback(os.close, self._parking_fd)
            if netns.inode(self._host_fd) == netns.inode(self._parking_fd):
                raise LinkFailed(f"{parking} is the host's own network namespace: NICs cannot be parked there")
            self._own = {
                Path(netns.HOST).stat().st_ino: "the agent's",
                netns.inode(self._host_fd): "the host's",
                netns.inode(self._parking_fd): "the parking",
            }
            self._envoy = netns.Envoy()
            undo.callback(self._envoy.close)
            self._host = Sockets(self._envoy, self._host_fd)
            self._conntrack = Sockets(self._envoy, self._host_fd, NETFILTER)
            self._parking = Parking(self._envoy, self._parking_fd)
            self._known = (Known(self._host_fd, self._host), Known(self._parking_fd, self._parking.sockets))
            self._pulse = Pulse()
            undo.callback(self._pulse.close)
            self._home = Home(self._host, self._parking, self._pulse)
            self._findings = netns.Envoy()  # of its own: a program runs there, and others would wait
            undo.pop_all()

    def close(self) -> None:
        """Nothing may be called afterwards."""
        for part in (self._host, self._conntrack, self._parking, self._pulse, self._envoy, self._findings):
            part.close()
        os.close(self._host_fd)
        os.close(self._parking_fd)

    # -- the port ----------------------------------------------------------------------------------------------------

    def list(self) -> list[Link]:
        """Links that may be NICs: bridges, bonds and VLANs are left out, since they carry the MAC of another link."""
        found = []
        for place, sockets in (("host", self._host), ("parking", self._parking.sockets)):
            with sockets.lend() as channel:
                found += [device.link(place) for device in everything(channel) if device.may_be_a_nic]
        return found

    def park(self, mac: str) -> Link:
        link = self._home.bring(mac, None, "", 0)
        if link is None:
            raise LinkFailed(f"NIC {mac} has no link on this host", missing=True)
        return link

    def to_pod(self, mac: str, netns: int, pod: PodLink) -> Placed:
        with self._inside(netns, calm=True) as inside:
            if named(inside, pod.ifname) is not None:
                raise _name_taken(pod.ifname)
            with self._parking.sockets.lend() as channel:
                device = self._parking.find(channel, mac)
            if device is None:
                raise LinkFailed(f"NIC {mac} is not in the parking namespace", missing=True)
            # written before the move, so that a wrong value does not cost two moves
            settings = _settings(device.index, pod)
            move = _move_out(device, netns, pod)
            pci_id = self._parking.pci_id(device)
            try:
                self._send_out(move, pod.ifname)
                telemetry.phase(telemetry.CONFIGURE)
                arrived = self._configure(inside, mac, pod, device.index, settings)
                return Placed(arrived.index, arrived.mtu, pci_id)
            except Exception as error:
                raise self._undone(error, mac, inside, pod.ifname, device.index) from error

    def from_pod(self, mac: str, netns: t.Optional[int], ifname: str, ifindex: int) -> bool:
        if netns is None:
            return self._home.bring(mac, None, ifname, ifindex) is not None
        with self._inside(netns) as inside:
            return self._home.bring(mac, inside, ifname, ifindex) is not None

    def retrieve(self, mac: str, netns_inode: int = 0, ifindex: int = 0) -> bool:
        for _round in range(ROUNDS):
            if self._home.bring(mac, None, "", 0) is not None:
                return True
            with Census(self._envoy, self._known) as census:
                sighting = census.look_for(mac, netns_inode, ifindex, self._parking.knows)
                if sighting is None:  # it may have come home by itself meanwhile
                    return self._home.bring(mac, None, "", 0) is not None
                if sighting.descriptor is None:
                    raise LinkFailed(
                        f"NIC {mac} is in a network namespace that cannot be opened: no process, thread or mount has it"
                    )
                with self._inside(sighting.descriptor) as inside:
                    if self._home.bring(mac, inside, sighting.place.ifname, sighting.place.ifindex) is not None:
                        return True
        raise LinkFailed(f"cannot bring NIC {mac} into the parking namespace: it moves from one namespace to the next")

    def in_pod(self, mac: str, netns: int, ifname: str) -> bool:
        with self._inside(netns) as inside:
            device = named(inside, ifname)
        return device is not None and device.name == ifname and find([device], mac) is device

    def look(self, netns: int, ifname: str) -> t.Optional[PodState]:
        with self._inside(netns) as inside:
            device = named(inside, ifname)
            if device is None or device.name != ifname:  # an altname of another
                return None
            there = tuple(addresses(inside, device.index))
            out = tuple(routes_out_of(inside, device.index))
        identity = device.identity if device.may_be_a_nic else ""
        pci_id = self._envoy.visit(netns, lambda: pci.visited(ifname))
        return PodState(device.mac, identity, device.index, device.up, device.mtu, there, out, pci_id)

    def host_gateway(self, mac: str, name: str, address: str) -> Link:
        self._envoy.visit(self._host_fd, sysctl.forward)
        with self._host.lend() as host:
            device = find(everything(host), mac) or self._unpark(host, mac, name)
            refuse_the_hosts_own(host, device)
            gateway.rename(host, device, name)
            self._envoy.visit(self._host_fd, lambda: sysctl.gateway_link(name))
            gateway.address(host, device, address)
            if not device.up or device.name != name:
                host.send(requests.set_link(device.index, f"set gateway NIC {name} up", up=True))
            ready = named(host, name)
        if ready is None or ready.identity != mac:
            raise LinkFailed(f"gateway NIC {mac} was renamed or taken away while it was configured")
        return ready.link("host")

    def in_netns(self, macs: t.Collection[str]) -> dict[str, PodPlace]:
        return Census(self._envoy, self._known).places(macs)

    def default_route_link(self) -> t.Optional[str]:
        with self._host.lend() as host:
            return default_route_mac(host)

    def address_of(self, name: str) -> str:
        with self._host.lend() as host:
            device = named(host, name)
            first = addresses(host, device.index)[:1] if device is not None else []
        return first[0].partition("/")[0] if first else ""

    def host_findings(self, iface: str) -> t.Sequence[str]:
        seen = self._findings.visit(self._host_fd, lambda: host_findings.look(iface))
        for sentence in seen.unchecked:
            log.debug("not looked at: %s", sentence)
        return seen.found

    def flush(self, address: str) -> None:
        packed = _packed(address)
        with self._conntrack.lend() as channel:
            connections = forget.connections(channel, packed)
        with self._host.lend() as channel:
            neighbours = forget.neighbours(channel, packed)
        if connections or neighbours:
            log.info("forgot %d connections and %d neighbours of %s", connections, neighbours, address)

    # -- into a pod --------------------------------------------------------------------------------------------------

    @contextmanager
    def _inside(self, descriptor: int, calm: bool = False) -> t.Iterator[Netlink]:
        """A socket in a pod's namespace; `calm`: ICMP redirects are switched off there on the way."""
        owner = self._own.get(netns.verify(descriptor))
        if owner is not None:
            raise LinkFailed(f"the pod's network namespace is {owner} own: pods of the host's network get no NIC")

        def open_socket() -> Netlink:
            if calm:
                sysctl.no_redirects()
            return Netlink()

        try:
            channel = self._envoy.go(descriptor, open_socket)
        except OSError as error:
            raise LinkFailed(f"cannot open a socket in the pod: {error.strerror}", errno=error.errno) from error
        try:
            yield channel
        finally:
            afterwards.do(channel.close)

    def _send_out(self, move: Request, ifname: str) -> None:
        try:
            with self._parking.sockets.lend() as channel, self._pulse.beating():
                channel.send(move)
        except LinkFailed as error:
            if error.details.get("errno") == errno.EEXIST:
                raise _name_taken(ifname) from error
            raise

    def _configure(self, inside: Netlink, mac: str, pod: PodLink, index: int, settings: t.Sequence[Request]) -> Device:
        arrived = named(inside, pod.ifname)
        if arrived is None or arrived.identity != mac:
            raise LinkFailed(f"{pod.ifname} in the pod was taken away while it was configured")
        if arrived.index != index:  # the number was taken in the pod
            settings = _settings(arrived.index, pod)
        inside.send(*settings)
        return arrived

    def _undone(self, error: Exception, mac: str, inside: Netlink, ifname: str, index: int) -> HostnicError:
        """What to raise after an ADD that failed: the link is back in parking, or the error says that it is not."""
        first = error if isinstance(error, HostnicError) else LinkFailed(f"{type(error).__name__}: {error}")
        try:
            if self._home.bring(mac, inside, ifname, index) is not None:
                return first
            trouble = "its link is nowhere"
        except LinkFailed as second:
            trouble = second.message
        return LinkFailed(f"{first.message}; and NIC {mac} is not back in parking: {trouble}", stranded=True)

    # -- the host ----------------------------------------------------------------------------------------------------

    def _unpark(self, host: Netlink, mac: str, name: str) -> Device:
        with self._parking.sockets.lend() as channel:
            parked = self._parking.find(channel, mac)
            if parked is None:
                raise LinkFailed(f"gateway NIC {mac} has no link on this host", missing=True)
            purpose = f"bring gateway NIC {mac} into the host's namespace as {name}"
            trouble = LinkFailed(f"gateway NIC {mac} was taken away while it was moved")
            try:
                with self._pulse.beating():
                    channel.send(requests.set_link(parked.index, purpose, netns=self._host_fd, name=name, up=False))
            except LinkFailed as error:  # such as a name that is taken: it may have moved all the same
                trouble = error
        device = find(everything(host), mac)
        if device is None:
            raise trouble
        return device


def _move_out(device: Device, descriptor: int, pod: PodLink) -> Request:
    return requests.set_link(
        device.index,
        f"move NIC {device.identity} into the pod as {pod.ifname}",
        netns=descriptor,
        name=pod.ifname,
        mtu=pod.mtu,
        conf={"arp_notify": 1, "accept_redirects": 0},
    )


def _settings(index: int, pod: PodLink) -> t.Sequence[Request]:
    """Up after the address: only that order makes the kernel announce the address, once (arp_notify)."""
    return (
        requests.add_address(index, pod.address),
        requests.set_link(index, f"set {pod.ifname} up", up=True),
        *(requests.add_route(index, route) for route in pod.routes),
    )


def _name_taken(ifname: str) -> LinkFailed:
    return LinkFailed(f"the pod has an interface {ifname} already", ifname=ifname, taken=True)


def _packed(address: str) -> bytes:
    """Also with a prefix length."""
    try:
        return ipaddress.IPv4Address(address.partition("/")[0]).packed
    except ValueError as error:
        raise LinkFailed(f"{address!r} is no IPv4 address") from error
