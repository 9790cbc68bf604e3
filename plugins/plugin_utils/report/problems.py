# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with a fleet, the worst first, each thing once with all the nodes that it is wrong with. Pure."""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass

from .answers import ERROR, FAILED, SILENT, UNREACHABLE, WARNING, Finding, Fleet, Node, Vxnet

SCARCE: t.Final = 10  # free addresses of a vxnet that are worth a warning
MOST_UNKNOWN: t.Final = 100


@dataclass(frozen=True)
class Problem:
    """`nodes`: name ► what is to be said of that one besides, mostly nothing; empty where it is about no node."""

    severity: str
    what: str
    remedy: str
    nodes: tuple[tuple[str, str], ...] = ()


def find(fleet: Fleet) -> tuple[Problem, ...]:
    told: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    usual = usual_digest(fleet.nodes)
    for node in fleet.nodes:
        theirs = ((one, "") for one in node.findings if not _about_a_broken_nic(node, one))
        for finding, more in (*_of_the_node(node, usual), *theirs):
            told.setdefault((finding.severity, finding.what, finding.remedy), []).append((node.name, more))
    found = [Problem(*key, tuple(dict.fromkeys(nodes))) for key, nodes in told.items()]
    found += _of_the_cloud(fleet)
    return tuple(sorted(found, key=lambda one: (one.severity != ERROR, -len(one.nodes), one.what)))


def unknown(fleet: Fleet) -> tuple[Problem, ...]:
    """What nobody has answered, with the reason in place of a remedy; that nodes are silent is among the problems."""
    told: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for node in fleet.nodes:
        for what, why in node.unasked:
            told.setdefault((what, why), []).append((node.name, ""))
    alike: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
    for (what, why), nodes in told.items():
        alike.setdefault((why, tuple(nodes)), []).append(what)
    found = [Problem("", _together(whats), why, nodes) for (why, nodes), whats in alike.items()]
    if isinstance(fleet.vxnets, str):
        found.append(Problem("", "How many addresses are free in vxnets", fleet.vxnets))
    if isinstance(fleet.strays, str):
        found.append(Problem("", "Whether NICs of dead instances are left", fleet.strays))
    return tuple(sorted(found, key=lambda one: (bool(one.nodes), -len(one.nodes), one.what)))[:MOST_UNKNOWN]


def of_node(node: Node, usual: str) -> tuple[Finding, ...]:
    """All that is wrong with this one, the worst first."""
    own = [
        Finding(one.severity, f"{one.what} ({more})" if more else one.what, one.remedy, one.check)
        for one, more in _of_the_node(node, usual)
    ]
    return tuple(sorted((*own, *node.findings), key=lambda one: one.severity != ERROR))


def usual_digest(nodes: t.Sequence[Node]) -> str:
    """The package that most nodes run or, where no agent answers, have; of two the greater, so that it stays one."""
    counts = Counter(filter(None, (node.running or node.installed for node in nodes)))
    return max(counts, key=lambda digest: (counts[digest], digest), default="")


def relevant(fleet: Fleet) -> tuple[Vxnet, ...]:
    """Vxnets in which the nodes have NICs, or may get some; those that the cloud has not told of, too."""
    used = sorted({nic.vxnet_id for node in fleet.nodes for nic in node.nics if nic.vxnet_id})
    known = () if isinstance(fleet.vxnets, str) else fleet.vxnets
    told = [vxnet for vxnet in known if vxnet.vxnet_id in used or vxnet.vxnet_id in fleet.configured]
    there = {vxnet.vxnet_id for vxnet in told}
    return (*told, *(Vxnet(vxnet_id, "", "", None) for vxnet_id in used if vxnet_id not in there))


_FAULTS: t.Final[t.Mapping[str, Finding]] = {
    UNREACHABLE: Finding(
        ERROR, "Unreachable: nothing is known of the node", "look whether it runs, and why SSH does not get there"
    ),
    FAILED: Finding(
        ERROR, "Reached, but it could not be asked", "what Ansible says, below; `site.yml` needs the same of a node"
    ),
    SILENT: Finding(
        ERROR,
        "The agent does not answer",
        "`journalctl -u qingagent` on the node says why; `systemctl start qingagent`",
    ),
}


# -- inside ------------------------------------------------------------------------------------------------------------


def _of_the_node(node: Node, usual: str) -> t.Iterator[tuple[Finding, str]]:
    """What this report notices itself, each with what is particular to the node."""
    if node.fault:
        yield _FAULTS[node.fault], node.why
    broken = len([nic for nic in node.nics if nic.kind == "b"])
    if broken:
        yield (
            Finding(
                WARNING,
                "NICs are broken: their links are nowhere",
                "`qingagent pool` says why; the agent keeps them, and tries again",
            ),
            f"{broken} of {len(node.nics)}",
        )
    if node.running and node.installed and node.running != node.installed:
        yield (
            Finding(
                WARNING,
                "The agent runs another package than the one that is installed",
                "`systemctl restart qingagent` on the node",
            ),
            f"{node.running} instead of {node.installed}",
        )
    here = node.running or node.installed
    if here and here != usual:
        yield Finding(WARNING, "A package runs that most other nodes do not have", "run `upgrade.yml`"), here
    if node.draining:
        yield (
            Finding(WARNING, "Drained: no pod starts here", "`qingagent resume`, once it has been serviced"),
            "",
        )


def _about_a_broken_nic(node: Node, finding: Finding) -> bool:
    """The agent complains of each; they are counted above, and told at the node."""
    return any(nic.nic_id in finding.what for nic in node.nics if nic.kind == "b" and nic.nic_id)


def _together(whats: t.Sequence[str]) -> str:
    """One sentence: "Not asked: a" and "Not asked: b" are "Not asked: a, b"."""
    kinds: dict[str, list[str]] = {}
    for what in sorted(whats):
        kind, __, rest = what.partition(": ")
        kinds.setdefault(kind, []).append(rest)
    return "; ".join(f"{kind}: {', '.join(rests)}" for kind, rests in kinds.items())


def _of_the_cloud(fleet: Fleet) -> t.Iterator[Problem]:
    for vxnet in relevant(fleet):
        name = f"{vxnet.vxnet_id} ({vxnet.name})" if vxnet.name else vxnet.vxnet_id
        if vxnet.reason:
            yield Problem(ERROR, f"No NIC can be made in {name}", vxnet.reason)
        elif vxnet.available is not None and vxnet.available < SCARCE:
            yield Problem(WARNING, f"Only {vxnet.available} addresses are free in {name}", "name one more in `vxnet`")
    if not isinstance(fleet.strays, str) and fleet.strays:
        count = len(fleet.strays)
        yield Problem(
            WARNING,
            f"NICs of dead instances take addresses: {count}",
            "`ansible localhost -m qingcloud.cni.hostnic_sweep -a state=absent` deletes them",
        )
