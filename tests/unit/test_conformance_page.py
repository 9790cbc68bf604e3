# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/conformance.md says what tests/e2e/test_conformance.py runs, no more and no less."""

from __future__ import annotations

import ast
import re
import typing as t
from pathlib import Path

import pytest

from tests.e2e import test_conformance
from tests.e2e.conformance.matrix import ROWS, name_of
from tests.e2e.conformance.page import BY_RUNTIMES, CALLED_IN, NOT_CONCERNED, RUNTIMES, TESTED, UNTESTED, page
from tests.e2e.conformance.rows import VERBS, VERSIONS, Row, refuses

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance.md"
LINE = re.compile(
    r"^\| `([a-z0-9-]+)` \| .* \| " + " \\| ".join(["`?([✓●✗–]+)`?"] * len(VERBS)) + r" \|$", re.MULTILINE
)


def marks() -> dict[tuple[str, str, str], str]:
    """(row, verb, version) ► its mark on the page."""
    found = {}
    for line in LINE.finditer(PAGE.read_text(encoding="utf-8")):
        for verb, cell in zip(VERBS, line.groups()[1:]):
            for version, sign in zip(VERSIONS, cell if len(cell) > 1 else NOT_CONCERNED * len(VERSIONS)):
                found[line[1], verb, version] = sign
    return found


def collected() -> list[tuple[Row, str, str]]:
    """What pytest makes tests of."""
    (mark,) = (one for one in t.cast(t.Any, test_conformance.test_row).pytestmark if one.name == "parametrize")
    return list(mark.args[1])


def test_the_page_is_rendered_from_the_rows() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.e2e.conformance > docs/conformance.md"


def test_what_is_marked_is_run_and_what_is_run_is_marked() -> None:
    run = {(row.name, verb, version) for row, verb, version in collected()}
    assert {cell for cell, sign in marks().items() if sign in (TESTED, BY_RUNTIMES)} == run


def test_every_row_is_on_the_page_under_a_name_of_its_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {name for name, __, __ in marks()} == {row.name for row in ROWS}
    names = [name_of(*cell) for cell in collected()]
    assert len(set(names)) == len(names)


def test_what_nobody_tests_says_so_and_why() -> None:
    untested = {name for (name, __, __), sign in marks().items() if sign == UNTESTED}
    assert untested == {row.name for row in ROWS if row.check is None}
    assert all(row.note for row in ROWS if row.check is None)


def test_every_verb_in_every_version_has_rows() -> None:
    assert {(verb, version) for __, verb, version in collected()} == {(verb, one) for verb in VERBS for one in VERSIONS}
    assert all(row.cells() for row in ROWS)


def test_the_tests_of_runtimes_exist() -> None:
    tree = ast.parse((ROOT / CALLED_IN).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {test for runtime in RUNTIMES for test in runtime.tests} <= defined


def test_a_row_without_a_call_is_no_test() -> None:
    class Bench:
        empty, added = None, {}

    with pytest.raises(AssertionError, match="has not called"):
        test_conformance.run(Row("idle", "", ("ADD",), refuses(4, each=())), "ADD", "1.0.0", t.cast(t.Any, Bench()))
