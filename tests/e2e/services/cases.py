# SPDX-License-Identifier: GPL-3.0-or-later
"""Who talks to whom by which service, whom the server sees, and which way the packets go; pure.

Names: `a1 a2 b1` pods on node 1, `a3 b3` on node 2, in the vxnets a and b; `h1 h2` the nodes by their primaries, which
are in a vxnet of their own; `h1.a h1.b` their gateway NICs; `out` a machine outside the VPC; `r` the VPC router.
On node 3, whose primary `h3` is in vxnet a itself: `c1 c2` in vxnet a, `d1` in vxnet b, with a gateway NIC `h3.b`.
`g1` is a pod on node 1, in vxnet a, with `defaultRoute: gateway`.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from tests.e2e.services.kubeproxy import Endpoint, Service

VIP: t.Final = "ClusterIP"
NODE_PORT: t.Final = "NodePort"
LOCAL: t.Final = "NodePort Local"
HOST_PORT: t.Final = "hostPort"
SERVICES: t.Final = "10.96.0.0/12"
POD_NODES: t.Final = {
    "a1": "h1", "a2": "h1", "b1": "h1", "g1": "h1", "a3": "h2", "b3": "h2", "c1": "h3", "c2": "h3", "d1": "h3",
}  # fmt: skip
_TARGETS: t.Final = 20000  # the first port of servers and ClusterIPs
_NODE_PORTS: t.Final = 30000


@dataclass(frozen=True)
class Case:
    """`path`: the links that requests take, `r>h1` for one from the router; replies take them back.

    `via` "" asks `server` itself; `node`: whose NodePort or hostPort. `nat`: who writes `source` over the client's
    address: a rule of the agent's table by its number, `kube-proxy`, `portmap`, or "" where it is written over nowhere.
    """

    number: str
    client: str
    via: str
    server: str
    source: str
    path: str
    node: str = ""
    nat: str = ""

    @property
    def name(self) -> str:
        through = f"{self.node}:{self.via}" if self.node else self.via
        return " > ".join(filter(None, (self.client, through, self.server)))

    @property
    def requests(self) -> tuple[str, ...]:
        return tuple(self.path.split(", "))

    @property
    def replies(self) -> tuple[str, ...]:
        return tuple(">".join(reversed(hop.split(">"))) for hop in reversed(self.requests))

    @property
    def at(self) -> str:
        """The node where DNAT and masquerading happen."""
        return self.node or POD_NODES.get(self.client, self.client)

    def masquerader(self, all_by_kube_proxy: bool) -> str:
        """`nat`, where kube-proxy may run with --masquerade-all; what ends on the client's own host is never NATed."""
        to_own_host = self.client in POD_NODES and POD_NODES[self.client] == self.server
        return "kube-proxy" if all_by_kube_proxy and self.via == VIP and not to_own_host else self.nat


CASES: t.Final = (
    Case("1", "a1", VIP, "a2", "h1.a", "a1>h1.a, h1.a>a2", nat="1"),
    Case("2", "a1", VIP, "a3", "h1.a", "a1>h1.a, h1.a>a3", nat="1"),
    Case("3", "a1", VIP, "b1", "h1.b", "a1>h1.a, h1.b>b1", nat="1"),
    Case("4", "a1", VIP, "b3", "h1.b", "a1>h1.a, h1.b>b3", nat="1"),
    Case("5", "a1", VIP, "a1", "h1.a", "a1>h1.a, h1.a>a1", nat="kube-proxy"),
    Case("6", "a1", VIP, "h2", "h1", "a1>h1.a, h1>h2", nat="1"),
    Case("7", "a1", VIP, "h1", "a1", "a1>h1.a"),
    Case("8", "a1", VIP, "out", "h1", "a1>h1.a, h1>r", nat="1"),
    Case("9", "h1", "", "a1", "h1.a", "h1.a>a1"),
    Case("10", "h1", "", "a3", "h1.a", "h1.a>a3"),
    Case("11", "h1", "", "b1", "h1.b", "h1.b>b1"),
    Case("12", "a1", "", "h1", "a1", "a1>h1.a"),
    Case("13", "a1", "", "h2", "a1", "a1>r, r>h2"),
    Case("14", "a1", "", "a2", "a1", "a1>a2"),
    Case("15", "a1", "", "a3", "a1", "a1>a3"),
    Case("16", "a1", "", "b1", "a1", "a1>r, r>b1"),
    Case("17", "a1", "", "b3", "a1", "a1>r, r>b3"),
    Case("18", "a1", "", "out", "a1", "a1>r"),
    Case("19", "out", "", "a1", "out", "r>a1"),
    Case("20", "h1", VIP, "a2", "h1.a", "h1.a>a2", nat="2"),
    Case("21", "h1", VIP, "a3", "h1.a", "h1.a>a3", nat="2"),
    Case("22", "h1", VIP, "b3", "h1.b", "h1.b>b3", nat="2"),
    Case("22b", "h1", VIP, "h2", "h1", "h1>h2"),
    Case("23", "h2", NODE_PORT, "a2", "h1.a", "h2>h1, h1.a>a2", "h1", nat="kube-proxy"),
    Case("24", "h2", NODE_PORT, "b1", "h1.b", "h2>h1, h1.b>b1", "h1", nat="kube-proxy"),
    Case("25", "h2", NODE_PORT, "a3", "h1.a", "h2>h1, h1.a>a3", "h1", nat="kube-proxy"),
    Case("26", "out", NODE_PORT, "a2", "h1.a", "r>h1, h1.a>a2", "h1", nat="kube-proxy"),
    Case("27", "a3", NODE_PORT, "a2", "h1.a", "a3>r, r>h1, h1.a>a2", "h1", nat="kube-proxy"),
    Case("28", "a1", NODE_PORT, "a2", "h1.a", "a1>h1.a, h1.a>a2", "h1", nat="kube-proxy"),
    Case("29", "a1", NODE_PORT, "a1", "h1.a", "a1>h1.a, h1.a>a1", "h1", nat="kube-proxy"),
    Case("30", "out", LOCAL, "a2", "h1.a", "r>h1, h1.a>a2", "h1", nat="2"),
    Case("31", "h2", LOCAL, "a2", "h1.a", "h2>h1, h1.a>a2", "h1", nat="2"),
    Case("31b", "b3", LOCAL, "a2", "h1.a", "b3>r, r>h1, h1.a>a2", "h1", nat="1"),
    Case("32", "out", HOST_PORT, "a2", "h1.a", "r>h1, h1.a>a2", "h1", nat="2"),
    Case("33", "h2", HOST_PORT, "a2", "h1.a", "h2>h1, h1.a>a2", "h1", nat="2"),
    Case("34", "a2", HOST_PORT, "a2", "h1.a", "a2>h1.a, h1.a>a2", "h1", nat="portmap"),
    Case("35", "b3", HOST_PORT, "a2", "h1.a", "b3>r, r>h1, h1.a>a2", "h1", nat="1"),
    Case("36", "h2", "", "h1", "h2", "h2>h1"),
)

