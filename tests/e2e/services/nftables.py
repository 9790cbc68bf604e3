# SPDX-License-Identifier: GPL-3.0-or-later
"""kube-proxy's mode nftables: a table of its own, services looked up in maps."""

from __future__ import annotations

import typing as t

from tests.e2e.services.kubeproxy import MASQUERADE, Endpoint, Load, Proxy, Service, digest, script

_BIT: t.Final = f"{MASQUERADE:#x}"
_TABLE: t.Final = "ip kube-proxy"
# name, type, hook, priority, rules: of the chains that packets meet by themselves
_BASES: t.Final = (
    ("filter-prerouting", "filter", "prerouting", -110, ()),
    ("filter-input", "filter", "input", -110, ("ct state new jump endpoints-check",)),
    ("filter-forward", "filter", "forward", -110, ("ct state new jump endpoints-check",
                                                   "ct state new jump cluster-ips-check")),
    ("filter-output", "filter", "output", -110, ("ct state new jump endpoints-check",)),
    ("filter-output-post-dnat", "filter", "output", -90, ("ct state new jump cluster-ips-check",)),
    ("nat-prerouting", "nat", "prerouting", -100, ("jump services",)),
    ("nat-output", "nat", "output", -100, ("jump services",)),
    ("nat-postrouting", "nat", "postrouting", 100, ("jump masquerading",)),
)  # fmt: skip


def nftables(proxy: Proxy, services: t.Sequence[Service]) -> Load:
    """No `ct state invalid drop` in this mode, and NodePorts on the node's primary address alone."""
    maps: dict[str, list[str]] = {"service-ips": [], "service-nodeports": [], "no-endpoint-services": [],
                                  "no-endpoint-nodeports": []}  # fmt: skip
    chains = {
        "services": ["ip daddr . meta l4proto . th dport vmap @service-ips",
                     "ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports"],
        "endpoints-check": ["ip daddr . meta l4proto . th dport vmap @no-endpoint-services",
                            "ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports"],
        "cluster-ips-check": ["ip daddr @cluster-ips reject"],
        "mark-for-masquerade": [f"meta mark set meta mark or {_BIT}"],
        "masquerading": [f"meta mark and {_BIT} == 0 return", f"meta mark set meta mark xor {_BIT}",
                         "counter masquerade fully-random"],
        "reject-chain": ["reject"],
    }  # fmt: skip
    for service in services:
        _nft_service(proxy, service, maps, chains)
    body = [
        *_set("cluster-ips", sorted({service.cluster_ip for service in services})),
        *_set("nodeport-ips", [proxy.address]),
        *(line for name, elements in maps.items() for line in _map(name, elements)),
        *(line for name, rules in chains.items() for line in ("chain " + name + " {", *rules, "}")),
        *(line for name, kind, hook, priority, rules in _BASES
          for line in (f"chain {name} {{", f"type {kind} hook {hook} priority {priority};", *rules, "}")),
    ]  # fmt: skip
    head = [f"table {_TABLE}", f"delete table {_TABLE}"]
    run = ("nft", "-f", "-")
    return Load(((run, script([*head, f"table {_TABLE} {{", *body, "}"])),), ((run, script(head)),))


def _set(name: str, addresses: t.Sequence[str]) -> t.Iterator[str]:
    yield from (f"set {name} {{", "type ipv4_addr", f"elements = {{ {', '.join(addresses)} }}", "}")


def _map(name: str, elements: t.Sequence[str]) -> t.Iterator[str]:
    address = "" if name.endswith("nodeports") else "ipv4_addr . "
    yield f"map {name} {{"
    yield f"type {address}inet_proto . inet_service : verdict"
    if elements:
        yield f"elements = {{ {', '.join(elements)} }}"
    yield "}"


def _nft_service(
    proxy: Proxy, service: Service, maps: dict[str, list[str]], chains: dict[str, list[str]]
) -> None:  # fmt: skip
    vip, node_port = f"{service.cluster_ip} . tcp . {service.port}", f"tcp . {service.node_port}"
    here = service.on(proxy.node)
    if not service.endpoints:
        maps["no-endpoint-services"].append(f"{vip} : goto reject-chain")
        if service.node_port:
            maps["no-endpoint-nodeports"].append(f"{node_port} : goto reject-chain")
        return
    tag = f"{digest(service.name)[:8]}-{service.name}"
    maps["service-ips"].append(f"{vip} : goto service-{tag}")
    if service.node_port and service.local and not here:
        maps["no-endpoint-nodeports"].append(f"{node_port} : drop")
    if service.node_port:
        maps["service-nodeports"].append(f"{node_port} : goto external-{tag}")
        chains[f"external-{tag}"] = external = []
        if not service.local:
            external += ["jump mark-for-masquerade", f"goto service-{tag}"]
        else:
            if proxy.cluster_cidr:
                external.append(f"ip saddr {proxy.cluster_cidr} goto service-{tag}")
            external += ["fib saddr type local jump mark-for-masquerade", f"fib saddr type local goto service-{tag}"]
            if here:
                external.append(f"goto local-{tag}")
                chains[f"local-{tag}"] = [_pick(service, here)]
    chains[f"service-{tag}"] = rules = []
    to_vip = f"ip daddr {service.cluster_ip} tcp dport {service.port}"
    if proxy.masquerade_all:
        rules.append(f"{to_vip} jump mark-for-masquerade")
    elif proxy.cluster_cidr:
        rules.append(f"{to_vip} ip saddr != {proxy.cluster_cidr} jump mark-for-masquerade")
    rules.append(_pick(service, service.endpoints))
    for endpoint in service.endpoints:
        chains[_endpoint_chain(service, endpoint)] = [
            f"ip saddr {endpoint.address} jump mark-for-masquerade",
            f"meta l4proto tcp dnat to {endpoint}",
        ]


def _endpoint_chain(service: Service, endpoint: Endpoint) -> str:
    return f"endpoint-{digest(f'{service.name}{endpoint}')[:8]}-{service.name}"


def _pick(service: Service, endpoints: t.Sequence[Endpoint]) -> str:
    chosen = (f"{number} : goto {_endpoint_chain(service, endpoint)}" for number, endpoint in enumerate(endpoints))
    return f"numgen random mod {len(endpoints)} vmap {{ {', '.join(chosen)} }}"
