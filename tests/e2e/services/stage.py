# SPDX-License-Identifier: GPL-3.0-or-later
"""The cases put on the nodes of a lab: pods, kube-proxy's rules, and what came of it."""

from __future__ import annotations

import contextlib
import json
import typing as t
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_network

from tests.e2e.cluster import Cluster
from tests.e2e.services import capture, cases, fabric, traffic
from tests.e2e.services.cases import POD_NODES, Case
from tests.e2e.services.kubeproxy import Proxy, Service, script
from tests.e2e.services.modes import MODES
from tests.e2e.services.pods import Pod
from tests.lab.lab import Node
from tests.lab.wait import until


@dataclass(frozen=True)
class Flags:
    """Of kube-proxy. `cluster_cidr`: the VPC's network is given."""

    masquerade_all: bool = False
    cluster_cidr: bool = False


@dataclass(frozen=True)
class Outcome:
    """Of one case: what failed, whom the server saw, and the links that both directions took."""

    error: str
    source: str
    requests: tuple[str, ...]
    replies: tuple[str, ...]

    @classmethod
    def of(cls, case: Case) -> Outcome:
        """As it should be."""
        return cls("", case.source, case.requests, case.replies)


@dataclass(frozen=True)
class Batch:
    """Of all cases that ran at once, by number; every ICMP redirect meanwhile; node ► who masqueraded how often."""

    outcomes: t.Mapping[str, Outcome]
    redirects: t.Sequence[str]
    masquerades: t.Mapping[str, Counter[str]]

    @property
    def failed(self) -> set[str]:
        return {number for number, outcome in self.outcomes.items() if outcome.error}


class Stage:
    """Names are those of `cases`. See `staged`."""

    def __init__(self, cluster: Cluster, nodes: t.Mapping[str, Node], played: t.Sequence[Case], outside: str) -> None:
        self.cluster = cluster
        self.nodes = nodes
        self.cases = tuple(played)
        self.ports = cases.ports(self.cases)
        a, b = cluster.lab.vxnets[:2]
        vxnets = {"a": a, "b": b, "c": a, "d": b, "g": a}
        named = {name for case in played for name in (case.client, case.server)}
        self.pods = {
            name: Pod(name, nodes[host], vxnets[name[0]], self._host_ports(name), default_by_host=name[0] == "g")
            for name, host in POD_NODES.items()
            if name in named
        }
        (router,) = cluster.lab.control("GET", "state")["routers"]
        self._vpc = router["vpc_network"]
        self.addresses = {"out": outside, **{name: node.address for name, node in nodes.items()}}
        self._spaces = {"out": f"/run/netns/{fabric.OUTSIDE}"}
        self._spaces |= {name: fabric.inside_node(node.pid) for name, node in nodes.items()}
        self._spaces |= {name: pod.path for name, pod in self.pods.items()}

    def _host_ports(self, name: str) -> dict[int, int]:
        mapped = [case for case in self.cases if case.via == cases.HOST_PORT and case.server == name]
        return {self.ports[case.number].node: self.ports[case.number].target for case in mapped}

    @contextlib.contextmanager
    def standing(self) -> t.Iterator[Stage]:
        """With pods, gateway NICs and the nodes' own tables; the nodes are as they were afterwards."""
        pods = list(self.pods.values())
        with ThreadPoolExecutor(len(pods)) as pool, contextlib.ExitStack() as undo:
            for node in self.nodes.values():
                sweep(node)
                undo.callback(_without_new_tables, node, _tables(node))
            list(pool.map(Pod.delete, pods))  # of a run that was killed
            undo.callback(lambda: list(pool.map(Pod.delete, pods)))
            list(pool.map(Pod.add, pods))
            fabric.forget_neighbours()
            self.addresses |= {pod.name: pod.address for pod in pods}
            self._names = self._look_around()
            yield self

    def _look_around(self) -> capture.Names:
        """Learn the nodes' NICs; returns when each node's nftables table knows where its own NIC lies."""
        nics = {pod.mac: pod.name for pod in self.pods.values()}
        vxnets = {vxnet.vxnet_id: letter for letter, vxnet in zip("ab", self.cluster.lab.vxnets)}
        for name, node in self.nodes.items():
            (primary,) = [nic for nic, item in self.cluster.cloud_nics(node).items() if item["role"] == 1]
            nics[primary] = name
            for nic, item in self.gateways(node).items():
                nics[nic] = f"{name}.{vxnets[item['vxnet_id']]}"
                self.addresses[nics[nic]] = item["private_ip"]
            until(partial(self._table_is_complete, node), 30, f"{name}: its place in the table")
        return fabric.known_as(self.cluster.lab, nics)

    def gateways(self, node: Node) -> dict[str, dict[str, t.Any]]:
        pool = self.cluster.pool(node)
        return {nic_id: nic for nic_id, nic in pool.items() if nic["state"] == "GATEWAY"}

    def _table_is_complete(self, node: Node) -> bool:
        """The agent's table follows its pool a moment later."""
        among_pods = any(ip_address(node.address) in ip_network(vxnet.cidr) for vxnet in self.cluster.lab.vxnets)
        redirects = node.run(["nft", "list", "chain", "ip", "qingcni", "output"]).stdout
        return ('"eth0"' in redirects) == among_pods

    # -- running --

    @contextlib.contextmanager
    def proxied(self, mode: str, flags: Flags, known: t.Sequence[Service] = ()) -> t.Iterator[None]:
        """Every node has kube-proxy's rules for the services of the cases, or for these."""
        known = known or cases.services(self.cases, self.addresses)
        cidr = self._vpc if flags.cluster_cidr else ""
        loads = {
            name: MODES[mode](Proxy(name, node.address, flags.masquerade_all, cidr), known)
            for name, node in self.nodes.items()
        }
        with contextlib.ExitStack() as undo:
            for name, node in self.nodes.items():
                _execute(node, loads[name].apply)
                undo.callback(_execute, node, loads[name].remove)
            yield

    def play(self, patience: float = traffic.PATIENCE) -> Batch:
        """All cases at the same time."""
        talks = {case.number: self._talk(case) for case in self.cases}
        by_port = {port: name for name, number in self.ports.items() for port in (number.target, number.node)}
        before = {name: masquerades(node) for name, node in self.nodes.items()}
        with capture.Capture(fabric.FABRIC) as captured:
            transfers = traffic.run(talks, patience)
        counted = {name: masquerades(node) - before[name] for name, node in self.nodes.items()}
        seen = capture.conversations(captured.frames, self._names, by_port)
        names = {address: name for name, address in self.addresses.items()}
        outcomes = {
            number: Outcome(
                transfer.error,
                names.get(transfer.source, transfer.source),
                tuple(seen[number].requests),
                tuple(seen[number].replies),
            )
            for number, transfer in transfers.items()
        }
        return Batch(outcomes, capture.redirects(captured.frames, self._names), counted)

    def ask(
        self, client: str, address: tuple[str, int], servers: t.Sequence[str], port: int, times: int
    ) -> set[tuple[str, str]]:
        """Which servers answered at the address, and whom they saw."""
        listening = {name: self._listening(name, port) for name in servers}
        return traffic.scatter(self._spaces[client], address, listening, times)

    def shout(self, client: str, address: tuple[str, int], heard: t.Callable[[], bool]) -> list[str]:
        """Datagrams that nobody answers, until they were `heard`; every ICMP redirect meanwhile."""
        with capture.Capture(fabric.FABRIC) as captured:
            traffic.shout(self._spaces[client], address, heard)
        return capture.redirects(captured.frames, self._names)

    def _listening(self, name: str, port: int) -> traffic.Listening:
        return traffic.Listening(self._spaces[name], (self.addresses[name], port))

    def _talk(self, case: Case) -> traffic.Talk:
        number = self.ports[case.number]
        return traffic.Talk(
            self._spaces[case.client],
            self._listening(case.server, number.target),
            cases.target(case, number, self.addresses),
        )


