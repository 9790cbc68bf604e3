# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods of two nodes by what the product replaces: the distribution's bridge + host-local, routed or over VXLAN.

Every node has a bridge with the pods' gateway, as kubenet, cni0 of flannel and others do. What goes to the other node's
pods is routed by the node: straight over its own NIC, as flannel's host-gw, or into a VXLAN device, as flannel's vxlan.
"""

from __future__ import annotations

import json
import typing as t
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network

from tests.lab.errors import LabError
from tests.lab.lab import Node

_PLUGIN: t.Final = "/usr/lib/cni/bridge"
_FORWARD: t.Final = "/proc/sys/net/ipv4/ip_forward"
_TUNNEL: t.Final = "bench-tunnel"
_PORT: t.Final = 8472


@dataclass(frozen=True)
class End:
    """A network namespace, by its path here, and its address."""

    netns: str
    address: str


@contextmanager
def routed(nodes: t.Sequence[Node]) -> t.Iterator[list[End]]:
    """A pod on each of two nodes, of networks that are for documentation."""
    with _pods(nodes, "bench-bridge", IPv4Network("203.0.113.0/24"), 1500) as (ends, networks), ExitStack() as undo:
        for here, there in ((0, 1), (1, 0)):
            way = [str(networks[there]), "via", nodes[there].address]
            nodes[here].run(["ip", "route", "replace", *way])
            undo.callback(nodes[here].run, ["ip", "route", "del", *way], check=False)
        yield ends


@contextmanager
def tunnelled(nodes: t.Sequence[Node]) -> t.Iterator[list[End]]:
    """The same through VXLAN. Raises `LabError` in the end where nothing has gone through."""
    with _pods(nodes, "bench-vxlan", IPv4Network("198.51.100.0/24"), 1450) as (ends, networks), ExitStack() as undo:
        for here, there in ((0, 1), (1, 0)):
            undo.enter_context(_tunnel(nodes[here], nodes[there], networks[here], networks[there]))
        yield ends
        for node in nodes:
            [shown] = json.loads(node.run(["ip", "-json", "-statistics", "link", "show", _TUNNEL]).stdout)
            if not shown["stats64"]["rx"]["bytes"]:
                raise LabError(f"{node.name}: nothing came through {_TUNNEL}")


@contextmanager
def _tunnel(node: Node, other: Node, own: IPv4Network, others: IPv4Network) -> t.Iterator[None]:
    """The device has the first address of its node's network, and so answers for it."""
    link = ["ip", "link", "add", _TUNNEL, "type", "vxlan", "id", "83", "dev", "eth0", "dstport", str(_PORT)]
    with _gone(node, ["ip", "link", "del", _TUNNEL]):
        node.run([*link, "local", node.address, "remote", other.address, "nolearning"])
        node.run(["ip", "addr", "add", f"{own[0]}/32", "dev", _TUNNEL])
        node.run(["ip", "link", "set", _TUNNEL, "up"])
        node.run(["ip", "route", "add", str(others), "via", str(others[0]), "dev", _TUNNEL, "onlink"])
        yield


@contextmanager
def _pods(
    nodes: t.Sequence[Node], name: str, network: IPv4Network, mtu: int
) -> t.Iterator[tuple[list[End], list[IPv4Network]]]:
    """With the network of each node's pods."""
    networks, ends = list(network.subnets(1)), []
    with ExitStack() as undo:
        for node, subnet in zip(nodes, networks):
            undo.callback(node.run, ["tee", _FORWARD], stdin=node.run(["cat", _FORWARD]).stdout)  # the plugin sets it
            undo.enter_context(_gone(node, ["ip", "link", "del", name]))  # the bridge
            undo.enter_context(_gone(node, ["ip", "netns", "del", name]))
            undo.enter_context(_gone(node, ["rm", "-rf", f"/var/lib/cni/networks/{name}"]))
            ipam = {"type": "host-local", "subnet": str(subnet), "routes": [{"dst": "0.0.0.0/0"}]}
            conf = {"bridge": name, "isGateway": True, "mtu": mtu, "ipam": ipam}
            node.run(["ip", "netns", "add", name])
            undo.callback(_call, node, "DEL", name, conf)
            result = json.loads(_call(node, "ADD", name, conf))
            address = result["ips"][0]["address"].partition("/")[0]
            ends.append(End(str(node.path(f"/run/netns/{name}")), address))
        yield ends, networks


@contextmanager
def _gone(node: Node, argv: t.Sequence[str]) -> t.Iterator[None]:
    """Run it before, for what a killed run has left, and after."""
    node.run(argv, check=False)
    try:
        yield
    finally:
        node.run(argv, check=False)


def _call(node: Node, verb: str, name: str, conf: t.Mapping[str, t.Any]) -> str:
    environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": name, "CNI_NETNS": f"/run/netns/{name}",
                   "CNI_IFNAME": "eth0", "CNI_PATH": "/usr/lib/cni"}  # fmt: skip
    whole = {"cniVersion": "1.0.0", "name": name, "type": "bridge", **conf}
    argv = ["env", *(f"{key}={value}" for key, value in environment.items()), _PLUGIN]
    return node.run(argv, stdin=json.dumps(whole)).stdout
