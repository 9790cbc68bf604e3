# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the page shows of a fleet, worked out to the last word: the template only lays it out. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import typing as t
from collections import Counter
from dataclasses import dataclass, replace

from . import picture, problems
from .answers import ERROR, Finding, Fleet, Nic, Node, Vxnet

# Characters of all tables of NICs. Beyond, they are left out, since nobody reads them, and the page stays below 2 MB.
ROOM: t.Final = 900_000
_ROW: t.Final = 60  # characters of a row's markup
OPEN: t.Final = 1  # nodes whose details are shown from the beginning


@dataclass(frozen=True)
class Detail:
    """How much is shown at most: problems, nodes that one of them names, NICs of dead instances."""

    problems: int
    links: int
    strays: int


FULL: t.Final = Detail(300, 5000, 500)
BRIEF: t.Final = Detail(40, 20, 50)
_BRIEF_TEXT: t.Final = 80  # characters of a sentence then
_BRIEF_FINDINGS: t.Final = 2  # of a node


@dataclass(frozen=True)
class Link:
    """To a node's part of the page. `mark`: "error", "warning" or ""; `more` is said behind the name."""

    anchor: str
    name: str
    mark: str = ""
    more: str = ""


@dataclass(frozen=True)
class ProblemView:
    severity: str
    what: str
    remedy: str
    where: str
    more: str
    links: tuple[Link, ...]
    left_out: int


@dataclass(frozen=True)
class Part:
    """Of a bar. `share` of the whole, in percent."""

    key: str
    said: str
    share: str


@dataclass(frozen=True)
class VxnetView:
    vxnet_id: str
    name: str
    network: str
    parts: tuple[Part, ...]
    said: str
    full: bool
    note: str
    nodes: tuple[Link, ...]


@dataclass(frozen=True)
class VersionView:
    digest: str
    version: str
    usual: bool
    nodes: tuple[Link, ...]


@dataclass(frozen=True)
class NodeView:
    link: Link
    fault: str
    figures: str
    drawn: t.Optional[picture.Picture]
    facts: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    unasked: tuple[tuple[str, str], ...]
    nics: tuple[Nic, ...]
    left_out: int


@dataclass(frozen=True)
class Page:
    at: str
    digest: str
    verdict: str
    worst: str
    problems: tuple[ProblemView, ...]
    problems_left_out: int
    unknown: tuple[ProblemView, ...]
    figures: tuple[tuple[str, str, str], ...]
    legend: tuple[picture.Kind, ...]
    vxnets: tuple[VxnetView, ...]
    vxnets_unknown: str
    strays: tuple[t.Any, ...]
    strays_left_out: int
    strays_unknown: str
    versions: tuple[VersionView, ...]
    nodes: tuple[NodeView, ...]
    jump: tuple[Link, ...]
    open: bool
    tables: bool
    brief: bool


def page(fleet: Fleet, at: str, brief: bool = False) -> Page:
    """`at`: when the answers were got, as the page shows it. `brief`: where all of it would be too much."""
    digest, detail = fingerprint(fleet), BRIEF if brief else FULL
    fleet = _shortened(fleet) if brief else fleet
    found = problems.find(fleet)
    usual = problems.usual_digest(fleet.nodes)
    own = {node.name: problems.of_node(node, usual) for node in fleet.nodes}
    links = {node.name: _link(number, node, own[node.name]) for number, node in enumerate(fleet.nodes, 1)}
    tables = not brief and sum(_ROW + _length(nic) for node in fleet.nodes for nic in node.nics) <= ROOM
    strays = () if isinstance(fleet.strays, str) else fleet.strays
    wrong = [link for link in links.values() if link.mark]
    return Page(
        at=at,
        digest=digest,
        verdict=_verdict(found, len(wrong), len(links)),
        worst=found[0].severity if found else "fine",
        problems=tuple(_problem(one, links, detail) for one in found[: detail.problems]),
        problems_left_out=max(0, len(found) - detail.problems),
        unknown=tuple(_problem(one, links, detail) for one in problems.unknown(fleet)[: detail.problems]),
        figures=_figures(fleet),
        legend=_legend(fleet),
        vxnets=tuple(_vxnet(vxnet, fleet, links) for vxnet in problems.relevant(fleet)),
        vxnets_unknown=fleet.vxnets if isinstance(fleet.vxnets, str) else "",
        strays=strays[: detail.strays],
        strays_left_out=max(0, len(strays) - detail.strays),
        strays_unknown=fleet.strays if isinstance(fleet.strays, str) else "",
        versions=_versions(fleet.nodes, usual, links),
        nodes=tuple(_node(node, links[node.name], own[node.name], tables, brief) for node in fleet.nodes),
        jump=tuple(links.values()),
        open=len(fleet.nodes) <= OPEN,
        tables=tables,
        brief=brief,
    )


