# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may import whom, as rules that fail: each is shown an offender first, then the tree."""

from __future__ import annotations

import ast
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "plugins/module_utils/hostnic"
RIM = "plugins/module_utils/_ansible"

# Unit of the package (a module, or a directory) ► its rank: imports go to lower ranks only, or stay inside the unit.
# Units of one rank never meet. A new unit needs a rank.
RANKS = {
    "redact": -1,
    "__init__": 0,
    "errors": 0,
    "context": 0,
    "afterwards": 1,
    "guarded": 1,
    "wire": 1,
    "states": 1,
    "telemetry": 1,
    "configuration": 1,
    "config": 2,
    "model": 2,
    "host": 1,
    "runtimes": 1,
    "proof": 3,
    "demand": 3,
    "policy": 3,
    "settle": 3,
    "sizing": 3,
    "standin": 3,
    "plan": 4,
    "nics": 4,
    "probed": 4,
    "ports": 5,
    "nicwork": 6,
    "pace": 6,
    "strays": 6,
    "troubles": 6,
    "table": 6,
    "orders": 7,
    "pool": 8,
    "blocks": 9,
    "jobs": 9,
    "survey": 9,
    "parts": 10,
    "adopt": 11,
    "witness": 11,
    "observe": 12,
    "act": 13,
    "reconcile": 14,
    "engine": 15,
    "cni": 16,
    "cloud": 16,
    "net": 16,
    "operate": 16,
    "status": 16,
    "store": 16,
    "agent": 17,
    "simulation": 17,
    "doctor": 18,
    "commands": 19,
}
# What they implement lies in `ports`: they know nothing above it, and only the agent knows them.
ADAPTERS = ("cloud", "net", "store")
# Third-party package ► where in the package it may be imported.
THIRD_PARTY = {
    "yaml": ("configuration", "cloud", "doctor"),
    "qingcloud": ("cloud",),
    "pyroute2": ("net",),
    "prometheus_client": ("agent",),
}
# Where `ansible-test sanity` looks.
SHIPPED = ("plugins", "files", "tests/emulator", "tests/support", "tests/unit")
QINGCNI_MODULES = {"_json", "_socket", "posix", "select", "sys", "time"}

_OTHERS = {"_json", "_socket", "posix"}  # of the standard library, though not in its public list on every version
STDLIB = set(sys.stdlib_module_names) | set(sys.builtin_module_names) | _OTHERS


class Import(t.NamedTuple):
    """`name` is dotted and absolute in the tree for relative imports of the package; `guarded`: may fail harmlessly."""

    file: str
    line: int
    name: str
    level: int
    guarded: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {'.' * self.level}{self.name}"


# -- reading ----------------------------------------------------------------------------------------------------------


def sources(root: Path, under: str) -> list[Path]:
    return sorted(path for path in (root / under).rglob("*.py") if "__pycache__" not in path.parts)


def _guards(node: ast.AST) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return True
    if isinstance(node, ast.If):
        return ast.unparse(node.test).endswith("TYPE_CHECKING")
    if isinstance(node, ast.Try):
        caught = " ".join(ast.unparse(handler.type) if handler.type else "" for handler in node.handlers)
        return "ImportError" in caught or "ModuleNotFoundError" in caught
    return False


def imports(root: Path, path: Path) -> t.Iterator[Import]:
    """Every import of a file; `from . import a, b` counts as one of each."""
    file = str(path.relative_to(root))

    def walk(node: ast.AST, guarded: bool) -> t.Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, 0, guarded)
        elif isinstance(node, ast.ImportFrom):
            for name in [node.module] if node.module else [alias.name for alias in node.names]:
                yield Import(file, node.lineno, name, node.level, guarded)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, guarded or _guards(node))

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False)


def imports_under(root: Path, under: str) -> list[Import]:
    return [found for path in sources(root, under) for found in imports(root, path)]


