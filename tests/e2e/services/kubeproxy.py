# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules that kube-proxy lays on a node for given services, as data; pure.

After Kubernetes 1.31: its reference "Virtual IPs and Service Proxies" and the rules that a node of that version shows.
TCP and IPv4 alone, without session affinity, load balancers and health checks. kube-proxy itself is not run.
"""

from __future__ import annotations

import base64
import hashlib
import typing as t
from dataclasses import dataclass

VERSION: t.Final = "1.31"
MASQUERADE: t.Final = 0x4000  # --iptables-masquerade-bit, --nftables masqueradeBit: 14


@dataclass(frozen=True)
class Endpoint:
    """`node` is "" for one that is no pod of the cluster."""

    address: str
    port: int
    node: str = ""

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Service:
    """`node_port` 0: none. `local`: externalTrafficPolicy."""

    name: str
    cluster_ip: str
    port: int
    endpoints: tuple[Endpoint, ...]
    node_port: int = 0
    local: bool = False

    def on(self, node: str) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint in self.endpoints if endpoint.node == node)


@dataclass(frozen=True)
class Proxy:
    """One node's kube-proxy: the node's name and address, and the flags that change rules.

    `cluster_cidr` "" is the default: what is not known to be a pod's is not masqueraded for that reason.
    """

    node: str
    address: str
    masquerade_all: bool = False
    cluster_cidr: str = ""


@dataclass(frozen=True)
class Load:
    """What to run, each with its standard input."""

    apply: tuple[tuple[tuple[str, ...], str], ...]
    remove: tuple[tuple[tuple[str, ...], str], ...]


def digest(text: str) -> str:
    """16 characters, as in the names of kube-proxy's chains."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:16]


def script(lines: t.Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
