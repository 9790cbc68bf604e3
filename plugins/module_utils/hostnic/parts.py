# SPDX-License-Identifier: GPL-3.0-or-later
"""What the reconciler and its observers work with, handed around as one."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .config import Settings
from .model import GATEWAY, CloudNic, Nic, gateway_link, nic_names
from .orders import Orders
from .pool import Pool
from .ports import Clock, Cloud, Guard, Links
from .probed import Probed
from .survey import Survey
from .table import Table
from .telemetry import SILENCE, Telemetry


@dataclass(frozen=True)
class Parts:
    """`dice`: 0 <= x < 1; `level`: how much of the cloud may be changed, see `sizing.NO_WRITES`."""

    instance_id: str
    cloud: Cloud
    links: Links
    guard: Guard
    table: Table
    orders: Orders
    pool: Pool
    survey: Survey
    clock: Clock
    dice: t.Callable[[], float]
    level: t.Callable[[], str]
    probed: Probed = Probed()
    listener: Telemetry = SILENCE

    @property
    def settings(self) -> Settings:
        """Those that count now, read at each use: see `Pool`."""
        return self.pool.settings

    @property
    def names(self) -> dict[str, str]:
        """Purpose ► the name of our NICs in the cloud."""
        return nic_names(self.instance_id, self.settings.gatewayns)

    def purpose(self, cloud: CloudNic) -> str:
        """POOL, GATEWAY, or "" for a NIC that is not ours."""
        return next((purpose for purpose, name in self.names.items() if name == cloud.nic_name), "")

    def here(self, cloud: CloudNic) -> bool:
        """Attached to this instance."""
        return cloud.attached and cloud.instance_id == self.instance_id

    def protect(self, *more: str) -> None:
        """Tell the host's network managers of all our NICs, and of these."""
        self.guard.protect([*(nic.nic_id for nic in self.table.nics()), *more])

    def stand_gateway(self, nic: Nic) -> None:
        """As a gateway NIC should be, whatever a reboot or a network manager made of it. Raises `LinkFailed`."""
        prefix = self.pool.vxnet(nic.vxnet_id).network.partition("/")[2]
        self.links.host_gateway(nic.nic_id, gateway_link(nic.nic_id), f"{nic.private_ip}/{prefix}")


def in_place(nic: Nic, links: t.Mapping[str, t.Any]) -> bool:
    """Whether its link is where a NIC that serves has it; a gateway's goes to its place on the host from anywhere."""
    link = links.get(nic.nic_id)
    return link is not None and (nic.purpose == GATEWAY or link.place == "parking")
