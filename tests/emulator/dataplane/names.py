# SPDX-License-Identifier: GPL-3.0-or-later
"""What the data plane calls its namespaces and links; link names have 15 characters at most."""

from __future__ import annotations

import hashlib
import typing as t

from tests.emulator.errors import EmulatorError

LINK_MAX: t.Final = 15


class Names:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.fabric = f"{prefix}-fabric"
        self.uplink = f"{prefix}-up"
        if not prefix or len(self.uplink) > LINK_MAX or "/" in prefix:
            raise EmulatorError(f"prefix {prefix!r} does not leave {self.uplink} within {LINK_MAX} characters")

    def router(self, number: int) -> str:
        """The netns of the first router (0), the second..."""
        return f"{self.prefix}-router" if number == 0 else f"{self.prefix}-router-{number + 1}"

    def is_namespace(self, name: str) -> bool:
        """One of this data plane's own, not merely something with the same prefix."""
        router = f"{self.prefix}-router"
        stem, __, number = name.rpartition("-")
        return name in (self.fabric, router) or (stem == router and number.isdecimal())


def bridge(vxnet_id: str) -> str:
    """Also the name of the router's leg, in the router's netns."""
    return _short(vxnet_id)


def fabric_leg(vxnet_id: str) -> str:
    """The fabric's end of the router's leg."""
    return "leg-" + hashlib.sha256(vxnet_id.encode()).hexdigest()[:10]


def port(nic_id: str) -> str:
    """The fabric's end of a NIC."""
    return "n" + nic_id.replace(":", "")


def _short(name: str) -> str:
    if len(name) <= LINK_MAX:
        return name
    return "vx-" + hashlib.sha256(name.encode()).hexdigest()[:12]
