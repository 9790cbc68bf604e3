# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of docs/services.md, drawn from what the tests assert: `python -m tests.support.services_page`."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from tests.e2e.services import cases
from tests.e2e.services.cases import Case

PAGE: t.Final = Path(__file__).parents[2] / "docs/services.md"
_TABLE: t.Final = re.compile(
    r"(<!-- table: (\S+), drawn by tests/support/services_page\.py -->\n\n).*?(?=\n\n|\n\Z)", re.S
)


def _played(played: t.Sequence[Case]) -> list[str]:
    head = ["| | who asks whom | whom the server sees | which links requests take; replies take them back | rule |",
            "|---|---|---|---|---|"]  # fmt: skip
    return head + [
        f"| {case.number} | {case.name} | {case.source} | {case.path.replace('>', ' > ')} | {case.nat} |"
        for case in played
    ]


def _names(played: t.Sequence[Case]) -> list[str]:
    return ["| | who asks whom |", "|---|---|", *(f"| {case.number} | {case.name} |" for case in played)]


def _failures() -> list[str]:
    rows = {
        "gateway NICs whose `enable_aspoof` is 1": (cases.CASES, cases.replies_for_another),
        "a primary with `rp_filter` 1": (cases.CASES, cases.by_router_from_a_pod),
        "FORWARD with the policy drop": (cases.CASES, cases.forwarded_unmarked),
        "a primary that is pods' gateway, its `enable_aspoof` 1": (
            cases.PRIMARY_CASES,
            cases.by_a_primary_for_a_service,
        ),
    }
    lines = ["| with | these cases fail, and no other |", "|---|---|"]
    for what, (played, chosen) in rows.items():
        lines.append(f"| {what} | {', '.join(case.number for case in played if chosen(case))} |")
    return lines


TABLES: t.Final[t.Mapping[str, t.Callable[[], list[str]]]] = {
    "cases": lambda: _played(cases.CASES),
    "primary": lambda: _played(cases.PRIMARY_CASES),
    "alone": lambda: _played(cases.ALONE_CASES),
    "by-host": lambda: _played(cases.BY_HOST_CASES),
    "half-by-host": lambda: _names(cases.HALF_BY_HOST_CASES),
    "failures": _failures,
}


def drawn(text: str) -> str:
    """The page with its tables as they are to be; KeyError for one that nobody knows."""
    return _TABLE.sub(lambda found: found[1] + "\n".join(TABLES[found[2]]()), text)


def names(text: str) -> list[str]:
    return [found[2] for found in _TABLE.finditer(text)]


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
