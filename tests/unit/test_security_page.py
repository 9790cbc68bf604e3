# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/security.md: each attempt has a test, each test of an attempt a row; which API actions a key has to allow."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import typing as t
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
HOSTNIC = ROOT / "plugins/module_utils/hostnic"
CLIENT = HOSTNIC / "cloud/qingcloud.py"
ACTION = re.compile(r"(?:Attach|Create|Delete|Describe|Detach|Modify)[A-Z]\w+")
MARK = "<!-- read by tests/unit/test_security_page.py -->"


def tables() -> list[list[list[str]]]:
    """The cells of each marked table's rows, without the headings."""
    found = []
    for text in PAGE.split(MARK)[1:]:
        lines = [line for line in text.strip().split("\n\n")[0].splitlines() if line.startswith("|")]
        found.append([[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]])
    return found


*ATTEMPTS, ACTIONS = tables()
ROWS = {(row[2].strip("`"), row[3].strip("`")): row for table in ATTEMPTS for row in table}


def names_in(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def test_there_are_rows_and_no_test_has_two() -> None:
    assert len(ROWS) == sum(map(len, ATTEMPTS)) > 50
    assert all(len(row) == 4 and row[0] and row[1] for row in ROWS.values())


@pytest.mark.parametrize("file", sorted({file for file, __ in ROWS}))
def test_what_a_row_names_is_a_test(file: str) -> None:
    named = [test for where, test in ROWS if where == file]
    assert set(named) <= set(names_in(ROOT / "tests" / file))


@pytest.mark.parametrize(
    "path", sorted([*(ROOT / "tests").rglob("test_guard*.py"), *(ROOT / "tests").rglob("test_secrets*.py")]), ids=str
)
def test_each_test_of_an_attempt_is_a_row(path: Path) -> None:
    file = str(path.relative_to(ROOT / "tests"))
    assert [test for test in names_in(path) if (file, test) not in ROWS] == []


# -- the key ----------------------------------------------------------------------------------------------------------


def actions_of_methods() -> dict[str, set[str]]:
    """Method of the client ► the actions that it calls, by name or by the name of a query."""
    tree = ast.parse(CLIENT.read_text(encoding="utf-8"))
    queries: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Call):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            first = node.value.args[0] if node.value.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and ACTION.fullmatch(first.value):
                queries[ast.unparse(target)] = first.value
    (client,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "QingCloud"]
    found = {}
    for method in [node for node in client.body if isinstance(node, ast.FunctionDef)]:
        named = {queries[node.id] for node in ast.walk(method) if isinstance(node, ast.Name) and node.id in queries}
        found[method.name] = named | literals(method)
    return {name: actions for name, actions in found.items() if actions}


def literals(tree: ast.AST) -> set[str]:
    """Actions that are an argument of a call, errors' left out."""
    return {
        argument.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and not ast.unparse(node.func).endswith(("Error", "_incomplete"))
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and ACTION.fullmatch(argument.value)
    }


def called(paths: t.Iterable[Path]) -> set[str]:
    """The actions behind what these files call of the client."""
    methods, found = actions_of_methods(), set()
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= literals(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                found |= methods.get(node.attr, set())
    return found


@lru_cache
def sources() -> tuple[list[Path], list[Path]]:
    """What the agent and its commands load, without the client; everybody else's."""
    program = "import sys, hostnic.commands.cli; print(*(getattr(m, '__file__', 0) for m in sys.modules.values()))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(HOSTNIC.parent)}, capture_output=True, check=True
    ).stdout.decode()
    every = [path for path in (ROOT / "plugins").rglob("*.py") if "__pycache__" not in path.parts]
    others = [path for path in every if HOSTNIC / "cloud" not in path.parents]
    agents = {path for path in others if str(path) in loaded.split()}
    return sorted(agents), [path for path in others if path not in agents]


def test_the_actions_that_a_key_must_allow_are_those_that_the_code_calls() -> None:
    agent, modules = map(called, sources())
    mark = {True: "yes", False: "–"}
    wanted = [[f"`{action}`", mark[action in agent], mark[action in modules]] for action in sorted(agent | modules)]
    assert [row[:3] for row in ACTIONS] == wanted
    assert {action for actions in actions_of_methods().values() for action in actions} == agent | modules


def test_the_policy_allows_these_actions_and_no_other() -> None:
    (sketch,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (statement,) = json.loads(sketch)["statement"]
    agent, __ = map(called, sources())
    assert statement["effect"] == "allow"
    assert [one.rpartition(":")[2] for one in statement["action"]] == sorted(agent)
