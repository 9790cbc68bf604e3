# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof: a pod on every node, by the node's own runtime, and packets between them."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass

from tests.lab.cri import Cri, Pod
from tests.lab.errors import LabError
from tests.lab.lab import Lab, Node
from tests.lab.table import table


@dataclass(frozen=True)
class Placed:
    node: Node
    pod: Pod


def run(lab: Lab, name: str = "demo") -> list[Placed]:
    """One pod a node; those of the same name from an earlier run make room first."""
    placed = []
    for node in lab.nodes:
        with node.cri() as cri:
            cri.wait_ready()
            _clear(cri, name)
            placed.append(Placed(node, cri.run_pod(name)))
    return placed


def _clear(cri: Cri, name: str) -> None:
    for pod in cri.pods():
        if pod.name == name and pod.namespace == "default":
            cri.remove_pod(pod)


def remove(lab: Lab, name: str = "demo") -> None:
    for node in lab.nodes:
        with node.cri() as cri:
            _clear(cri, name)


def prove(lab: Lab, placed: t.Sequence[Placed]) -> str:
    """Ping from every pod to every other and to its router; returns the table, raises LabError for a silence."""
    rows = []
    for source in placed:
        with source.node.cri() as cri:
            mac = cri.exec(source.pod, ["cat", "/sys/class/net/eth0/address"]).stdout.strip()
            targets = [(other.node.name, other.pod.ip) for other in placed if other is not source]
            targets.append(("router", _router(lab, source.pod.ip)))
            for name, address in targets:
                trip = ping(cri, source.pod, address)
                rows.append(
                    (source.node.name, source.pod.name, mac, source.pod.ip, f"{name} {address}", f"{trip:.3f} ms")
                )
    return table(("node", "pod", "NIC", "address", "to", "round trip"), rows)


def _router(lab: Lab, address: str) -> str:
    for vxnet in lab.vxnets:
        if ipaddress.ip_address(address) in ipaddress.ip_network(vxnet.cidr):
            return vxnet.gateway
    raise LabError(f"a pod got {address}, from none of the pods' vxnets: its runtime used another CNI configuration")


def ping(cri: Cri, pod: Pod, address: str) -> float:
    """The average round trip in milliseconds; raises LabError unless every packet came back."""
    done = cri.exec(pod, ["ping", "-c", "5", "-i", "0.2", "-W", "2", address])
    match = re.search(r"(\d+)% packet loss", done.stdout)
    if done.exit_code or not match or match[1] != "0":
        raise LabError(f"{pod.ip} does not reach {address}: {(done.stdout + done.stderr).strip()}")
    times = re.search(r"= [\d.]+/([\d.]+)/", done.stdout)
    if times is None:
        raise LabError(f"ping said {done.stdout!r}")
    return float(times[1])
