# SPDX-License-Identifier: GPL-3.0-or-later
"""kube-proxy's mode iptables: one rule a service, walked one after the other."""

from __future__ import annotations

import typing as t

from tests.e2e.services.kubeproxy import MASQUERADE, Load, Proxy, Service, digest, script

_NEW: t.Final = "-m conntrack --ctstate NEW "
# In the order in which kube-proxy puts each first: the last one is what packets meet first.
_JUMPS: t.Final = (
    ("filter", "INPUT", "KUBE-EXTERNAL-SERVICES", _NEW),
    ("filter", "FORWARD", "KUBE-EXTERNAL-SERVICES", _NEW),
    ("filter", "INPUT", "KUBE-NODEPORTS", ""),
    ("filter", "FORWARD", "KUBE-SERVICES", _NEW),
    ("filter", "OUTPUT", "KUBE-SERVICES", _NEW),
    ("filter", "FORWARD", "KUBE-FORWARD", ""),
    ("filter", "INPUT", "KUBE-PROXY-FIREWALL", _NEW),
    ("filter", "OUTPUT", "KUBE-PROXY-FIREWALL", _NEW),
    ("filter", "FORWARD", "KUBE-PROXY-FIREWALL", _NEW),
    ("nat", "OUTPUT", "KUBE-SERVICES", ""),
    ("nat", "PREROUTING", "KUBE-SERVICES", ""),
    ("nat", "POSTROUTING", "KUBE-POSTROUTING", ""),
)
_FILTER: t.Final = (
    "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-SERVICES", "KUBE-FORWARD", "KUBE-PROXY-FIREWALL",
)  # fmt: skip
_BIT: t.Final = f"{MASQUERADE:#x}"


def iptables(proxy: Proxy, services: t.Sequence[Service]) -> Load:
    """`iptables-restore` leaves what others have in the tables as it is."""
    nat = ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"]
    filters, nats = list(_forwarding()), list(_masquerading())
    for service in services:
        filters += _refusals(proxy, service)
        chains, rules = _service_chains(proxy, service)
        nat += chains
        nats += rules
    local = '-m addrtype --dst-type LOCAL -m comment --comment "NodePorts: must be the last rule of this chain"'
    nats.append(f"-A KUBE-SERVICES {local} -j KUBE-NODEPORTS")
    text = [*_table("filter", _FILTER, filters), *_table("nat", nat, nats)]
    gone = [*_without("filter", _FILTER), *_without("nat", nat)]
    restore = ("iptables-restore", "--noflush")
    return Load(((restore, script(text)),), ((restore, script(gone)),))


def _table(name: str, chains: t.Iterable[str], rules: t.Iterable[str]) -> list[str]:
    jumps = [f"-I {base} {match}-j {chain}" for table, base, chain, match in _JUMPS if table == name]
    return [f"*{name}", *(f":{chain} - [0:0]" for chain in chains), *jumps, *rules, "COMMIT"]


def _without(name: str, chains: t.Sequence[str]) -> list[str]:
    jumps = [f"-D {base} {match}-j {chain}" for table, base, chain, match in _JUMPS if table == name]
    return [f"*{name}", *jumps, *(f"-F {chain}" for chain in chains), *(f"-X {chain}" for chain in chains), "COMMIT"]


def _forwarding() -> t.Iterator[str]:
    # its workaround for a defect of conntrack before Linux 6.1; --conntrack-tcp-be-liberal leaves it out
    yield "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP"
    yield f"-A KUBE-FORWARD -m mark --mark {_BIT}/{_BIT} -j ACCEPT"
    yield "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


def _masquerading() -> t.Iterator[str]:
    yield f"-A KUBE-MARK-MASQ -j MARK --or-mark {_BIT}"
    yield f"-A KUBE-POSTROUTING -m mark ! --mark {_BIT}/{_BIT} -j RETURN"
    yield f"-A KUBE-POSTROUTING -j MARK --xor-mark {_BIT}"
    yield "-A KUBE-POSTROUTING -j MASQUERADE --random-fully"


def _refusals(proxy: Proxy, service: Service) -> t.Iterator[str]:
    """What has nowhere to go never leaves for somewhere else; a NodePort is let in past a firewall."""
    node_port = f"-p tcp -m addrtype --dst-type LOCAL --dport {service.node_port}"
    if not service.endpoints:
        yield f"-A KUBE-SERVICES -d {service.cluster_ip}/32 -p tcp --dport {service.port} -j REJECT"
        if service.node_port:
            yield f"-A KUBE-EXTERNAL-SERVICES {node_port} -j REJECT"
    elif service.node_port and service.local and not service.on(proxy.node):
        yield f"-A KUBE-EXTERNAL-SERVICES {node_port} -j DROP"


def _service_chains(proxy: Proxy, service: Service) -> tuple[list[str], list[str]]:
    if not service.endpoints:
        return [], []
    tag = digest(f"{service.name}tcp")
    svc, ext, svl = f"KUBE-SVC-{tag}", f"KUBE-EXT-{tag}", f"KUBE-SVL-{tag}"
    to_vip = f"-d {service.cluster_ip}/32 -p tcp --dport {service.port}"
    chains, rules = [svc], [f"-A KUBE-SERVICES {to_vip} -j {svc}"]
    if proxy.masquerade_all:
        rules.append(f"-A {svc} {to_vip} -j KUBE-MARK-MASQ")
    elif proxy.cluster_cidr:
        rules.append(f"-A {svc} ! -s {proxy.cluster_cidr} {to_vip} -j KUBE-MARK-MASQ")
    seps = {endpoint: f"KUBE-SEP-{digest(f'{service.name}tcp{endpoint}')}" for endpoint in service.endpoints}
    rules += _choice(svc, list(seps.values()))
    if service.node_port:
        chains.append(ext)
        rules.append(f"-A KUBE-NODEPORTS -p tcp --dport {service.node_port} -j {ext}")
        if not service.local:
            rules += [f"-A {ext} -j KUBE-MARK-MASQ", f"-A {ext} -j {svc}"]
        else:
            if proxy.cluster_cidr:
                rules.append(f"-A {ext} -s {proxy.cluster_cidr} -j {svc}")
            rules.append(f"-A {ext} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ")
            rules.append(f"-A {ext} -m addrtype --src-type LOCAL -j {svc}")
            if here := [seps[endpoint] for endpoint in service.on(proxy.node)]:
                chains.append(svl)
                rules += [f"-A {ext} -j {svl}", *_choice(svl, here)]
    for endpoint, sep in seps.items():
        chains.append(sep)
        rules.append(f"-A {sep} -s {endpoint.address}/32 -j KUBE-MARK-MASQ")
        rules.append(f"-A {sep} -p tcp -j DNAT --to-destination {endpoint}")
    return chains, rules


def _choice(chain: str, targets: t.Sequence[str]) -> t.Iterator[str]:
    for number, target in enumerate(targets):
        left = len(targets) - number
        chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        yield f"-A {chain} {chance}-j {target}"