def fingerprint(fleet: Fleet) -> str:
    """The same for the same answers, whenever they were got."""
    return hashlib.sha256(repr(fleet).encode("utf-8", "backslashreplace")).hexdigest()[:16]


# -- inside ------------------------------------------------------------------------------------------------------------


def _shortened(fleet: Fleet) -> Fleet:
    """Sentences cut, and of each node the worst only."""

    def cut(sentence: str) -> str:
        return sentence if len(sentence) <= _BRIEF_TEXT else f"{sentence[: _BRIEF_TEXT - 1]}…"

    def shorter(node: Node) -> Node:
        worst = node.findings[:_BRIEF_FINDINGS]
        findings = tuple(Finding(one.severity, cut(one.what), cut(one.remedy), one.check) for one in worst)
        nics = tuple(Nic(nic.kind, nic.state, nic.nic_id, nic.vxnet_id, nic.address) for nic in node.nics)
        return replace(node, why=cut(node.why), findings=findings, unasked=(), nics=nics)

    def brief(what: t.Any) -> t.Any:
        return cut(what) if isinstance(what, str) else what

    nodes = tuple(map(shorter, fleet.nodes))
    return replace(fleet, nodes=nodes, vxnets=brief(fleet.vxnets), strays=brief(fleet.strays))


def _link(number: int, node: Node, found: t.Sequence[Finding]) -> Link:
    return Link(f"n{number}", node.name, found[0].severity if found else "")


def _verdict(found: t.Sequence[problems.Problem], wrong: int, nodes: int) -> str:
    if not found:
        return "Nothing is wrong as far as was asked." if nodes else "There are no nodes."
    errors = len([one for one in found if one.severity == ERROR])
    counts = [_many(errors, "error"), _many(len(found) - errors, "warning")]
    whose = f"on {wrong} of {_many(nodes, 'node')}" if wrong else "on no node"
    return f"{' and '.join(filter(None, counts))}, {whose}."


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}" if number else ""


def _problem(one: problems.Problem, links: t.Mapping[str, Link], detail: Detail) -> ProblemView:
    """What is to be said of all of its nodes alike is said once."""
    said = {more for __, more in one.nodes}
    alike = said.pop() if len(said) == 1 and len(one.nodes) > 1 else ""
    shown = tuple(Link(links[name].anchor, name, links[name].mark, "" if alike else more) for name, more in one.nodes)
    where = f"on all {len(links)} nodes" if len(shown) == len(links) > 1 else f"on {_many(len(shown), 'node')}"
    return ProblemView(
        one.severity,
        one.what,
        one.remedy,
        where if shown else "",
        alike,
        shown[: detail.links],
        max(0, len(shown) - detail.links),
    )


def _figures(fleet: Fleet) -> tuple[tuple[str, str, str], ...]:
    """Number, its name, and what it consists of."""
    kinds = Counter(nic.kind for node in fleet.nodes for nic in node.nics)
    silent = len([node for node in fleet.nodes if node.fault])
    unknown = len([node for node in fleet.nodes if not node.via])
    places = [node.free for node in fleet.nodes]
    known = [place for place in places if place is not None]
    vxnets = () if isinstance(fleet.vxnets, str) else problems.relevant(fleet)
    addresses = [vxnet.available for vxnet in vxnets if vxnet.available is not None]
    nobody = f"{_many(unknown, 'node')} not counted" if unknown else ""
    return (
        (_number(len(fleet.nodes)), "nodes", f"{silent} without an answer" if silent else "all answer"),
        (_number(sum(node.pods for node in fleet.nodes)), "pods", nobody),
        (_number(sum(kinds.values())), "NICs", f"{_number(kinds['r'])} ready for a pod"),
        (_number(sum(known)) if known else "?", "free places", "for NICs on nodes" if known else "no agent says"),
        (
            _number(sum(addresses)) if addresses else "?",
            "free addresses",
            f"in {_many(len(addresses), 'vxnet')}" if addresses else "the cloud was not asked",
        ),
    )


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _legend(fleet: Fleet) -> tuple[picture.Kind, ...]:
    """What a reader has to know; what is no kind at all only where it is there."""
    odd = any(nic.kind == "o" for node in fleet.nodes for nic in node.nics)
    return tuple(kind for kind in picture.KINDS if kind.key != "o" or odd)


