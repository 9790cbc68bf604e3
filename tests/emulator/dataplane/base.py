# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cloud asks of a data plane, and the implementation that does nothing."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from tests.emulator.errors import EmulatorError


class DataPlaneError(EmulatorError):
    """The kernel refused something that should have worked."""


@dataclass(frozen=True)
class Port:
    """A NIC on the fabric. ``ifname`` is ``eth0`` for the primary, else the template ``eth%d``."""

    nic_id: str
    vxnet_id: str
    netns: str
    ifname: str
    private_ip: str | None
    guarded: bool


class DataPlane(t.Protocol):
    """Safe to call from any thread; never calls back into the cloud."""

    def open(self, port_security: str) -> None:
        """Make the fabric, with port security ``off``, ``mac`` or ``mac+ip``."""

    def close(self) -> None:
        """Take everything away; may be called twice."""

    def add_router(self, router_id: str, vpc_network: str | None) -> None:
        """A namespace that routes, with no leg yet."""

    def add_vxnet(self, vxnet_id: str, router_id: str | None, manager: str | None) -> None:
        """``manager`` is the router's address on the vxnet with its prefix length; None leaves the leg out."""

    def remove_leg(self, vxnet_id: str) -> None:
        """Take the router's leg away from a vxnet."""

    def plug(self, ports: t.Sequence[Port]) -> set[str]:
        """Make links appear in their instances' netns; the NICs that the kernel refused.

        A NIC whose netns is not there is dark: remembered, and lit by the next ``plug`` that finds the netns.
        """

    def unplug(self, nic_ids: t.Sequence[str]) -> None:
        """Make the links disappear, wherever the guest moved them."""

    def dark(self) -> set[str]:
        """The plugged NICs that have no link, since their instance's netns was not there."""

    def guard(self, port: Port) -> None:
        """Take over a changed address or ``guarded`` of a plugged port."""

    def set_port_security(self, mode: str) -> None:
        """``off``, ``mac`` or ``mac+ip``, for all ports."""

    def settled(self) -> bool:
        """No lost link is waiting to be put back."""

    def links_put_back(self) -> dict[str, int]:
        """By NIC: how often its link died with its netns and was replaced."""

    def reset_counters(self) -> None:
        """No link was put back yet."""


class NoDataPlane:
    """The HTTP API alone."""

    def open(self, port_security: str) -> None:
        pass

    def close(self) -> None:
        pass

    def add_router(self, router_id: str, vpc_network: str | None) -> None:
        pass

    def add_vxnet(self, vxnet_id: str, router_id: str | None, manager: str | None) -> None:
        pass

    def remove_leg(self, vxnet_id: str) -> None:
        pass

    def plug(self, ports: t.Sequence[Port]) -> set[str]:
        return set()

    def unplug(self, nic_ids: t.Sequence[str]) -> None:
        pass

    def dark(self) -> set[str]:
        return set()

    def guard(self, port: Port) -> None:
        pass

    def set_port_security(self, mode: str) -> None:
        pass

    def settled(self) -> bool:
        return True

    def links_put_back(self) -> dict[str, int]:
        return {}

    def reset_counters(self) -> None:
        pass
