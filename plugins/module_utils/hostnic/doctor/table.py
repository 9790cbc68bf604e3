# SPDX-License-Identifier: GPL-3.0-or-later
"""All checks: what each looks at, and what does it. docs/doctor.md has a row for each."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import agent, cloud, cni, kernel, managers, state
from .finding import Seen
from .patient import Patient

DEADLINE: t.Final = 10.0  # s from the start, after which nobody waits for a check any more


@dataclass(frozen=True)
class Check:
    """`run` yields what it sees; what it raises is why it could not look. `late`: what it means that it hangs."""

    check_id: str
    looks_at: str
    run: t.Callable[[Patient], t.Iterable[Seen]]
    late: t.Optional[Seen] = None


@dataclass(frozen=True)
class Group:
    title: str
    checks: tuple[Check, ...]


GROUPS: t.Final = (
    Group(
        "the agent",
        (
            Check("python", "interpreter and packages that the agent needs", agent.python),
            Check("systemd", "its version", agent.systemd),
            Check("settings", "the agent's configuration can be read and makes sense", agent.settings),
            Check("units", "the three units are installed, and start with the machine", agent.installed),
            Check("agent", "service and socket are active, and the agent answers", agent.runs),
            Check("restarts", "systemd has not had to restart it within the last hour", agent.restarts),
            Check("version", "what runs is what is installed", agent.version),
            Check("settings-in-use", "the agent runs with what its configuration says now", agent.in_use),
            Check("held-still", "no degradation is set, the node is not drained", agent.held_still),
            Check("last-look", "the agent sees the cloud often enough", agent.last_look),
        ),
    ),
    Group(
        "what it keeps",
        (
            Check("state-directory", "directories and files of the agent are root's alone", state.private),
            Check("disk", "room for the journal", state.disk),
            Check("journal", "it can be read, and belongs to this instance", state.journal),
            Check("spool", "DELs of pods that ended while no agent ran are carried out", state.spool),
            Check("parking", "the namespace of ready NICs is there, with them in it", state.parking),
            Check("loose-nics", "no ready NIC lies among the host's links", state.loose),
        ),
    ),
    Group(
        "the host's network",
        (
            Check("iface", "the host's own link is there and carries the default route", kernel.iface),
            Check("forwarding", "the host forwards where pods have a gateway on it", kernel.forwarding),
            Check("forward-policy", "no chain drops forwarded packets by policy", kernel.forward_policy),
            Check("reverse-path", "the source check of the host's own link is not strict", kernel.reverse_path),
            Check("gateway-links", "gateway NICs are up and set as they must be", kernel.gateway_links),
            Check("nft-table", "the agent's nftables table is there", kernel.nft_table),
            Check("kube-proxy", "its mode, and whether pods' services come this way", kernel.kube_proxy),
            Check("mtu", "pods' NICs carry no larger packets than the host's own", kernel.mtu),
            Check("conntrack", "room in the connection-tracking table", kernel.conntrack),
            Check("routes", "no route of the host takes what is for pods", kernel.routes),
        ),
    ),
    Group(
        "other programs on the host",
        (
            Check("networkmanager", "it leaves pods' NICs alone, nm-cloud-setup too", managers.network_manager),
            Check("networkd", "systemd-networkd leaves them alone", managers.networkd),
            Check("netplan", "no pattern of its gets them", managers.netplan),
            Check("cloud-init", "it does not configure hot-plugged NICs", managers.cloud_init),
            Check("cni-configuration", "ours is there, and no other sorts before it", cni.configuration),
            Check("cni-plugin", "each container runtime finds qingcni", cni.executable),
        ),
    ),
    Group(
        "the cloud",
        (
            Check("access-file", "it can be read, and by root alone", cloud.access_file),
            Check("api", "it answers", cloud.api, cloud.NO_ANSWER),
            Check("clock", "this machine's clock is the API's", cloud.clock),
            Check("access-key", "the API takes the key", cloud.access_key),
            Check("key-rights", "what the agent needs is allowed", cloud.rights),
            Check("instance", "this machine is the instance that it says it is", cloud.instance),
            Check("vxnets", "those of pods exist and are joined to a router", cloud.vxnets),
            Check("vxnet-addresses", "they have addresses left", cloud.addresses),
            Check("nic-limit", "the instance has room for max-nics, and is not full", cloud.nic_limit),
            Check("port-security", "the source check of gateway NICs, as far as it can be known", cloud.port_security),
            Check("leaks", "the agent knows all NICs of its name", cloud.leaks),
        ),
    ),
)
CHECKS: t.Final = tuple(check for group in GROUPS for check in group.checks)
