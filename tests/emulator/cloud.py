# SPDX-License-Identifier: GPL-3.0-or-later
"""The cloud's books: what exists, who owns it, and how a world is built up in Python."""

from __future__ import annotations

import random
import string
import threading
import typing as t

from tests.emulator.addresses import AddressBook
from tests.emulator.clock import Clock
from tests.emulator.dataplane.base import DataPlane, Port
from tests.emulator.errors import ApiError, EmulatorError
from tests.emulator.models import (
    BASE_NETWORK,
    IN_USE,
    MANAGED,
    PRIMARY,
    AccessKey,
    Instance,
    Job,
    Nic,
    Role,
    Router,
    Tag,
    Vxnet,
    Zone,
)
from tests.emulator.settings import Settings

# GetQuotaLeft's totals; the documented types have no "nic".
QUOTAS: t.Final[t.Mapping[str, int]] = {
    "cpu": 1024,
    "eip": 100,
    "instance": 200,
    "memory": 4194304,
    "router": 20,
    "security_group": 100,
    "tag": 500,
    "volume": 400,
    "vxnet": 200,
}

_ID_LETTERS = string.ascii_lowercase + string.digits
_T = t.TypeVar("_T")


class Cloud:
    """Every reader and writer holds ``lock``; no call into the data plane is made under it but for ``guard``."""

    def __init__(self, settings: Settings, clock: Clock, dataplane: DataPlane, seed: int | None = None) -> None:
        self.settings = settings
        self.clock = clock
        self.dataplane = dataplane
        self.random = random.Random(seed)
        self.lock = threading.RLock()
        self.zones: dict[str, Zone] = {}
        self.access_keys: dict[str, AccessKey] = {}
        self.routers: dict[str, Router] = {}
        self.vxnets: dict[str, Vxnet] = {}
        self.addresses: dict[str, AddressBook] = {}
        self.instances: dict[str, Instance] = {}
        self.nics: dict[str, Nic] = {}
        self.ghosts: list[tuple[float, Nic]] = []  # deleted NICs, and until when DescribeNics shows them
        self.jobs: dict[str, Job] = {}
        self.tags: dict[str, Tag] = {}
        self.last_sequence: dict[str, int] = {}

    # Building a world

    def add_zone(self, zone_id: str, status: str = "active") -> Zone:
        with self.lock:
            return _add(self.zones, zone_id, Zone(zone_id, status))

    def add_access_key(self, access_key_id: str, secret_access_key: str, owner: str) -> AccessKey:
        with self.lock:
            key = AccessKey(access_key_id, secret_access_key, owner, self.clock.now())
            return _add(self.access_keys, access_key_id, key)

    def add_router(
        self,
        router_id: str,
        vpc_network: str | None = None,
        *,
        zone: str | None = None,
        owner: str | None = None,
        router_name: str = "",
    ) -> Router:
        with self.lock:
            router = Router(router_id, self._zone(zone), self._owner(owner), self.clock.now(), vpc_network, router_name)
            _add(self.routers, router_id, router)
        self.dataplane.add_router(router_id, vpc_network)
        return router

    def add_vxnet(
        self,
        vxnet_id: str,
        ip_network: str | None = None,
        *,
        manager_ip: str | None = None,
        router_id: str | None = None,
        vxnet_name: str = "",
        vxnet_type: int = MANAGED,
        zone: str | None = None,
        owner: str | None = None,
        tunnel_type: str | None = None,
        dhcp: bool = True,
    ) -> Vxnet:
        with self.lock:
            if router_id is not None and router_id not in self.routers:
                raise EmulatorError(f"vxnet {vxnet_id}: no router {router_id}")
            if router_id is not None and ip_network is None:
                raise EmulatorError(f"vxnet {vxnet_id} is joined to {router_id} but has no ip_network")
            vxnet = Vxnet(
                vxnet_id, self._zone(zone), self._owner(owner), self.clock.now(), vxnet_name, vxnet_type,
                ip_network, manager_ip, router_id, tunnel_type, dhcp,
            )  # fmt: skip
            book = AddressBook(ip_network, manager_ip, self.random) if ip_network else None
            _add(self.vxnets, vxnet_id, vxnet)
            if book is not None:
                self.addresses[vxnet_id] = book
                vxnet.manager_ip = str(book.manager)
        leg = f"{book.manager}/{book.network.prefixlen}" if book and router_id else None
        self.dataplane.add_vxnet(vxnet_id, router_id, leg)
        return vxnet

    def add_instance(
        self,
        instance_id: str,
        primary_vxnet: str | None = None,
        *,
        private_ip: str | None = None,
        nic_id: str | None = None,
        instance_name: str = "",
        status: str = "running",
        netns: str | None = None,
        zone: str | None = None,
        owner: str | None = None,
        instance_type: str = "c1m1",
        eip: str | None = None,
    ) -> Instance:
        """The primary NIC is made with it, and its link appears as ``eth0`` if the instance runs."""
        with self.lock:
            now = self.clock.now()
            if primary_vxnet is not None and primary_vxnet not in self.vxnets:
                raise EmulatorError(f"instance {instance_id}: no vxnet {primary_vxnet}")
            instance = Instance(
                instance_id, self._zone(zone), self._owner(owner), now, now, instance_name, instance_type,
                status, "", netns, eip,
            )  # fmt: skip
            _add(self.instances, instance_id, instance)
            nic = self._primary(instance, primary_vxnet, private_ip, nic_id) if primary_vxnet else None
            port = self.port_of(nic) if nic and status == "running" else None
        if port is not None:
            self.dataplane.plug([port])
        return instance

    def add_tag(
        self,
        tag_id: str,
        tag_name: str,
        resources: t.Iterable[tuple[str, str]] = (),
        *,
        color: str = "",
        zone: str | None = None,
        owner: str | None = None,
    ) -> Tag:
        """``resources``: (resource_type, resource_id)."""
        with self.lock:
            tag = Tag(tag_id, self._zone(zone), self._owner(owner), self.clock.now(), tag_name, color, set(resources))
            return _add(self.tags, tag_id, tag)

    def set_role(self, instance_id: str, role: str, lifetime: float = 3600.0) -> None:
        with self.lock:
            instance = self.instances.get(instance_id)
            if instance is None:
                raise EmulatorError(f"no instance {instance_id}")
            instance.role = Role(role, instance.owner, lifetime) if role else None

    # Reading

    def new_id(self, kind: str) -> str:
        """``kind-`` and 8 lower-case letters and digits."""
        return f"{kind}-{''.join(self.random.choices(_ID_LETTERS, k=8))}"

    def new_mac(self) -> str:
        prefix = self.settings.mac_prefix.lower().split(":")
        for __ in range(10000):
            rest = [f"{self.random.randrange(256):02x}" for __ in range(6 - len(prefix))]
            mac = ":".join(prefix + rest)
            if mac not in self.nics:
                return mac
        raise ApiError(5200, f"no MAC address left under [{self.settings.mac_prefix}]")

    def nics_of(self, instance_id: str) -> list[Nic]:
        """The attached NICs, the primary first, then by sequence."""
        mine = [nic for nic in self.nics.values() if nic.instance_id == instance_id and nic.status == IN_USE]
        return sorted(mine, key=lambda nic: (-nic.role, nic.sequence))

    def live_jobs(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.live]

    def port_of(self, nic: Nic, instance_id: str | None = None) -> Port | None:
        """None for a NIC whose instance has no netns."""
        instance = self.instances.get(instance_id or nic.instance_id)
        if instance is None or instance.netns is None:
            return None
        ifname = "eth0" if nic.role == PRIMARY else "eth%d"
        return Port(nic.nic_id, nic.vxnet_id, instance.netns, ifname, nic.private_ip, bool(nic.enable_aspoof))

    def tags_of(self, kind: str, resource_id: str) -> list[Tag]:
        return [tag for tag in self.tags.values() if (kind, resource_id) in tag.pairs]

    def visible_nics(self) -> list[Nic]:
        """What DescribeNics knows of now: not those just made, and still those just deleted."""
        now = self.clock.now()
        self.ghosts = [(until, nic) for until, nic in self.ghosts if until > now]
        return [nic for nic in self.nics.values() if nic.visible_from <= now] + [nic for __, nic in self.ghosts]

    def network_of(self, vxnet: Vxnet) -> AddressBook | None:
        """The addresses that a router (or the base network) gives out on the vxnet."""
        if vxnet.router_id is None and vxnet.vxnet_type != BASE_NETWORK:
            return None
        return self.addresses.get(vxnet.vxnet_id)

    def _primary(self, instance: Instance, vxnet_id: str, private_ip: str | None, nic_id: str | None) -> Nic:
        book = self.addresses.get(vxnet_id)
        if book is not None and private_ip is not None:
            book.claim(private_ip)
        elif book is not None:
            private_ip = book.take(None, self.settings, instance.created)
        mac = (nic_id or self.new_mac()).lower()
        nic = Nic(
            mac, instance.zone_id, instance.owner, vxnet_id, private_ip, instance.created, instance.created,
            visible_from=instance.created, status=IN_USE, instance_id=instance.instance_id, role=PRIMARY,
        )  # fmt: skip
        return _add(self.nics, mac, nic)

    def _zone(self, zone: str | None) -> str:
        chosen = zone or next(iter(self.zones), None)
        if chosen not in self.zones or chosen is None:
            raise EmulatorError(f"no zone {zone}" if zone else "add a zone first")
        return chosen

    def _owner(self, owner: str | None) -> str:
        first = next(iter(self.access_keys.values()), None)
        return owner or (first.owner if first else "usr-00000000")


def _add(book: dict[str, _T], key: str, thing: _T) -> _T:
    if key in book:
        raise EmulatorError(f"{key} exists already")
    book[key] = thing
    return thing