@contextlib.contextmanager
def staged(cluster: Cluster, nodes: t.Mapping[str, Node], played: t.Sequence[Case]) -> t.Iterator[Stage]:
    """Pods on these nodes, a machine outside, and a router that keeps state."""
    with (
        fabric.outside() as outside,
        fabric.stateful_router(),
        Stage(cluster, nodes, played, outside).standing() as stage,
    ):
        yield stage


def masquerades(node: Node) -> Counter[str]:
    """Connections by who has masqueraded them: the agent's rules by their number, kube-proxy, portmap."""
    ours = {str(number): count for number, count in enumerate(_counters(node, "qingcni", "postrouting"), 1)}
    kube_proxy = [*_counters(node, "nat", "KUBE-POSTROUTING"), *_counters(node, "kube-proxy", "masquerading")]
    return Counter({**ours, "kube-proxy": sum(kube_proxy), "portmap": sum(_counters(node, "nat", "CNI-HOSTPORT-MASQ"))})


def _counters(node: Node, table: str, chain: str) -> list[int]:
    """Of the rules that masquerade; none where there is no such chain."""
    listed = node.run(["nft", "-j", "list", "chain", "ip", table, chain], check=False)
    if listed.returncode:
        return []
    rules = [item["rule"]["expr"] for item in json.loads(listed.stdout)["nftables"] if "rule" in item]
    # nft's own, or as iptables has written it
    masquerading = [
        rule for rule in rules if any(word in json.dumps(rule[-1]) for word in ("masquerade", "MASQUERADE"))
    ]
    return [part["counter"]["packets"] for rule in masquerading for part in rule if "counter" in part]


def sweep(node: Node) -> None:
    """Remove kube-proxy's rules that a killed run has left."""
    saved = node.run(["iptables-save"]).stdout.splitlines()
    kept = [line for line in saved if "KUBE-" not in line]
    if kept != saved:
        node.run(["iptables-restore"], stdin=script(kept))
    node.run(["nft", "-f", "-"], stdin="table ip kube-proxy\ndelete table ip kube-proxy\n")


def _tables(node: Node) -> set[str]:
    return {line.partition(" ")[2] for line in node.run(["nft", "list", "tables"]).stdout.splitlines()}


def _without_new_tables(node: Node, before: set[str]) -> None:
    """iptables leaves its own behind, empty."""
    for table in _tables(node) - before:
        node.run(["nft", "delete", "table", *table.split()])


def _execute(node: Node, commands: t.Iterable[tuple[tuple[str, ...], str]]) -> None:
    for argv, stdin in commands:
        node.run(argv, stdin=stdin)
