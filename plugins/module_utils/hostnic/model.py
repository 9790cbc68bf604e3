# SPDX-License-Identifier: GPL-3.0-or-later
"""The nouns: what the cloud tells, what the kernel tells, what the journal keeps. Plain frozen data."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass, field

from .errors import HostnicError, InvalidConfig, VxnetFull
from .states import State

POOL: t.Final = "pool"
GATEWAY: t.Final = "gateway"
GATEWAY_LINKS: t.Final = "qg"  # how the names of gateway NICs' links on the host begin


def nic_names(instance_id: str, gatewayns: str) -> dict[str, str]:
    """Purpose ► nic_name. The name carries ownership: what is not called so is never touched."""
    return {POOL: f"qingcni_{instance_id}", GATEWAY: f"{gatewayns}-gw_{instance_id}"}


def gateway_link(nic_id: str) -> str:
    """The name of a gateway NIC's link on the host: 14 of the 15 characters that a name may have."""
    return GATEWAY_LINKS + nic_id.replace(":", "")


# -- what the cloud tells (DescribeNics, DescribeVxnets, DescribeInstances) -------------------------------------------


@dataclass(frozen=True)
class CloudNic:
    """An item of DescribeNics. `nic_id` is the MAC address in lower case; `role` 1 is the primary NIC."""

    nic_id: str
    nic_name: str
    vxnet_id: str
    private_ip: str
    status: str  # "available" | "in-use"
    instance_id: str  # "" when free
    role: int = 0
    created: float = field(default=0.0, compare=False)  # Unix seconds, 0 where the cloud does not tell
    changed: float = field(default=0.0, compare=False)  # since when it has its status

    @property
    def attached(self) -> bool:
        return self.status == "in-use"


@dataclass(frozen=True)
class Vxnet:
    """A layer-2 network; `network` and `gateway` are empty where it is not joined to a router."""

    vxnet_id: str
    network: str = ""  # CIDR, e.g. 172.16.1.0/24
    gateway: str = ""  # the router's manager_ip
    router_id: str = ""
    available: t.Optional[int] = None  # free addresses when it was read
    name: str = field(default="", compare=False)

    @property
    def prefix(self) -> int:
        return ipaddress.ip_network(self.network).prefixlen

    def problem(self) -> t.Optional[HostnicError]:
        """Why no NIC for a pod can be made here, or None."""
        if not self.network or not self.gateway:
            return InvalidConfig(f"vxnet {self.vxnet_id} is in no router", remedy="join it to the VPC's router first")
        if self.available == 0:
            remedy = "name another in `vxnet`, or delete unused NICs"
            return VxnetFull(f"vxnet {self.vxnet_id} has no free address", remedy=remedy)
        return None


@dataclass(frozen=True)
class InstanceNic:
    """A NIC among those that DescribeInstances tells of an instance; `role` 1 is the primary one."""

    nic_id: str
    vxnet_id: str
    private_ip: str
    role: int = 0


