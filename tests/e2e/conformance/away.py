# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of an agent that is stopped, its socket too: all calls are made in one outage."""

from __future__ import annotations

import typing as t

from tests.e2e.conformance.bench import Attachment
from tests.e2e.conformance.cell import NOBODY, Cell
from tests.e2e.conformance.reply import Reply
from tests.e2e.conformance.rows import VERBS, VERSIONS, Row, allows
from tests.lab.wait import until

UNITS: t.Final = ("qingagent.socket", "qingagent.service")


def _outage(cell: Cell) -> None:
    """Every verb in every version; each DEL is one of a pod that has a NIC."""
    bench = cell.bench
    cells = [(verb, version) for verb in VERBS for version in VERSIONS if allows(verb, version)]
    pods: dict[str, Attachment] = {}
    commands = []
    for verb, version in cells:
        caller = Cell(bench, verb, version)
        if verb == "DEL":
            pods[version] = caller.own()
            commands.append(caller.command((pods[version].pod, pods[version].container)))
        elif verb == "CHECK":
            standing = caller.added()
            commands.append(caller.command((standing.pod, standing.container)))
        else:
            commands.append(caller.command((bench.empty, NOBODY)))
    bench.sh("systemctl", "stop", *UNITS)
    try:
        replies = bench.run(*commands)
        assert all("eth0" in one.pod.links() for one in pods.values())
    finally:
        bench.sh("systemctl", "start", *UNITS)
    bench.away.update(zip(cells, replies))
    until(lambda: not any(one.pod.links() for one in pods.values()), 60, "the DELs that were written down")
    for one in pods.values():
        bench.remove(one.pod)


def _reply(cell: Cell) -> Reply:
    if not cell.bench.away:
        _outage(cell)
    cell.calls += 1
    return cell.bench.away[cell.verb, cell.version]


def written_down(cell: Cell) -> None:
    _reply(cell).nothing()


def not_there(cell: Cell) -> None:
    told = _reply(cell).error(50 if cell.verb == "STATUS" else 100, "qingagent")
    assert told["cniVersion"] == cell.version


def answered(cell: Cell) -> None:
    assert _reply(cell).document()["cniVersion"] == cell.version


ROWS: t.Final = (
    Row("away-error", "the agent is away: code 100, for STATUS 50", ("ADD", "CHECK", "GC", "STATUS"), not_there),
    Row("away-del", "the agent is away: success, carried out when it is back", ("DEL",), written_down),
    Row("away-version", "the agent is away: VERSION answers all the same", ("VERSION",), answered),
)
