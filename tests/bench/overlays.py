# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods of two nodes by what the product replaces: the distribution's bridge + host-local, routed or over VXLAN.

Every node has a bridge with the pods' gateway, as kubenet, cni0 of flannel and others do. What goes to the other node's
pods is routed by the node: straight over its own NIC, as flannel's host-gw, or into a VXLAN device, as flannel's vxlan.
"""

from __future__ import annotations

import contextlib
import json
import typing as t
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


@contextlib.contextmanager
def routed(nodes: t.Sequence[Node]) -> t.Iterator[list[End]]:
    """A pod on each of two nodes, of networks that are for documentation."""
    with _pods(nodes, "bench-bridge", IPv4Network("203.0.113.0/24"), 1500) as (ends, networks):
        for here, there in ((0, 1), (1, 0)):
            nodes[here].run(["ip", "route", "add", str(networks[there]), "via", nodes[there].address])
        try:
            yield ends
        finally:
            for here, there in ((0, 1), (1, 0)):
                nodes[here].run(["ip", "route", "del", str(networks[there])], check=False)


@contextlib.contextmanager
def tunnelled(nodes: t.Sequence[Node]) -> t.Iterator[list[End]]:
    """The same through VXLAN. Raises `LabError` in the end where nothing has gone through."""
    with (
        _pods(nodes, "bench-vxlan", IPv4Network("198.51.100.0/24"), 1450) as (ends, networks),
        contextlib.ExitStack() as undo,
    ):
        for here, there in ((0, 1), (1, 0)):
            node, other = nodes[here], nodes[there]
            link = ["ip", "link", "add", _TUNNEL, "type", "vxlan", "id", "83", "dev", "eth0", "dstport", str(_PORT)]
            node.run([*link, "local", node.address, "remote", other.address, "nolearning"])
            undo.callback(node.run, ["ip", "link", "del", _TUNNEL], check=False)
            node.run(["ip", "addr", "add", f"{networks[here][0]}/32", "dev", _TUNNEL])
            node.run(["ip", "link", "set", _TUNNEL, "up"])
            way = ["via", str(networks[there][0]), "dev", _TUNNEL, "onlink"]
            node.run(["ip", "route", "add", str(networks[there]), *way])
        yield ends
        for node in nodes:
            [shown] = json.loads(node.run(["ip", "-json", "-statistics", "link", "show", _TUNNEL]).stdout)
            if not shown["stats64"]["rx"]["bytes"]:
                raise LabError(f"{node.name}: nothing came through {_TUNNEL}")


@contextlib.contextmanager
def _pods(
    nodes: t.Sequence[Node], name: str, network: IPv4Network, mtu: int
) -> t.Iterator[tuple[list[End], list[IPv4Network]]]:
    """With the network of each node's pods."""
    networks, ends = list(network.subnets(1)), []
    with contextlib.ExitStack() as undo:
        for node, subnet in zip(nodes, networks):
            forward = node.run(["cat", _FORWARD]).stdout
            undo.callback(node.run, ["tee", _FORWARD], stdin=forward)
            node.run(["ip", "netns", "add", name])
            undo.callback(node.run, ["ip", "netns", "del", name], check=False)
            undo.callback(node.run, ["ip", "link", "del", name], check=False)  # the bridge
            ipam = {"type": "host-local", "subnet": str(subnet), "routes": [{"dst": "0.0.0.0/0"}]}
            conf = {"bridge": name, "isGateway": True, "mtu": mtu, "ipam": ipam}
            undo.callback(_call, node, "DEL", name, conf)
            result = json.loads(_call(node, "ADD", name, conf))
            address = result["ips"][0]["address"].partition("/")[0]
            ends.append(End(str(node.path(f"/run/netns/{name}")), address))
        yield ends, networks


def _call(node: Node, verb: str, name: str, conf: t.Mapping[str, t.Any]) -> str:
    environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": name, "CNI_NETNS": f"/run/netns/{name}",
                   "CNI_IFNAME": "eth0", "CNI_PATH": "/usr/lib/cni"}  # fmt: skip
    whole = {"cniVersion": "1.0.0", "name": name, "type": "bridge", **conf}
    argv = ["env", *(f"{key}={value}" for key, value in environment.items()), _PLUGIN]
    return node.run(argv, stdin=json.dumps(whole)).stdout
