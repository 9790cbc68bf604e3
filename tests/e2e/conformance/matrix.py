# SPDX-License-Identifier: GPL-3.0-or-later
"""All rows, in the order of the page, and the cells that the tests run."""

from __future__ import annotations

import typing as t

from tests.e2e.conformance import away, configuration, invocation, results, verbs, wishes
from tests.e2e.conformance.rows import CONFIGURED, Row

BESIDE: t.Final = (
    Row("cloud-refuses", "an ADD that the cloud refuses: codes 112 to 115", ("ADD",), None,
        note="it waits for its deadline of 88 s first; tests/unit/test_cni_spec.py tests which error has which code"),
    Row("delegate", "plugins named by `ipam.type` are called (delegation)", CONFIGURED, None,
        note="not built: a NIC's address is the cloud's, there is nothing to delegate"),
)  # fmt: skip
SECTIONS: t.Final[tuple[tuple[str, tuple[Row, ...]], ...]] = (
    ("Invocation", invocation.ROWS),
    ("Configuration", configuration.ROWS),
    ("What a runtime asks for one container", wishes.ROWS),
    ("Verbs", verbs.ROWS),
    ("Results", results.ROWS),
    ("Without an agent", away.ROWS),
    ("Not shown", BESIDE),
)
ROWS: t.Final = tuple(row for _, rows in SECTIONS for row in rows)
# What is collected as tests, and thus what the page may mark.
CELLS: t.Final = [(row, verb, version) for row in ROWS if row.check for verb, version in row.cells()]


def name_of(row: Row, verb: str, version: str) -> str:
    """The test's id."""
    return f"{row.name}-{verb}-{version}"
