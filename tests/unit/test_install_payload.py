# SPDX-License-Identifier: GPL-3.0-or-later
"""What AnsiballZ carries to a node, and the digest that tells one version from another."""

from __future__ import annotations

import ast
import hashlib
import platform
import sys
import typing as t
from pathlib import Path

import pytest

from plugins.module_utils._ansible import launchers, payload
from plugins.module_utils._ansible.payload import Version

UTILS = Path("plugins/module_utils").resolve()
MODULES = Path("plugins/modules").resolve()
LOCK = f"future==1.0.0 --hash=sha256:{'a' * 64}\n"
PACKAGE = {"__init__.py": b"", "commands/cli.py": b"x = 1\n"}
FILES = {"qingcni.py": "y = 1\n", "units/qingagent.service": "[Unit]\n"}
ROOT = Path("/usr/lib/hostnic")


def build(**changes: t.Any) -> Version:
    given = {"root": ROOT, "package": PACKAGE, "files": FILES, "lock_text": LOCK, "collection_version": "1.0.0"}
    return payload.build(**{**given, **changes})


# -- the packing list -------------------------------------------------------------------------------------------------


def imported(path: Path) -> t.Iterator[Path]:
    """Files that a file's relative imports name, wherever they stand, and packages around them: as AnsiballZ walks."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1]
        if node.module == "module_utils" or (node.module or "").startswith("module_utils."):
            base = UTILS.parent
        target = base.joinpath(*(node.module or "").split("."))
        for name in [target, *(target / alias.name for alias in node.names)]:
            for found in (name.with_suffix(".py"), name / "__init__.py"):
                if found.is_file() and UTILS in found.parents:
                    yield found
                    yield from (around / "__init__.py" for around in found.parents if UTILS in around.parents)


def carried_by(module: str) -> set[Path]:
    todo, seen = [MODULES / f"{module}.py"], set[Path]()
    while todo:
        for path in set(imported(todo.pop())) - seen:
            seen.add(path)
            todo.append(path)
    return seen


def test_every_file_of_the_package_reaches_the_node() -> None:
    package = set((UTILS / "hostnic").rglob("*.py"))
    missing = package - carried_by("hostnic_install")
    assert not missing, f"nothing imports {sorted(str(path.relative_to(UTILS)) for path in missing)}"


def test_the_node_is_not_sent_what_belongs_to_the_control_host() -> None:
    assert UTILS / "_ansible/download.py" not in carried_by("hostnic_install")


@pytest.mark.parametrize("module", ["hostnic_preflight", "hostnic_runtime_info"])
def test_checks_do_not_carry_the_agent(module: str) -> None:
    assert UTILS / "hostnic/commands/cli.py" not in carried_by(module)


def test_the_package_is_read_as_it_lies() -> None:
    top = UTILS / "hostnic"
    assert payload.carried() == {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*.py")}


# -- the digest -------------------------------------------------------------------------------------------------------


def test_the_digest_does_not_depend_on_who_builds() -> None:
    backwards = dict(reversed(list(PACKAGE.items())))
    assert build(package=backwards, lock_text="# comment\n" + LOCK).digest == build().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"package": {**PACKAGE, "commands/cli.py": b"x = 2\n"}},
        {"package": {**PACKAGE, "agent/new.py": b""}},
        {"files": {**FILES, "qingcni.py": "y = 2\n"}},
        {"files": {**FILES, "units/qingagent.socket": ""}},
        {"lock_text": LOCK.replace("a" * 64, "b" * 64)},
        {"collection_version": "1.0.1"},
        {"root": Path("/opt/hostnic")},
    ],
)
def test_whatever_lands_on_the_node_changes_the_digest(changes: dict[str, t.Any]) -> None:
    assert build(**changes).digest != build().digest


def test_another_interpreter_is_another_version_of_the_same_source(monkeypatch: pytest.MonkeyPatch) -> None:
    before = build()
    monkeypatch.setattr(payload, "interpreter", lambda: "/usr/bin/python3.99")
    after = build()
    assert after.digest != before.digest
    assert after.manifest["source"] == before.manifest["source"]
    assert b"exec /usr/bin/python3.99 -IS /" in after.files["bin/qingcni"]


def test_a_launchers_text_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = build()
    monkeypatch.setattr(launchers, "TEMPLATES", ("something else",))
    assert build().digest != before.digest


def test_dependencies_follow_lock_python_and_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = build()
    assert build(package={"commands/cli.py": b""}, collection_version="2").deps == before.deps
    assert build(lock_text=LOCK.replace("a" * 64, "b" * 64)).deps != before.deps
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert build().deps != before.deps


def test_the_manifest_vouches_for_every_file() -> None:
    version = build()
    assert version.manifest["digest"] == version.digest == version.directory.name
    assert version.manifest["files"] == {
        path: hashlib.sha256(content).hexdigest() for path, content in version.files.items()
    }
    assert set(version.files) == {
        *(f"hostnic/{path}" for path in PACKAGE),
        *FILES,
        "bin/qingagent",
        "bin/qingcni",
        "qingcni-start.py",
    }


def test_the_interpreter_is_the_real_one() -> None:
    assert Path(payload.interpreter()).resolve() == Path(sys.executable).resolve()
    assert not Path(payload.interpreter()).is_symlink()