def unit_of(file: str) -> str:
    """`plugins/module_utils/hostnic/net/links.py` ► `net`."""
    return Path(file).relative_to(PACKAGE).parts[0].removesuffix(".py")


def target(found: Import) -> t.Optional[str]:
    """The unit that a relative import of the package reaches; None where it leaves the package."""
    inside = Path(found.file).relative_to(PACKAGE).parent.parts
    up = found.level - 1
    if up > len(inside):
        return None
    base = inside[: len(inside) - up]
    return base[0] if base else found.name.partition(".")[0]


# -- rules: each returns its offenders --------------------------------------------------------------------------------


def foreign_imports(root: Path) -> list[str]:
    """The package imports itself relatively and never Ansible, so that it works under both of its names."""
    banned = {"ansible", "ansible_collections", "hostnic", "plugins", "tests"}
    return [
        str(found)
        for found in imports_under(root, PACKAGE)
        if (not found.level and found.name.partition(".")[0] in banned) or (found.level and target(found) is None)
    ]


def wrong_directions(root: Path) -> list[str]:
    offenders = []
    for found in imports_under(root, PACKAGE):
        origin, reached = unit_of(found.file), target(found) if found.level else None
        if origin not in RANKS:
            offenders.append(f"{found.file}: give {origin} a rank")
        elif reached is not None and reached != origin:
            if reached not in RANKS:
                offenders.append(f"{found}: what is {reached}?")
            elif RANKS[reached] >= (RANKS["ports"] + 1 if origin in ADAPTERS else RANKS[origin]):
                offenders.append(str(found))
    return offenders


def third_party(root: Path) -> list[str]:
    """Guarded, and only where the table says: a module on a fresh node has none of them."""
    return [
        str(found)
        for found in imports_under(root, PACKAGE)
        if not found.level
        and (name := found.name.partition(".")[0]) not in STDLIB
        and (not found.guarded or unit_of(found.file) not in THIRD_PARTY.get(name, ()))
    ]


def what_ansible_does_not_ship(root: Path) -> list[str]:
    """`assert` fails sanity; AnsiballZ sees no dynamic import, and with core 2.21 none inside `match`."""
    offenders = []
    for under in (PACKAGE, RIM):
        for path in sources(root, under):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                where = f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}"
                if isinstance(node, ast.Assert):
                    offenders.append(f"{where} asserts")
                if isinstance(node, ast.Match):
                    inner = [item for item in ast.walk(node) if isinstance(item, (ast.Import, ast.ImportFrom))]
                    offenders += [f"{where} imports inside match" for __ in inner]
                if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
                    "import_module",
                    "__import__",
                ):
                    offenders.append(f"{where} imports by name")
    return offenders


def directories_without_init(root: Path) -> list[str]:
    folders = {path.parent for path in sources(root, "plugins/module_utils")}
    return [str(folder.relative_to(root)) for folder in sorted(folders) if not (folder / "__init__.py").exists()]


def ansible_outside_of_the_rim(root: Path) -> list[str]:
    """In module_utils only `_ansible` knows Ansible; a module may name its `module_utils`, no more."""
    offenders = []
    for found in imports_under(root, "plugins/module_utils") + imports_under(root, "plugins/modules"):
        if found.level or found.name.partition(".")[0] not in ("ansible", "ansible_collections"):
            continue
        allowed = found.name.startswith("ansible.module_utils.")
        if not found.file.startswith((RIM + "/", "plugins/modules/")) or not allowed:
            offenders.append(str(found))
    return offenders


def emulator_that_knows_the_client(root: Path) -> list[str]:
    """It is written from the API's documentation, never from what our client finds convenient."""
    return [
        str(found)
        for found in imports_under(root, "tests/emulator")
        if found.name.partition(".")[0] in ("hostnic", "plugins", "ansible", "ansible_collections", "qingcloud")
        and not found.level
    ]


