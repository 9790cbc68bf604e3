# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/conformance.md, from the rows that the tests run: `python -m tests.e2e.conformance > docs/conformance.md`."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from tests.e2e.conformance.matrix import CELLS, ROWS, SECTIONS
from tests.e2e.conformance.rows import VERBS, VERSIONS, Row

TESTED, BY_RUNTIMES, UNTESTED, NOT_CONCERNED = "✓", "●", "✗", "–"


@dataclass(frozen=True)
class Runtime:
    """A program of others that calls the executable in the end-to-end tests, and in which of them."""

    name: str
    verbs: tuple[str, ...]
    version: str
    tests: tuple[str, ...]


CALLED_IN: t.Final = "tests/e2e/test_runtimes.py"
RUNTIMES: t.Final = (
    Runtime("containerd 1.6, asked by CRI", ("ADD", "DEL"), "1.0.0",
            ("test_containerd_takes_it_with_loopback_and_portmap",)),
    Runtime("containerd 1.6, asked by ctr", ("ADD", "DEL"), "1.0.0", ("test_ctr_gives_a_container_a_nic",)),
    Runtime("podman 4.3", ("ADD", "DEL", "VERSION"), "1.0.0", ("test_podman_gives_a_container_a_nic",)),
)  # fmt: skip
CALLED: t.Final = frozenset((verb, runtime.version) for runtime in RUNTIMES for verb in runtime.verbs)


def mark(row: Row, verb: str, version: str) -> str:
    """Of one cell."""
    if (verb, version) not in row.cells():
        return NOT_CONCERNED
    if row.check is None:
        return UNTESTED
    return BY_RUNTIMES if row.runtimes and (verb, version) in CALLED else TESTED


def page() -> str:
    untested = sum(len(row.cells()) for row in ROWS if row.check is None)
    lines = [
        "<!-- SPDX-License-Identifier: GPL-3.0-or-later -->",
        "# Conformance",
        "",
        "What the CNI specification, the upstream skeleton and this project's own keys ask of `qingcni`, by verb and",
        "version, and which tests show it. Written by `python -m tests.e2e.conformance > docs/conformance.md` from the",
        "rows that the tests run; a test compares, so nothing is marked here that no test runs.",
        "",
        "The tests look from outside: the installed executable on a node of the lab, its environment, stdin, stdout",
        "and exit status, and what the kernel shows afterwards.",
        "",
        f"Each cell has one mark for each version, in this order: {', '.join(VERSIONS)}.",
        "",
        "| mark | who called | |",
        "|---|---|---|",
        f"| {TESTED} | the test itself | passes |",
        f"| {BY_RUNTIMES} | the test itself, and a runtime whose calls would fail without it | passes |",
        f"| {UNTESTED} | nobody | concerns it, and no test shows it |",
        f"| {NOT_CONCERNED} | | does not concern it |",
        "",
        f"{len(CELLS)} cells are tested, {untested} are not. A cell's test is",
        "`tests/e2e/test_conformance.py::test_row[ROW-VERB-VERSION]`; with `-k ROW` pytest runs a row.",
    ]
    for title, rows in SECTIONS:
        lines += ["", f"## {title}", "", f"| row | | {' | '.join(VERBS)} |", f"|---|---|{'---|' * len(VERBS)}"]
        lines += map(_line, rows)
    lines += [
        "",
        "## What runtimes call",
        "",
        f"In `{CALLED_IN}`, with the configuration that the role writes. None of them calls CHECK, GC or",
        "STATUS, or speaks 1.1.0.",
        "",
        "| runtime | verbs | version | test |",
        "|---|---|---|---|",
    ]
    for runtime in RUNTIMES:
        tests = ", ".join(f"`{test}`" for test in runtime.tests)
        lines.append(f"| {runtime.name} | {', '.join(runtime.verbs)} | {runtime.version} | {tests} |")
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    cells = ["".join(mark(row, verb, version) for version in VERSIONS) for verb in VERBS]
    shown = [f"`{cell}`" if cell.strip(NOT_CONCERNED) else NOT_CONCERNED for cell in cells]
    note = f" ({row.note})" if row.note else ""
    return f"| `{row.name}` | {row.text}{note} | {' | '.join(shown)} |"
