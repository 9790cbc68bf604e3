# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What nodes and cloud have answered, as far as a report shows it. Nothing that they say is believed to have any shape.

Times are left out where two answers are compared, so that an hour that passes is no change.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

from ...module_utils.hostnic import redact
from . import picture

ERROR: t.Final = "error"
WARNING: t.Final = "warning"
UNREACHABLE: t.Final = "unreachable"
FAILED: t.Final = "not asked"
SILENT: t.Final = "agent silent"
LONGEST: t.Final = 600  # characters of a sentence; more are no sentence
MOST_FINDINGS: t.Final = 40  # of one node
MOST_NICS: t.Final = 1000  # of one node
LARGEST: t.Final = 4 << 20  # characters that one node may answer
_WORDS: t.Final = re.compile(r"([0-9]+)|([^0-9]+)")
_NO_REASON: t.Final = "nobody says why"


@dataclass(frozen=True)
class Finding:
    """Something wrong, and what to do about it. `check`: which check of the doctor found it, "" for none."""

    severity: str
    what: str
    remedy: str = ""
    check: str = ""


@dataclass(frozen=True)
class Nic:
    """`kind` is a key of `picture.KINDS`; `pod` is empty where no pod has it; `age` in seconds, None for unknown."""

    kind: str
    state: str
    nic_id: str
    vxnet_id: str
    address: str
    pod: str = ""
    note: str = ""
    workload: str = ""
    age: t.Optional[float] = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Node:
    """`fault`: UNREACHABLE, FAILED or SILENT, and `why`; both "" where the agent answers.

    `via`: "agent", "journal" or "" for nobody. `cap`: NICs that its pool may have, None where nobody says.
    `draining`: so it is, and the agent's status is not there to say it.

    `running` and `installed`: digests, "" for unknown.
    """

    name: str
    fault: str = ""
    why: str = ""
    via: str = ""
    instance_id: str = ""
    nics: tuple[Nic, ...] = ()
    pods: int = 0
    cap: t.Optional[int] = None
    draining: bool = False
    running: str = ""
    installed: str = ""
    version: str = ""
    findings: tuple[Finding, ...] = ()
    unasked: tuple[tuple[str, str], ...] = ()

    @property
    def free(self) -> t.Optional[int]:
        """Places for NICs of pods."""
        taken = len([nic for nic in self.nics if nic.kind != "g"])
        return None if self.cap is None else max(0, self.cap - taken)


@dataclass(frozen=True)
class Vxnet:
    """`available`: free addresses, None where the cloud does not say."""

    vxnet_id: str
    name: str
    network: str
    available: t.Optional[int]
    reason: str = ""


@dataclass(frozen=True)
class Stray:
    """A NIC whose instance is gone."""

    nic_id: str
    vxnet_id: str
    address: str
    reason: str
    deletable: bool


@dataclass(frozen=True)
class Fleet:
    """`vxnets` and `strays` are sentences where the cloud could not be asked. `configured`: ids of vxnets."""

    nodes: tuple[Node, ...]
    vxnets: t.Union[tuple[Vxnet, ...], str]
    strays: t.Union[tuple[Stray, ...], str]
    configured: tuple[str, ...] = ()


def fleet(nodes: t.Mapping[str, t.Any], vxnets: t.Any, sweep: t.Any, configured: t.Iterable[str] = ()) -> Fleet:
    """From the results of `hostnic_report_info` by node, `qingcloud_vxnet_info` and `hostnic_sweep`."""
    return Fleet(
        tuple(node(text(name, 100), nodes[name]) for name in sorted(nodes, key=_natural)),
        _listed(vxnets, "vxnets", _vxnet),
        _listed(sweep, "strays", _stray),
        tuple(configured),
    )


def node(name: str, raw: t.Any) -> Node:
    """Of whatever the module, or Ansible instead of it, has answered."""
    result = _mapping(raw)
    if result.get("unreachable"):
        return Node(name, UNREACHABLE, text(result.get("msg")) or _NO_REASON)
    raw = _document(result.get("answers"))
    if "unasked" not in raw:
        why = text(result.get("msg")) or text(result.get("module_stderr"))
        return Node(name, FAILED, why or _NO_REASON)
    unasked = _mapping(raw["unasked"])
    via = text(raw.get("via"))
    plan = _mapping(raw.get("plan"))
    version = _mapping(raw.get("version"))
    leases = _rows(raw.get("leases"))
    now = number(raw.get("now")) if via == "agent" else None
    cap = number(plan.get("cap"))
    return Node(
        name,
        fault=SILENT if "agent" in unasked else "",
        why=text(unasked["agent"]) or _NO_REASON if "agent" in unasked else "",
        via=via,
        instance_id=text(raw.get("instance_id"), 40),
        nics=_nics(_rows(raw.get("nics")), leases, now),
        pods=len(leases),
        cap=None if cap is None else int(cap),
        draining=plan.get("draining") is True and "problems" not in _mapping(raw.get("status")),
        running=text(version.get("digest"), 64),
        installed=text(_mapping(raw.get("installed")).get("digest"), 64),
        version=text(version.get("version") or _mapping(raw.get("installed")).get("version"), 40),
        findings=_findings(raw),
        unasked=_unasked(unasked, raw),
    )


