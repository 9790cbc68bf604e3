# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pool needs from the world: a cloud, links, a store, a clock. Adapters implement these."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .model import (
    CloudNic,
    Fact,
    Instance,
    Intent,
    KnownVxnet,
    Lease,
    Link,
    Nic,
    Placed,
    PodLink,
    PodPlace,
    PodState,
    Record,
    Vxnet,
)

# Seconds of a clock that survives a restart of the process and never jumps: CLOCK_BOOTTIME on nodes.
Clock = t.Callable[[], float]


class Cloud(t.Protocol):
    """The QingCloud API. Every method raises one of `errors`; an empty list of ids never becomes an unfiltered call."""

    def create_nics(self, vxnet_id: str, count: int, name: str, private_ips: t.Sequence[str] = ()) -> list[CloudNic]:
        """CreateNics, once, never repeated by itself. An error with `ambiguous` set may have made NICs."""

    def attach_nics(self, nic_ids: t.Sequence[str], instance_id: str) -> str:
        """AttachNics; returns the job id."""

    def detach_nics(self, nic_ids: t.Sequence[str]) -> str:
        """DetachNics; returns the job id."""

    def delete_nics(self, nic_ids: t.Sequence[str]) -> None:
        """DeleteNics."""

    def allow_foreign_sources(self, nic_id: str) -> None:
        """ModifyNicAttributes enable_aspoof=0: frames with another source address may leave this NIC."""

    def describe_nics(
        self,
        nic_ids: t.Optional[t.Sequence[str]] = None,
        name: t.Optional[str] = None,
        instance_id: t.Optional[str] = None,
        vxnet_id: t.Optional[str] = None,
    ) -> list[CloudNic]:
        """All pages of DescribeNics, filtered again here: by ids, exact name, instance or vxnet (at least one)."""

    def all_nics(self) -> list[CloudNic]:
        """Every NIC of the account in the zone: to look for what is ours, never to act upon without another look."""

    def all_vxnets(self) -> list[Vxnet]:
        """Every vxnet of the account in the zone; base networks are not among them."""

    def describe_vxnets(self, vxnet_ids: t.Sequence[str]) -> list[Vxnet]:
        """Base networks included; unknown ids are absent."""

    def describe_jobs(self, job_ids: t.Sequence[str]) -> dict[str, str]:
        """Job id ► status: pending, working, successful, failed, `done with failure`; forgotten jobs are absent."""

    def being_detached(self) -> frozenset[str]:
        """The NICs of this account that a DetachNics which is not over concerns, whoever has sent it."""

    def state(self) -> dict[str, t.Any]:
        """JSON-ready: how fast calls may go now, and whether the API is away."""

    def describe_zones(self) -> dict[str, str]:
        """Zone id ► status."""

    def describe_instances(self, instance_ids: t.Optional[t.Sequence[str]] = None) -> list[Instance]:
        """All pages of DescribeInstances: these ids, unknown ones absent, or all that the account has in the zone.

        Deleted ones may be among them for a while: see `Instance.gone`.
        """


class Links(t.Protocol):
    """The kernel's side. Every method raises `LinkFailed`; MACs are lower case with colons."""

    def list(self) -> list[Link]:
        """Every link of the host's and the parking netns, loopback left out."""

    def park(self, mac: str) -> Link:
        """Bring the link with this MAC from the host's netns into the parking netns, down, bare, named by its MAC.

        Nothing to do where it is there already; `LinkFailed` with `missing=True` in its details where it is in neither.
        """

    def to_pod(self, mac: str, netns: int, pod: PodLink) -> Placed:
        """Move from parking into the netns behind this descriptor, rename, configure.

        After any failure the link is back in parking and the error is raised.
        """

    def from_pod(self, mac: str, netns: t.Optional[int], ifname: str, ifindex: int) -> bool:
        """Bring the link back to parking from wherever it is: that netns, the host's, or parking already.

        Found by MAC, then by index and name; altnames and a changed MAC are undone. False where it was found nowhere.
        """

    def retrieve(self, mac: str, netns_inode: int = 0, ifindex: int = 0) -> bool:
        """Bring the link back to parking from any netns of the machine, tidied as by `from_pod`; False: it is nowhere.

        Found by MAC; then, where a lease names its netns and index, there. Slow unless it is on the host or in parking.
        """

    def in_pod(self, mac: str, netns: int, ifname: str) -> bool:
        """Whether the netns holds a link of this name with this MAC."""

    def look(self, netns: int, ifname: str) -> t.Optional[PodState]:
        """What the interface of this name is there; None where the netns holds none."""

    def host_gateway(self, mac: str, name: str, address: str) -> Link:
        """Configure a gateway NIC in the host's netns: name, address with prefix, sysctls, up. Idempotent."""

    def in_netns(self, macs: t.Collection[str]) -> dict[str, PodPlace]:
        """Where those of these MACs are that sit in any netns but the host's and parking; by permanent MAC first.

        Slow (it visits every netns of the machine): for NICs that nothing else explains.
        """

    def default_route_link(self) -> t.Optional[str]:
        """The MAC of the link that carries the host's default route."""

    def address_of(self, name: str) -> str:
        """The first IPv4 address of the host's link of this name, without prefix; "" where it has none."""

    def host_findings(self, iface: str) -> t.Sequence[str]:
        """Why services may fail on this host, whose own link is `iface`: sentences, each with a remedy."""

    def flush(self, address: str) -> None:
        """Forget connection-tracking and neighbour entries of a released address."""


class Guard(t.Protocol):
    """Tells the host's network managers which NICs are ours, before these appear."""

    def protect(self, macs: t.Iterable[str]) -> None:
        """Exactly these MACs, replacing what was said before; nothing happens where nothing changed."""


@dataclass(frozen=True)
class Journal:
    """All that a store holds. `binding` is (boot id, instance id) of the writer, empty when new."""

    binding: tuple[str, str]
    nics: tuple[Nic, ...] = ()
    leases: tuple[Lease, ...] = ()
    intents: tuple[Intent, ...] = ()
    vxnets: tuple[KnownVxnet, ...] = ()
    facts: tuple[Fact, ...] = ()


class Store(t.Protocol):
    """The journal on disk. One `write` is one transaction."""

    def load(self) -> Journal:
        """What is there."""

    def set_aside(self, why: str) -> None:
        """Keep what is there under another name and begin anew, empty and unbound."""

    def bind(self, boot_id: str, instance_id: str) -> None:
        """Whose journal this is from now on."""

    def write(self, put: t.Iterable[Record] = (), drop: t.Iterable[Record] = (), durable: bool = False) -> None:
        """Insert or replace, and remove by key. `durable`: on disk before this returns (cloud intents)."""

    def close(self) -> None:
        """Nothing may be called afterwards."""
