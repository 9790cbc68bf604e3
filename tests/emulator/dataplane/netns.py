# SPDX-License-Identifier: GPL-3.0-or-later
"""A vxnet is a bridge, its router a namespace, a NIC a veth pair from the bridge into the instance's namespace."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import threading
import typing as t
from dataclasses import dataclass
from ipaddress import IPv4Network

from tests.emulator.dataplane import kernel, names, security
from tests.emulator.dataplane.base import DataPlaneError, Port
from tests.emulator.dataplane.cleanup import cleanup
from tests.emulator.dataplane.netlink import LEAVING_GROUP, NICS_GROUP, NameTaken, Netlink
from tests.emulator.dataplane.watch import Watcher, link_names
from tests.emulator.errors import EmulatorError

_log = logging.getLogger(__name__)

_FABRIC_SYSCTLS = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-ip6tables": "0",
    "net/bridge/bridge-nf-call-arptables": "0",
}
_ROUTER_SYSCTLS = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/ip_forward": "1",
}


@dataclass
class _Plugged:
    """``cookie`` names the namespace that got the link; None: the link is dark until it is plugged again."""

    port: Port
    cookie: int | None = None


class NetnsDataPlane:
    """``uplink`` is a transit /30: its first address is this host's, its second the first router's."""

    def __init__(self, prefix: str = "qclab", uplink: str | None = None) -> None:
        self._names = names.Names(prefix)
        self._uplink = _transit(uplink) if uplink else None
        self._lock = threading.RLock()
        self._mode = "off"
        self._netlinks: dict[str, Netlink] = {}
        self._bridges: dict[str, int] = {}
        self._routers: dict[str, str] = {}
        self._plugged: dict[str, _Plugged] = {}
        self._put_back: dict[str, int] = {}
        self._watcher: Watcher | None = None
        self._owned = contextlib.ExitStack()
        self._open = False

    def open(self, port_security: str) -> None:
        with self._lock, _reported("the fabric"):
            self._owned.enter_context(kernel.sole_user(self._names.prefix))
            cleanup(self._names.prefix)
            kernel.create(self._names.fabric)
            self._open, self._mode = True, port_security
            kernel.write_sysctls(self._names.fabric, _FABRIC_SYSCTLS)
            if self._uplink:
                self._router_netns(0)
        watcher = Watcher(self._names.fabric, self._look)
        watcher.start()
        self._watcher = watcher

    def close(self) -> None:
        with self._lock:
            was_open, self._open = self._open, False
            watcher, self._watcher = self._watcher, None
            self._plugged.clear()
        if watcher is not None:
            watcher.stop()
        if not was_open:
            self._owned.close()
            return
        with self._lock:
            for netlink in self._netlinks.values():
                netlink.close()
            self._netlinks.clear()
            self._bridges.clear()
            self._routers.clear()
            cleanup(self._names.prefix)
            self._owned.close()

    def add_router(self, router_id: str, vpc_network: str | None) -> None:
        with self._lock, _reported(f"router {router_id}"):
            number = len(self._routers)
            self._routers[router_id] = self._router_netns(number)
            if self._uplink and number == 0 and vpc_network:
                with Netlink() as host:
                    host.add_route(vpc_network, str(self._uplink[2]))

    def add_vxnet(self, vxnet_id: str, router_id: str | None, manager: str | None) -> None:
        with self._lock, _reported(f"vxnet {vxnet_id}"):
            if vxnet_id not in self._bridges:
                self._bridges[vxnet_id] = self._fabric().add_bridge(names.bridge(vxnet_id))
            if router_id is not None and manager is not None:
                self._add_leg(vxnet_id, self._routers[router_id], manager)

    def remove_leg(self, vxnet_id: str) -> None:
        with self._lock, _reported(f"leg of {vxnet_id}"):
            self._fabric().delete(names.fabric_leg(vxnet_id))

    def plug(self, ports: t.Sequence[Port]) -> set[str]:
        with self._lock, _reported("plug"):
            cookies = {netns: kernel.cookie(netns) for netns in {port.netns for port in ports}}
            todo = [port for port in ports if not self._is_in(port, cookies[port.netns])]
            for port in todo:
                self._fabric().delete(names.port(port.nic_id))
                self._plugged[port.nic_id] = _Plugged(port)
            self._secure()
            return {port.nic_id for port in todo if not self._made(port, cookies[port.netns])}

    def unplug(self, nic_ids: t.Sequence[str]) -> None:
        with self._lock, _reported("unplug"):
            known = [nic_id for nic_id in nic_ids if self._plugged.pop(nic_id, None) is not None]
            for nic_id in known:
                self._fabric().move_to_group(names.port(nic_id), LEAVING_GROUP)
            if known:
                self._fabric().delete_group(LEAVING_GROUP)
                self._secure()

    def guard(self, port: Port) -> None:
        with self._lock, _reported(f"nic {port.nic_id}"):
            known = self._plugged.get(port.nic_id)
            if known is not None:
                known.port = dataclasses.replace(known.port, private_ip=port.private_ip, guarded=port.guarded)
                self._secure()

    def set_port_security(self, mode: str) -> None:
        with self._lock, _reported("port security"):
            if mode != self._mode:
                self._mode = mode
                self._secure()

    def dark(self) -> set[str]:
        with self._lock:
            return {nic_id for nic_id, plugged in self._plugged.items() if plugged.cookie is None}

    def settled(self) -> bool:
        with self._lock:
            return not self._open or not self._lost(kernel.inside(self._names.fabric, link_names))

    def links_put_back(self) -> dict[str, int]:
        with self._lock:
            return dict(self._put_back)

    def reset_counters(self) -> None:
        with self._lock:
            self._put_back.clear()

    def _look(self) -> None:
        """In the watcher's thread, inside the fabric: put back what died with another namespace than its own."""
        with self._lock:
            if not self._open:
                return
            for nic_id in self._lost(link_names()):
                plugged = self._plugged[nic_id]
                present = kernel.cookie(plugged.port.netns)
                if present != plugged.cookie:
                    plugged.cookie = None
                elif self._made(plugged.port, present):
                    self._put_back[nic_id] = self._put_back.get(nic_id, 0) + 1

    def _lost(self, present: t.Container[str]) -> list[str]:
        return [
            nic_id
            for nic_id, plugged in self._plugged.items()
            if plugged.cookie is not None and names.port(nic_id) not in present
        ]

    def _is_in(self, port: Port, present: int | None) -> bool:
        known = self._plugged.get(port.nic_id)
        return known is not None and known.cookie is not None and known.cookie == present

    def _made(self, port: Port, present: int | None) -> bool:
        """The link is there, or dark because its namespace is not; False when the kernel refused."""
        plugged = self._plugged[port.nic_id]
        if present is None:
            plugged.cookie = None
            return True
        try:
            self._make_link(port)
        except (OSError, NameTaken):
            _log.exception("nic %s", port.nic_id)
            del self._plugged[port.nic_id]
            return False
        plugged.cookie = present
        return True

    def _make_link(self, port: Port) -> None:
        """The guest's end gets its name from the kernel; one that has an eth0 of its own keeps it."""
        fd = os.open(kernel.NETNS_DIR / port.netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                self._add_pair(port, port.ifname, fd)
            except NameTaken:
                self._add_pair(port, "eth%d", fd)
        finally:
            os.close(fd)

    def _add_pair(self, port: Port, ifname: str, netns_fd: int) -> None:
        self._fabric().add_veth(
            names.port(port.nic_id),
            peer=ifname,
            peer_netns=netns_fd,
            peer_mac=port.nic_id,
            master=self._bridges[port.vxnet_id],
            group=NICS_GROUP,
        )

    def _secure(self) -> None:
        security.apply(self._names.fabric, self._mode, [plugged.port for plugged in self._plugged.values()])

    def _router_netns(self, number: int) -> str:
        netns = self._names.router(number)
        if kernel.exists(netns):
            return netns
        kernel.create(netns)
        kernel.write_sysctls(netns, _ROUTER_SYSCTLS)
        self._netlink(netns).set_up("lo")
        if self._uplink and number == 0:
            self._make_uplink(netns, self._uplink)
        return netns

    def _make_uplink(self, netns: str, transit: IPv4Network) -> None:
        here, there = (f"{transit[end]}/{transit.prefixlen}" for end in (1, 2))
        with Netlink() as host:
            host.add_veth(self._names.uplink, peer="uplink", peer_netns=netns)
            host.set_up(self._names.uplink, here)
        router = self._netlink(netns)
        router.set_up("uplink", there)
        router.add_route("default", str(transit[1]))

    def _add_leg(self, vxnet_id: str, netns: str, manager: str) -> None:
        leg = names.bridge(vxnet_id)
        self._fabric().add_veth(names.fabric_leg(vxnet_id), peer=leg, peer_netns=netns, master=self._bridges[vxnet_id])
        self._netlink(netns).set_up(leg, manager)

    def _fabric(self) -> Netlink:
        return self._netlink(self._names.fabric)

    def _netlink(self, netns: str) -> Netlink:
        if not self._open:
            raise EmulatorError("the data plane is not open")
        if netns not in self._netlinks:
            self._netlinks[netns] = Netlink(netns)
        return self._netlinks[netns]


def _transit(text: str) -> IPv4Network:
    try:
        transit = IPv4Network(text)
    except ValueError as error:
        raise EmulatorError(f"uplink {text!r}: {error}") from error
    if transit.prefixlen > 30:
        raise EmulatorError(f"uplink {text!r} has no room for two addresses")
    return transit


@contextlib.contextmanager
def _reported(what: str) -> t.Iterator[None]:
    try:
        yield
    except (OSError, KeyError, NameTaken) as error:
        raise DataPlaneError(f"{what}: {error!r}") from error
