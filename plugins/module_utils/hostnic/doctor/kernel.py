# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the host's own network: what pods' packets meet there."""

from __future__ import annotations

import ipaddress
import typing as t

from ..model import GATEWAY_LINKS
from ..net import host_findings, nft
from ..net.host_findings import Trouble
from ..net.sysctl import GATEWAY_LINK
from . import cni, units
from .finding import CannotTell, Seen, error, unchecked, warning
from .patient import Patient

NEARLY_FULL: t.Final = 0.75  # of the connection-tracking table
FULL: t.Final = 0.95
_PROXIES: t.Final = ("KUBE-SERVICES", "KUBE-PROXY")  # chains by iptables, a table by nftables


def iface(patient: Patient) -> t.Iterator[Seen]:
    own = patient.reader.host.own_link(patient.settings.iface)
    if own.doubt:
        better = own.better or "the link that this machine is reached by"
        say = warning if own.there else error
        yield say(
            own.doubt, f"set iface (qingagent_iface of the role) to {better}, then systemctl restart {units.AGENT}"
        )


def forwarding(patient: Patient) -> t.Iterator[Seen]:
    """The agent switches it on where it is needed; whoever switches it off again is told of here."""
    gateways = patient.gateways()
    if gateways and patient.reader.sysctl("ipv4/ip_forward") == "0":
        what = f"this host does not forward, though {', '.join(gateways)} is pods' way to services"
        yield error(what, "sysctl -w net.ipv4.ip_forward=1")


def forward_policy(patient: Patient) -> t.Iterator[Seen]:
    link = patient.settings.iface
    yield from _told(patient, host_findings.nftables(link, patient.reader.run, patient.chains()))
    names = patient.reader.at("/proc/net/ip_tables_names")
    yield from _told(patient, host_findings.legacy_iptables(link, patient.reader.run, names))


def reverse_path(patient: Patient) -> t.Iterator[Seen]:
    link = patient.settings.iface
    both = [patient.reader.sysctl(f"ipv4/conf/{scope}/rp_filter") for scope in ("all", link)]
    yield from _told(patient, host_findings.reverse_path(link, *both))


def _told(patient: Patient, troubles: t.Sequence[Trouble]) -> t.Iterator[Seen]:
    """Where pods have no gateway on this host yet, nobody misses it yet."""
    if troubles:
        say = error if patient.gateways() else warning
        for trouble in troubles:
            yield say(trouble.what, " && ".join(trouble.remedies))


def gateway_links(patient: Patient) -> t.Iterator[Seen]:
    for link in [name for name in patient.gateways() if name.startswith(GATEWAY_LINKS)]:
        for key, wanted in GATEWAY_LINK.items():
            if key == "send_redirects":  # our table drops those
                continue
            found = patient.reader.sysctl(f"ipv4/conf/{link}/{key}")
            if found != wanted:
                what = f"{key} of the gateway NIC {link} is {found} instead of {wanted}: services fail for some pods"
                yield error(what, f"sysctl -w net/ipv4/conf/{link}/{key}={wanted}")
        if not int(patient.reader.text(f"/sys/class/net/{link}/flags"), 16) & 1:
            yield error(f"the gateway NIC {link} is down: services fail for pods", f"ip link set dev {link} up")


def nft_table(patient: Patient) -> t.Iterator[Seen]:
    found = {(chain["family"], chain["table"]) for chain in host_findings.chains(patient.chains())}
    if ("ip", nft.NAME) not in found:
        what = f"the nftables table ip {nft.NAME} is not there: pods reach no service by this host"
        yield error(what, f"systemctl restart {units.AGENT}")


def kube_proxy(patient: Patient) -> t.Iterator[Seen]:
    if "kube-ipvs0" in patient.reader.host.macs() or _serves_by_ipvs(patient):
        yield warning(
            "kube-proxy runs in ipvs mode, which was not tried with pods on NICs of their own",
            "set mode: iptables or nftables in kube-proxy's configuration, or masqueradeAll: true for ipvs",
        )
        return
    chains = host_findings.chains(patient.chains())
    if not any(chain["name"] in _PROXIES or chain["table"] == "kube-proxy" for chain in chains):
        return
    plugin = cni.our_plugin(patient)
    if plugin and not plugin.get("isGateway") and plugin.get("defaultRoute", "router") == "router":
        yield warning(
            "kube-proxy runs here, but pods are not told to send services' packets through this host",
            "set qingcni_routes to the service network, such as [{dst: 10.96.0.0/12}], run the playbook "
            "qingcloud.cni.site, and start pods anew",
        )


def _serves_by_ipvs(patient: Patient) -> bool:
    try:
        return any(
            line.startswith(("TCP", "UDP", "FWM")) for line in patient.reader.text("/proc/net/ip_vs").split("\n")
        )
    except CannotTell:
        return False


def mtu(patient: Patient) -> t.Iterator[Seen]:
    link = patient.settings.iface
    own = patient.reader.mtu(link)
    plugin = cni.our_plugin(patient)
    chosen = plugin.get("mtu") if plugin else None
    pods = {chosen} if isinstance(chosen, int) and chosen else set(patient.reader.parked().values())
    if pods and max(pods) > own:
        yield warning(
            f"pods' NICs have an MTU of {max(pods)} and the host's own {link} one of {own}: where {own} is what the "
            "network carries, large packets are lost",
            f"ip link set dev {link} mtu {max(pods)}, or qingcni_mtu: {own} and the playbook qingcloud.cni.site",
        )


def conntrack(patient: Patient) -> t.Iterator[Seen]:
    if not patient.reader.at("/proc/sys/net/netfilter/nf_conntrack_max").exists():
        return  # nothing is tracked here
    used, most = (patient.reader.number(f"netfilter/nf_conntrack_{name}") for name in ("count", "max"))
    if most and used >= NEARLY_FULL * most:
        say = error if used >= FULL * most else warning
        what = f"{used} of {most} places in the connection-tracking table are taken: when it is full, services fail"
        yield say(what, f"sysctl -w net.netfilter.nf_conntrack_max={2 * most}")


def routes(patient: Patient) -> t.Iterator[Seen]:
    """A network of pods that the host looks for elsewhere. By a router is right: that is the way there."""
    vxnets = {vxnet.vxnet_id: ipaddress.ip_network(vxnet.network) for vxnet in patient.journal().vxnets}
    pods = {vxnet_id: network for vxnet_id, network in vxnets.items() if vxnet_id in patient.settings.vxnet}
    if not pods:
        yield unchecked("the agent has not read its vxnets yet")
    links = [patient.settings.iface, *patient.gateways()]
    for link, network, by_router in patient.reader.routes():
        for vxnet_id, pod in pods.items():
            if by_router or link in links or not network.prefixlen or not network.overlaps(pod):
                continue
            what = f"the route {network} dev {link} takes what this host sends to pods of {vxnet_id} ({pod})"
            yield error(what, f"ip route del {network} dev {link}")