def qingcni_imports(root: Path) -> list[str]:
    path = root / "files" / "qingcni.py"
    return [str(found) for found in imports(root, path) if found.level or found.name not in QINGCNI_MODULES]


def what_sanity_refuses(root: Path) -> list[str]:
    """The part of `ansible-test sanity` that is broken easily, told within a second."""
    offenders = []
    for under in SHIPPED:
        for path in sources(root, under):
            if under == "plugins" and path.name == "__init__.py" and path.stat().st_size:
                offenders.append(f"{path.relative_to(root)} is not empty")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                where = f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}"
                if (isinstance(node, ast.Name) and node.id == "_") or (isinstance(node, ast.arg) and node.arg == "_"):
                    offenders.append(f"{where} calls something _: call it __")
                if under == "plugins" and isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
                    offenders.append(f"{where} prints: write to a stream")
    return offenders


RULES = (
    foreign_imports,
    wrong_directions,
    third_party,
    what_ansible_does_not_ship,
    directories_without_init,
    ansible_outside_of_the_rim,
    emulator_that_knows_the_client,
    qingcni_imports,
    what_sanity_refuses,
)


# -- the tree ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=[rule.__name__ for rule in RULES])
def test_the_tree_keeps_the_rule(rule: t.Callable[[Path], list[str]]) -> None:
    assert rule(ROOT) == []


def test_the_rules_look_at_something() -> None:
    assert len(imports_under(ROOT, PACKAGE)) > 100
    assert {unit_of(found.file) for found in imports_under(ROOT, PACKAGE)} > {"cni", "agent", "net", "cloud", "store"}


def test_the_package_can_be_imported_under_its_name_on_nodes_without_any_third_party() -> None:
    modules = [
        str(path.relative_to(ROOT / "plugins/module_utils").with_suffix("")).replace("/", ".").removesuffix(".__init__")
        for path in sources(ROOT, PACKAGE)
    ]
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'plugins/module_utils')!r})\n" + "\n".join(
        f"import {module}" for module in modules
    )
    subprocess.run(["/usr/bin/python3", "-I", "-S", "-B", "-c", program], check=True)


# -- offenders --------------------------------------------------------------------------------------------------------

IN = f"{PACKAGE}/"


