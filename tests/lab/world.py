# SPDX-License-Identifier: GPL-3.0-or-later
"""What the emulated cloud of a lab holds, and which addresses it takes; pure."""

from __future__ import annotations

import ipaddress
import secrets
import string
import typing as t
from dataclasses import dataclass
from ipaddress import IPv4Network

from tests.lab.errors import LabError
from tests.lab.paths import PREFIX

ZONE = "lab1"
NETWORK = "172.16.0.0/16"
POD_VXNETS = 2
_TRANSITS = tuple(
    f"{network}.{last}/30" for last in (252, 248) for network in ("100.64.255", "198.18.255", "10.255.255")
)  # one for each lab
_ROUTER = "rtr-lab00000"
_FIRST_HOST = 11


@dataclass(frozen=True)
class Vxnet:
    vxnet_id: str
    network: IPv4Network

    @property
    def gateway(self) -> str:
        return str(self.network[1])


@dataclass(frozen=True)
class Place:
    """What the cloud gives a node."""

    name: str
    instance_id: str
    address: str
    vxnet: Vxnet


@dataclass(frozen=True)
class Layout:
    """The lab's VPC: its first vxnet is the nodes', the others the pods'."""

    network: IPv4Network

    @classmethod
    def of(cls, text: str) -> Layout:
        try:
            network = IPv4Network(text)
        except ValueError as error:
            raise LabError(f"LAB_NETWORK={text}: {error}") from error
        if network.prefixlen > 22:
            raise LabError(f"LAB_NETWORK={text}: a /22 or larger is needed, for three /24")
        return cls(network)

    def _vxnet(self, number: int, name: str) -> Vxnet:
        block = int(self.network.network_address) + (number << 8)
        return Vxnet(f"vxnet-{name}", IPv4Network((block, 24)))

    @property
    def nodes(self) -> Vxnet:
        return self._vxnet(0, "labnodes")

    @property
    def pods(self) -> list[Vxnet]:
        return [self._vxnet(number, f"labpods{number}") for number in range(1, POD_VXNETS + 1)]

    def place(self, name: str, vxnet_id: str = "") -> Place:
        """By the number in its name: node1, node2... Its primary lies in the nodes' vxnet unless another is named."""
        number = int(name[len("node") :])
        if not 0 < number < 200:
            raise LabError(f"{name}: a lab has room for 199 nodes")
        vxnets = {vxnet.vxnet_id: vxnet for vxnet in (self.nodes, *self.pods)}
        vxnet = vxnets.get(vxnet_id or self.nodes.vxnet_id)
        if vxnet is None:
            raise LabError(f"{name}: no vxnet {vxnet_id}, there are {', '.join(vxnets)}")
        # among pods from the far end, since the cloud gives them the lowest addresses
        host = _FIRST_HOST - 1 + number if vxnet == self.nodes else -2 - number
        return Place(name, f"i-lab{number:05d}", str(vxnet.network[host]), vxnet)

    def instance(self, place: Place) -> dict[str, t.Any]:
        """In the emulator's words."""
        return {
            "instance_id": place.instance_id,
            "instance_name": place.name,
            "netns": f"{PREFIX}-{place.name}",
            "primary": {"vxnet_id": place.vxnet.vxnet_id, "private_ip": place.address},
        }

    def world(self, names: t.Iterable[str], key: AccessKey) -> dict[str, t.Any]:
        return {
            "zone": ZONE,
            "access_keys": [{"access_key_id": key.key_id, "secret_access_key": key.secret}],
            "routers": [{"router_id": _ROUTER, "vpc_network": str(self.network)}],
            "vxnets": [
                {
                    "vxnet_id": vxnet.vxnet_id,
                    "ip_network": str(vxnet.network),
                    "manager_ip": vxnet.gateway,
                    "router_id": _ROUTER,
                }
                for vxnet in (self.nodes, *self.pods)
            ],
            "instances": [self.instance(self.place(name)) for name in names],
        }


@dataclass(frozen=True)
class AccessKey:
    key_id: str
    secret: str

    @classmethod
    def new(cls) -> AccessKey:
        """Of this lab alone, so that nothing can come to rely on it."""
        key_id = "".join(secrets.choice(string.ascii_uppercase) for _ in range(20))
        return cls(key_id, "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(40)))


def check_free(layout: Layout, destinations: t.Iterable[str]) -> None:
    """Refuse to take over addresses that this machine reaches elsewhere."""
    for network in _networks(destinations):
        if network.overlaps(layout.network):
            raise LabError(
                f"this machine has a route to {network}, inside the lab's {layout.network}: "
                "name a free network with LAB_NETWORK=, for example LAB_NETWORK=10.77.0.0/16"
            )


def transit(layout: Layout, destinations: t.Iterable[str]) -> IPv4Network:
    """A /30 between this machine and the router that is nobody's."""
    taken = [*_networks(destinations), layout.network]
    for text in _TRANSITS:
        network = IPv4Network(text)
        if not any(network.overlaps(other) for other in taken):
            return network
    raise LabError(f"this machine has routes to all of {', '.join(_TRANSITS)}: no room for the lab's uplink")


def _networks(destinations: t.Iterable[str]) -> list[IPv4Network]:
    return [
        ipaddress.IPv4Network(text, strict=False)
        for text in destinations
        if text not in ("default", "0.0.0.0/0", "local", "broadcast")
    ]