# Node 3: no gateway NIC in vxnet a, its primary is the gateway there; one in vxnet b, for d1.
PRIMARY_CASES: t.Final = (
    Case("p1", "c1", VIP, "c2", "h3", "c1>h3, h3>c2", nat="1"),
    Case("p2", "c1", VIP, "a1", "h3", "c1>h3, h3>a1", nat="1"),
    Case("p3", "c1", VIP, "d1", "h3.b", "c1>h3, h3.b>d1", nat="1"),
    Case("p4", "c1", VIP, "b1", "h3.b", "c1>h3, h3.b>b1", nat="1"),
    Case("p5", "c1", VIP, "c1", "h3", "c1>h3, h3>c1", nat="kube-proxy"),
    Case("p6", "c1", VIP, "h2", "h3", "c1>h3, h3>r, r>h2", nat="1"),
    Case("p7", "c1", VIP, "h3", "c1", "c1>h3"),
    Case("p8", "c1", VIP, "out", "h3", "c1>h3, h3>r", nat="1"),
    Case("p9", "d1", VIP, "c1", "h3", "d1>h3.b, h3>c1", nat="1"),
    Case("p10", "h3", "", "c1", "h3", "h3>c1"),
    Case("p11", "h3", "", "d1", "h3.b", "h3.b>d1"),
    Case("p12", "c1", "", "h3", "c1", "c1>h3"),
    Case("p13", "d1", "", "h3", "d1", "d1>h3.b"),
    Case("p14", "c1", "", "h2", "c1", "c1>r, r>h2"),
    Case("p15", "a1", "", "h3", "a1", "a1>h3"),
    Case("p16", "b3", "", "h3", "b3", "b3>r, r>h3"),
    Case("p17", "c1", "", "d1", "c1", "c1>r, r>d1"),
    Case("p18", "h3", VIP, "a1", "h3", "h3>a1", nat="1"),
    Case("p19", "h3", VIP, "b3", "h3.b", "h3.b>b3", nat="1"),
    Case("p20", "a1", VIP, "c1", "h1.a", "a1>h1.a, h1.a>c1", nat="1"),
    Case("p21", "h2", NODE_PORT, "c1", "h3", "h2.a>h3, h3>c1", "h3", nat="kube-proxy"),
    Case("p22", "c1", NODE_PORT, "c2", "h3", "c1>h3, h3>c2", "h3", nat="kube-proxy"),
    Case("p23", "a1", NODE_PORT, "c1", "h3", "a1>h3, h3>c1", "h3", nat="kube-proxy"),
    Case("p24", "b3", NODE_PORT, "c1", "h3", "b3>r, r>h3, h3>c1", "h3", nat="kube-proxy"),
    Case("p25", "out", LOCAL, "c1", "h3", "r>h3, h3>c1", "h3", nat="3"),
    Case("p26", "a1", LOCAL, "c1", "h3", "a1>h3, h3>c1", "h3", nat="1"),
    Case("p27", "b3", LOCAL, "c1", "h3", "b3>r, r>h3, h3>c1", "h3", nat="1"),
    Case("p28", "a3", "", "c1", "a3", "a3>c1"),
)