def _vxnet(vxnet: Vxnet, fleet: Fleet, links: t.Mapping[str, Link]) -> VxnetView:
    users = {node.name: len([nic for nic in node.nics if nic.vxnet_id == vxnet.vxnet_id]) for node in fleet.nodes}
    ours, total = sum(users.values()), _hosts(vxnet.network)
    free = vxnet.available
    others = max(0, total - ours - free) if total and free is not None else None
    numbers = [("ours", "of these nodes", ours), ("others", "of others", others), ("free", "free", free)]
    parts = [(key, name, number) for key, name, number in numbers if number is not None]
    whole = max(1, sum(number for __, __, number in parts))
    said = ", ".join(f"{_number(number)} {name}" for __, name, number in parts)
    used = sorted((name for name, count in users.items() if count), key=lambda name: -users[name])
    return VxnetView(
        vxnet.vxnet_id,
        vxnet.name,
        vxnet.network,
        tuple(Part(key, f"{_number(number)} {name}", f"{100 * number / whole:.2f}") for key, name, number in parts)
        if free is not None
        else (),
        said if free is not None else f"{said}, free ones unknown",
        free is not None and free < problems.SCARCE,
        vxnet.reason,
        tuple(Link(links[name].anchor, name, links[name].mark, str(users[name])) for name in used),
    )


def _hosts(network: str) -> int:
    """Addresses of a network without its own and the broadcast address; 0 where it is none."""
    try:
        return max(0, ipaddress.ip_network(network).num_addresses - 2)
    except ValueError:
        return 0


def _versions(nodes: t.Sequence[Node], usual: str, links: t.Mapping[str, Link]) -> tuple[VersionView, ...]:
    """The usual one first; nodes of which none is known last."""
    groups: dict[str, list[Node]] = {}
    for node in nodes:
        groups.setdefault(node.running or node.installed, []).append(node)
    order = sorted(groups, key=lambda digest: (digest != usual, not digest, -len(groups[digest]), digest))
    return tuple(
        VersionView(
            digest,
            next((node.version for node in groups[digest] if node.version), ""),
            digest == usual,
            tuple(_version_link(node, links[node.name]) for node in groups[digest]),
        )
        for digest in order
    )


def _version_link(node: Node, link: Link) -> Link:
    more = "" if node.running or not node.installed else "installed, does not run"
    return Link(link.anchor, link.name, link.mark, more)


def _node(node: Node, link: Link, found: tuple[Finding, ...], tables: bool, brief: bool) -> NodeView:
    counts = picture.count((nic.kind for nic in node.nics), node.free)
    shown = tuple(nic for nic in node.nics if tables or (nic.kind in "bho" and not brief))
    return NodeView(
        link,
        node.fault,
        picture.say(counts) if node.via else "NICs unknown",
        picture.draw(counts) if node.via and counts else None,
        _facts(node),
        found,
        node.unasked,
        shown,
        len(node.nics) - len(shown),
    )


def _facts(node: Node) -> tuple[tuple[str, str], ...]:
    whose = {"agent": "the running agent", "journal": "the journal, since no agent answers"}
    facts = [
        ("Instance", node.instance_id),
        ("NICs told by", whose.get(node.via, "")),
        ("Pods", str(node.pods) if node.via else ""),
        ("Most NICs for pods", "" if node.cap is None else str(node.cap)),
        ("Package that runs", node.running),
        ("Package installed", node.installed if node.installed != node.running else ""),
        ("Version", node.version),
    ]
    return tuple((name, value) for name, value in facts if value)


def _length(nic: Nic) -> int:
    return len(nic.nic_id) + len(nic.vxnet_id) + len(nic.address) + len(nic.pod) + len(nic.note) + len(nic.workload)