def text(value: t.Any, longest: int = LONGEST) -> str:
    """On one line, without secrets, cut where it is too long; what no line can hold is shown as being there."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    line = redact.text(" ".join(str(value)[: 4 * longest].split()))
    if not line.isprintable():
        line = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def number(value: t.Any) -> t.Optional[float]:
    """None for what is no number that a report can show."""
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and -1e15 < value < 1e15
    return float(value) if usable else None


# -- inside ------------------------------------------------------------------------------------------------------------


def _nics(
    rows: t.Sequence[t.Mapping[str, t.Any]], leases: t.Sequence[t.Any], now: t.Optional[float]
) -> tuple[Nic, ...]:
    """In the order of the picture, then of addresses."""
    pods = {text(lease.get("nic_id")): _pod(lease) for lease in leases}
    order = list(picture.BY_KEY)
    nics = [_nic(row, pods, now) for row in rows[:MOST_NICS]]
    return tuple(sorted(nics, key=lambda nic: (order.index(nic.kind), _natural(nic.address))))


def _nic(row: t.Mapping[str, t.Any], pods: t.Mapping[str, str], now: t.Optional[float]) -> Nic:
    state, nic_id, since = text(row.get("state"), 40), text(row.get("nic_id"), 40), number(row.get("since"))
    return Nic(
        picture.kind_of(state, text(row.get("purpose"))),
        state,
        nic_id,
        text(row.get("vxnet_id"), 40),
        text(row.get("private_ip"), 40),
        pods.get(nic_id, ""),
        text(row.get("note"), 200),
        text(row.get("workload"), 200),
        None if now is None or since is None else max(0.0, now - since),
    )


def _pod(lease: t.Mapping[str, t.Any]) -> str:
    """Its name where the runtime gave one, else the attachment."""
    args = _mapping(lease.get("args"))
    name, space = text(args.get("K8S_POD_NAME"), 253), text(args.get("K8S_POD_NAMESPACE"), 63)
    if name and space:
        return f"{space}/{name}"
    container = text(lease.get("container_id"), 64)
    return "/".join((text(lease.get("network"), 64), container[:12], text(lease.get("ifname"), 16)))


def _findings(raw: t.Mapping[str, t.Any]) -> tuple[Finding, ...]:
    """Of the agent and of the doctor."""
    rows = [*_rows(_mapping(raw.get("status")).get("problems")), *_rows(_mapping(raw.get("doctor")).get("findings"))]
    found = [
        Finding(
            ERROR if row.get("severity") == ERROR else WARNING,
            text(row.get("what")) or "something that it does not name",
            text(row.get("remedy")),
            text(row.get("check"), 60),
        )
        for row in rows
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda one: one.severity))[:MOST_FINDINGS]


def _unasked(unasked: t.Mapping[str, t.Any], raw: t.Mapping[str, t.Any]) -> tuple[tuple[str, str], ...]:
    """What nobody knows of this node, and why; that its agent is silent is told elsewhere."""
    told = [(f"Not asked: {text(what, 60)}", text(why)) for what, why in unasked.items() if what != "agent"]
    rows = _rows(_mapping(raw.get("doctor")).get("unchecked"))
    told += [(f"Not checked by the doctor: {text(row.get('check'), 60)}", text(row.get("why"))) for row in rows]
    return tuple(told[:MOST_FINDINGS])


T = t.TypeVar("T")


def _listed(raw: t.Any, key: str, read: t.Callable[[t.Mapping[str, t.Any]], T]) -> t.Union[tuple[T, ...], str]:
    raw = _mapping(raw)
    if key not in raw:
        return text(raw.get("msg")) or "it was not asked"
    return tuple(read(row) for row in _rows(raw[key]))


def _vxnet(row: t.Mapping[str, t.Any]) -> Vxnet:
    available = number(row.get("available"))
    return Vxnet(
        text(row.get("vxnet_id"), 40),
        text(row.get("vxnet_name"), 80),
        text(row.get("network"), 40),
        None if available is None else max(0, int(available)),
        text(row.get("reason")),
    )


def _stray(row: t.Mapping[str, t.Any]) -> Stray:
    return Stray(
        text(row.get("nic_id"), 40),
        text(row.get("vxnet_id"), 40),
        text(row.get("private_ip"), 40),
        text(row.get("reason"), 200),
        row.get("deletable") is True,
    )


def _document(value: t.Any) -> t.Mapping[str, t.Any]:
    """Of JSON; empty for what is none."""
    try:
        return _mapping(json.loads(value)) if isinstance(value, str) and len(value) <= LARGEST else {}
    except (ValueError, RecursionError):
        return {}


def _mapping(value: t.Any) -> t.Mapping[str, t.Any]:
    return value if isinstance(value, t.Mapping) else {}


def _rows(value: t.Any) -> list[t.Mapping[str, t.Any]]:
    return [row for row in value if isinstance(row, t.Mapping)] if isinstance(value, (list, tuple)) else []


def _natural(name: str) -> list[tuple[int, str]]:
    """node2 before node10, and addresses in their order."""
    return [(int(digits[:40]), "") if digits else (-1, word) for digits, word in _WORDS.findall(name)]