# The same node before a pod of vxnet b came: it has no gateway NIC at all.
ALONE_CASES: t.Final = (
    Case("s1", "c1", VIP, "c2", "h3", "c1>h3, h3>c2", nat="1"),
    Case("s2", "c1", VIP, "a1", "h3", "c1>h3, h3>a1", nat="1"),
    Case("s3", "c1", VIP, "b1", "h3", "c1>h3, h3>r, r>b1", nat="1"),
    Case("s4", "c1", VIP, "c1", "h3", "c1>h3, h3>c1", nat="kube-proxy"),
    Case("s5", "c1", VIP, "h3", "c1", "c1>h3"),
    Case("s6", "h3", "", "c1", "h3", "h3>c1"),
    Case("s7", "b1", LOCAL, "c1", "h3", "b1>r, r>h3, h3>c1", "h3", nat="1"),
    Case("s8", "out", HOST_PORT, "c1", "h3", "r>h3, h3>c1", "h3", nat="3"),
)

# What a pod with `defaultRoute: gateway` reaches, and is reached by; of the rest half of the packets pass the host.
BY_HOST_CASES: t.Final = (
    Case("g1", "g1", VIP, "a3", "h1.a", "g1>h1.a, h1.a>a3", nat="1"),
    Case("g2", "g1", VIP, "b3", "h1.b", "g1>h1.a, h1.b>b3", nat="1"),
    Case("g3", "g1", "", "a3", "g1", "g1>a3"),
    Case("g4", "g1", "", "h1", "g1", "g1>h1.a"),
    Case("g5", "a3", "", "g1", "a3", "a3>g1"),
)
HALF_BY_HOST_CASES: t.Final = (
    Case("g6", "g1", "", "b3", "g1", "g1>h1.a, h1.b>b3"),
    Case("g7", "g1", "", "h2", "g1", "g1>h1.a, h1>h2"),
    Case("g8", "b1", "", "g1", "b1", "b1>r, r>g1"),
    Case("g9", "out", "", "g1", "out", "r>g1"),
)


@dataclass(frozen=True)
class Ports:
    """Of one case, so that its packets are known wherever they are seen, whatever NAT did to the other end."""

    number: int

    @property
    def target(self) -> int:
        """Where the server listens, and the port of its ClusterIP."""
        return _TARGETS + self.number

    @property
    def node(self) -> int:
        return _NODE_PORTS + self.number


def ports(cases: t.Sequence[Case]) -> dict[str, Ports]:
    """By the case's number."""
    return {case.number: Ports(number) for number, case in enumerate(cases)}


def services(cases: t.Sequence[Case], addresses: t.Mapping[str, str]) -> tuple[Service, ...]:
    """What kube-proxy knows of: one service a case. `addresses`: name ► address."""
    found = []
    for case in cases:
        number = ports(cases)[case.number]
        if case.via not in (VIP, NODE_PORT, LOCAL):
            continue
        endpoint = Endpoint(addresses[case.server], number.target, POD_NODES.get(case.server, ""))
        vip = cluster_ip(number)
        exposed = number.node if case.via != VIP else 0
        found.append(Service(f"case-{case.number}", vip, number.target, (endpoint,), exposed, case.via == LOCAL))
    return tuple(found)


def cluster_ip(number: Ports) -> str:
    return f"10.96.0.{number.number + 1}"


def target(case: Case, number: Ports, addresses: t.Mapping[str, str]) -> tuple[str, int]:
    """Whom the client asks."""
    if case.node:
        return addresses[case.node], number.node
    if case.via == VIP:
        return cluster_ip(number), number.target
    return addresses[case.server], number.target


# -- what fails without what it needs ---------------------------------------------------------------------------------


def replies_for_another(case: Case) -> bool:
    """The last reply leaves a gateway NIC with an address that is not its own: the service's, or its host's."""
    return "." in case.replies[-1].partition(">")[0] and case.client in POD_NODES


def by_router_from_a_pod(case: Case) -> bool:
    """A node hears by its primary from a pod that its gateway NIC is nearer to."""
    return case.client in POD_NODES and any(hop.startswith("r>h") for hop in case.requests)


def forwarded_unmarked(case: Case) -> bool:
    """A node's forwarding takes it, and kube-proxy has not marked it for masquerading."""
    return case.nat not in ("", "kube-proxy") and case.client != case.at


def by_a_primary_for_a_service(case: Case) -> bool:
    """The last reply leaves a primary with a service's address."""
    return case.via == VIP and case.client in POD_NODES and "." not in case.replies[-1].partition(">")[0]


def numbers(played: t.Iterable[Case], chosen: t.Callable[[Case], bool]) -> set[str]:
    return {case.number for case in played if chosen(case)}