@dataclass(frozen=True)
class Instance:
    """An item of DescribeInstances. `tags`: id ► name; `created` and `changed` are Unix seconds, 0 where not told."""

    instance_id: str
    name: str = ""
    status: str = ""  # "pending" | "running" | "stopped" | "suspended" | "terminated" | "ceased"
    transition: str = ""  # "creating", "starting" and so on; "" when nothing is under way
    instance_type: str = ""
    zone: str = ""
    image_id: str = ""
    eip: str = ""  # its public address
    nics: tuple[InstanceNic, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    created: float = 0.0
    changed: float = 0.0

    @property
    def gone(self) -> bool:
        """Whether it was deleted: `terminated` can be recovered for two hours, `ceased` is for good."""
        return self.status in ("terminated", "ceased")


# -- what the kernel tells -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """A link in the host's or in the parking netns; `mac` is the permanent address where the kernel gives one."""

    mac: str
    name: str
    ifindex: int
    place: str  # "host" | "parking"
    up: bool = False
    mtu: int = 1500


@dataclass(frozen=True)
class Route:
    """`via` empty: on-link."""

    dst: str
    via: str = ""


@dataclass(frozen=True)
class PodLink:
    """What a NIC is configured with inside a pod; `address` carries the prefix length."""

    ifname: str
    address: str
    routes: tuple[Route, ...] = ()
    mtu: t.Optional[int] = None


@dataclass(frozen=True)
class Placed:
    """What a NIC is once it is in a pod. `pci_id`: e.g. 0000:00:05.0, "" where it is no PCI device."""

    ifindex: int
    mtu: int
    pci_id: str = ""


@dataclass(frozen=True)
class PodState:
    """What an interface in a pod's netns is now. `mac` is what it sends with. `permanent` tells which NIC it is: the
    permanent MAC where the kernel gives one, else the same; "" of a bridge, a macvlan and the like.

    `addresses` carry their prefix lengths; `routes` are the IPv4 ones of every table that leave by it, but for those
    that came with its addresses.
    """

    mac: str
    permanent: str
    ifindex: int
    up: bool
    mtu: int
    addresses: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    pci_id: str = ""


@dataclass(frozen=True)
class Fixed:
    """A fixed address for a workload, which keeps it for `keep` seconds after its DEL."""

    address: str
    workload: str
    keep: float = 0.0


@dataclass(frozen=True)
class Waiter:
    """An ADD that waits: the vxnets that it accepts, none for any, and the address that it must have, "" for any."""

    vxnets: tuple[str, ...] = ()
    address: str = ""

    def accepts(self, nic: Nic) -> bool:
        return (not self.vxnets or nic.vxnet_id in self.vxnets) and self.address in ("", nic.private_ip)


@dataclass(frozen=True)
class PodPlace:
    """Where a NIC's link was found: a netns, by its inode, under this name and index."""

    netns_inode: int
    ifname: str
    ifindex: int


# -- what the journal keeps (times are seconds of the boot clock; the journal is bound to the boot id) ---------------


@dataclass(frozen=True)
class Nic:
    """A NIC of ours. `doomed`: on its way out; `purpose`: POOL or GATEWAY; `note`: why it is where it is.

    `workload` and `keep`: whose fixed address this is, and for how many seconds after its DEL it stays so. `marked`:
    since when nobody has any use for it, 0 where somebody has.
    """

    nic_id: str
    vxnet_id: str
    private_ip: str
    state: State
    since: float
    purpose: str = POOL
    doomed: bool = False
    prewarmed: bool = False
    attempts: int = 0
    note: str = ""
    workload: str = ""
    keep: float = 0.0
    marked: float = 0.0

    key: t.ClassVar[tuple[str, ...]] = ("nic_id",)


@dataclass(frozen=True)
class LeaseKey:
    """What CNI calls an attachment: the same key always means the same lease."""

    network: str
    container_id: str
    ifname: str

    def __str__(self) -> str:
        return f"{self.network}/{self.container_id}/{self.ifname}"


@dataclass(frozen=True)
class Lease:
    """Which attachment holds which NIC; the netns' inode and the link's index are second witnesses."""

    network: str
    container_id: str
    ifname: str
    nic_id: str
    since: float
    netns_inode: int = 0
    ifindex: int = 0
    args: dict[str, str] = field(default_factory=dict)  # CNI_ARGS, e.g. K8S_POD_NAME

    key: t.ClassVar[tuple[str, ...]] = ("network", "container_id", "ifname")

    @property
    def attachment(self) -> LeaseKey:
        return LeaseKey(self.network, self.container_id, self.ifname)

    @property
    def pod(self) -> str:
        return pod_of(self.args)


def pod_of(args: t.Mapping[str, str]) -> str:
    """`namespace/name` as the runtime's CNI_ARGS have it, "" where they name no pod."""
    name = args.get("K8S_POD_NAME", "")
    return f"{args.get('K8S_POD_NAMESPACE', '')}/{name}" if name else ""


@dataclass(frozen=True)
class Intent:
    """A side effect about to happen or whose outcome is not known yet."""

    intent_id: str
    action: str  # "create" | "attach" | "detach" | "delete"
    since: float
    vxnet_id: str = ""
    count: int = 0
    nic_ids: tuple[str, ...] = ()
    job_id: str = ""
    purpose: str = POOL
    private_ips: tuple[str, ...] = ()

    key: t.ClassVar[tuple[str, ...]] = ("intent_id",)


@dataclass(frozen=True)
class KnownVxnet:
    """The last reading of a vxnet, kept so that pods start while the API is away.

    `host_address`: that of the host's own NIC in it, "" where the host has none.
    """

    vxnet_id: str
    network: str
    gateway: str
    router_id: str
    host_address: str = ""

    key: t.ClassVar[tuple[str, ...]] = ("vxnet_id",)


@dataclass(frozen=True)
class Fact:
    """Something worth remembering that was found out about this cloud, or that a person has ordered."""

    name: str
    value: str

    key: t.ClassVar[tuple[str, ...]] = ("name",)


Record = t.Union[Nic, Lease, Intent, KnownVxnet, Fact]
RECORDS: t.Final[tuple[type, ...]] = (Nic, Lease, Intent, KnownVxnet, Fact)