@pytest.mark.parametrize(
    ("rule", "file", "text"),
    [
        (foreign_imports, IN + "cni/x.py", "from ansible.module_utils.basic import AnsibleModule"),
        (foreign_imports, IN + "cni/x.py", "import hostnic.errors"),
        (
            foreign_imports,
            IN + "cni/x.py",
            "from ansible_collections.qingcloud.cni.plugins.module_utils import hostnic",
        ),
        (foreign_imports, IN + "cni/x.py", "def f():\n    from ..._ansible import install"),
        (foreign_imports, IN + "pool.py", "from tests.support import cni"),
        (wrong_directions, IN + "errors.py", "from .model import Nic"),
        (wrong_directions, IN + "states.py", "from . import model"),
        (wrong_directions, IN + "ports.py", "from .pool import Pool"),
        (wrong_directions, IN + "pool.py", "from .cni.verbs import Verbs"),
        (wrong_directions, IN + "pool.py", "def f():\n    from .net.links import KernelLinks"),
        (wrong_directions, IN + "net/x.py", "from ..pool import Pool"),
        (wrong_directions, IN + "net/x.py", "from ..cloud.build import connect"),
        (wrong_directions, IN + "store/x.py", "from .. import net"),
        (wrong_directions, IN + "cni/x.py", "from ..agent.server import Server"),
        (wrong_directions, IN + "cni/x.py", "import typing as t\nif t.TYPE_CHECKING:\n    from ..agent import service"),
        (wrong_directions, IN + "wire.py", "from .ports import Clock"),
        (wrong_directions, IN + "newcomer.py", "import os"),
        (wrong_directions, IN + "pool.py", "from . import newcomer"),
        (third_party, IN + "net/x.py", "from pyroute2 import IPRoute"),
        (third_party, IN + "net/x.py", "try:\n    import pyroute2\nexcept ValueError:\n    pass"),
        (third_party, IN + "pool.py", "try:\n    import pyroute2\nexcept ImportError:\n    pass"),
        (third_party, IN + "cni/x.py", "def f():\n    import requests"),
        (what_ansible_does_not_ship, IN + "pool.py", "def f(x):\n    assert x"),
        (what_ansible_does_not_ship, RIM + "/x.py", "match 1:\n    case 1:\n        from . import y"),
        (what_ansible_does_not_ship, IN + "pool.py", "import importlib\nimportlib.import_module('x')"),
        (what_ansible_does_not_ship, IN + "pool.py", "from importlib import import_module\nimport_module('x')"),
        (what_ansible_does_not_ship, IN + "pool.py", "__import__('x')"),
        (directories_without_init, IN + "lonely/x.py", ""),
        (ansible_outside_of_the_rim, "plugins/module_utils/other.py", "import ansible"),
        (ansible_outside_of_the_rim, IN + "cni/x.py", "import ansible.module_utils.basic"),
        (ansible_outside_of_the_rim, "plugins/modules/x.py", "from ansible.plugins.action import ActionBase"),
        (ansible_outside_of_the_rim, RIM + "/x.py", "from ansible.executor import task_result"),
        (emulator_that_knows_the_client, "tests/emulator/deep/x.py", "from hostnic.cloud import sdk"),
        (emulator_that_knows_the_client, "tests/emulator/x.py", "import qingcloud.iaas"),
        (what_sanity_refuses, "tests/support/x.py", "for _ in range(3):\n    pass"),
        (what_sanity_refuses, IN + "cni/x.py", "def f(_):\n    return 1"),
        (what_sanity_refuses, IN + "cni/x.py", "print()"),
        (what_sanity_refuses, IN + "cni/__init__.py", "# SPDX"),
        (qingcni_imports, "files/qingcni.py", "import json"),
        (qingcni_imports, "files/qingcni.py", "def f():\n    import os"),
        (qingcni_imports, "files/qingcni.py", "from __future__ import annotations"),
    ],
)
def test_an_offender_is_found(tmp_path: Path, rule: t.Callable[[Path], list[str]], file: str, text: str) -> None:
    _plant(tmp_path)
    assert rule(tmp_path) == []
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    (offender,) = rule(tmp_path)
    assert file.removesuffix("/x.py") in offender


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (IN + "model.py", "from .states import State\nfrom .errors import HostnicError"),
        (IN + "net/links.py", "from ..ports import Links\nfrom . import devices\nfrom .devices import Device"),
        (IN + "net/x.py", "try:\n    from pyroute2 import netns\nexcept ImportError:\n    netns = None"),
        (IN + "agent/x.py", "from ..net.links import KernelLinks\nfrom ..cni import plugin\nimport threading"),
        (RIM + "/x.py", "from ansible.module_utils.basic import AnsibleModule\nfrom ..hostnic import errors"),
        ("plugins/modules/x.py", "from ansible.module_utils.basic import AnsibleModule"),
        ("tests/emulator/x.py", "from tests.emulator import y\nfrom . import z"),
        ("files/qingcni.py", "import posix\ndef f():\n    import select"),
    ],
)
def test_what_is_allowed_is_not_found(tmp_path: Path, file: str, text: str) -> None:
    _plant(tmp_path)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert [offender for rule in RULES for offender in rule(tmp_path)] == []


def _plant(root: Path) -> None:
    """A tree that keeps every rule."""
    for folder in ("", "/hostnic", "/hostnic/net", "/hostnic/cni", "/hostnic/agent", "/hostnic/store", "/_ansible"):
        path = root / f"plugins/module_utils{folder}/__init__.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for file in ("files/qingcni.py", "plugins/modules/x.py", "tests/emulator/x.py"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
