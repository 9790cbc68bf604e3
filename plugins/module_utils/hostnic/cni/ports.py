# SPDX-License-Identifier: GPL-3.0-or-later
"""What the verbs need of the pool and of the kernel."""

from __future__ import annotations

import typing as t

from ..errors import HostnicError
from ..model import Fixed, KnownVxnet, Lease, LeaseKey, Nic, Placed, PodLink, PodState

# Whether the caller is gone; asked often, answers at once.
Cancelled = t.Callable[[], bool]


class NicPool(t.Protocol):
    """Thread-safe; deadlines are seconds of `ports.Clock`."""

    def acquire(
        self,
        key: LeaseKey,
        args: dict[str, str],
        deadline: float,
        cancelled: Cancelled,
        vxnets: tuple[str, ...] = (),
        fixed: t.Optional[Fixed] = None,
    ) -> tuple[Nic, bool]:
        """Reserve a NIC; True where this key held one before. Raises at the deadline or once cancelled."""

    def unable(self, vxnets: tuple[str, ...], gateway: bool) -> t.Optional[HostnicError]:
        """Why no ADD can be served now, None where one can; from memory. `gateway`: it needs a gateway NIC."""

    def commit(self, key: LeaseKey, netns_inode: int, ifindex: int) -> None:
        """The NIC is in the pod and configured."""

    def abort(self, key: LeaseKey, touched_pod: bool) -> None:
        """ADD failed and the NIC is back in parking."""

    def release(self, key: LeaseKey, returned: bool) -> None:
        """The attachment is over; `returned`: its link is back in parking, else it was found nowhere."""

    def lease(self, key: LeaseKey) -> t.Optional[Lease]:
        """None where this attachment holds nothing."""

    def attachments(self, network: str) -> list[LeaseKey]:
        """Those of this network that hold a NIC."""

    def found_in(self, netns_inode: int, ifname: str) -> t.Optional[Lease]:
        """The stand-in for a lease that a lost journal has forgotten, of the NIC found in that netns."""

    def take_over(self, lease: Lease, key: LeaseKey, args: dict[str, str]) -> bool:
        """The stand-in becomes this attachment's lease; False where it has ended meanwhile."""

    def nic(self, nic_id: str) -> t.Optional[Nic]:
        """None where it is not ours."""

    def vxnet(self, vxnet_id: str) -> KnownVxnet:
        """From memory; raises `Busy` where it was not read yet."""

    def gateway(self, vxnet_id: str, deadline: float, cancelled: Cancelled) -> str:
        """The address, without prefix, of the host's foot in this vxnet; may wait for it to be made."""

    def standing_gateway(self, vxnet_id: str) -> str:
        """As `gateway`, "" where there is none now."""

    def masquerade(self, network: str, vxnet_id: str, wanted: bool) -> None:
        """Whether what this network's pods in the vxnet send out of the VPC by their host is masqueraded (ipMasq)."""

    def host_address(self) -> str:
        """The host's primary address, "" where it is not known."""

    def poke(self) -> None:
        """Have waiters look at `cancelled` again."""


class PodLinks(t.Protocol):
    """The part of `ports.Links` that concerns pods. Every method raises `LinkFailed`."""

    def to_pod(self, mac: str, netns: int, pod: PodLink) -> Placed:
        """From parking into this netns, configured."""

    def from_pod(self, mac: str, netns: t.Optional[int], ifname: str, ifindex: int) -> bool:
        """Back to parking from wherever it is; False where it was found nowhere."""

    def in_pod(self, mac: str, netns: int, ifname: str) -> bool:
        """Whether the netns holds it under this name."""

    def look(self, netns: int, ifname: str) -> t.Optional[PodState]:
        """What this interface is now; None where there is none of this name."""

    def retrieve(self, mac: str, netns_inode: int = 0, ifindex: int = 0) -> bool:
        """Back to parking from any netns of the machine; False where it was found nowhere."""

    def host_findings(self, iface: str) -> t.Sequence[str]:
        """What on this host keeps services from working, a sentence each."""
