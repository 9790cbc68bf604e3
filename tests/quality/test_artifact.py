# SPDX-License-Identifier: GPL-3.0-or-later
"""The artifact in an empty collections path: what is in it, and integration targets run from there."""

from __future__ import annotations

import re
import subprocess
import typing as t
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tests.emulator import Emulator
from tests.quality import artifact
from tests.quality.artifact import Artifact
from tests.quality.venvs import CLONE
from tests.support import integration
from tests.support.ansible import program

TARGETS = sorted(path.name for path in (CLONE / "tests/integration/targets").iterdir())
MODULES = {path.stem for path in (CLONE / "plugins/modules").glob("*.py")}
# Modules that are parts of roles or playbooks, which their tests run on real nodes.
PARTS = {"hostnic_files", "hostnic_health", "hostnic_remnants", "hostnic_report_info", "hostnic_trial_pod"}
# Left to `make lint`, which runs all with each core: tests of their own, or each roll-out in the lab, do the same here.
FOR_LINT = {
    "hostnic_install", "hostnic_pool", "hostnic_pool_info", "hostnic_preflight", "hostnic_probe", "hostnic_report",
    "hostnic_runtime_info", "inventory_qingcloud", "qingcloud_nic",
}  # fmt: skip
PLAYBOOKS = sorted(path.stem for path in (CLONE / "playbooks").glob("*.yml") if "inventory" not in path.stem)
INVENTORIES = {f"inventory_{path.stem}" for path in (CLONE / "plugins/inventory").glob("*.py")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return artifact.build(Path(program("ansible-galaxy")), tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def emulator() -> t.Iterator[Emulator]:
    with integration.cloud() as running:
        yield running


def test_it_holds_what_is_committed_but_for_what_a_clone_alone_can_use(installed: Artifact) -> None:
    ignored = yaml.safe_load((CLONE / "galaxy.yml").read_text())["build_ignore"]

    def left_out(path: str) -> bool:
        above = [path, *(str(parent) for parent in Path(path).parents)]
        return any(fnmatch(name, pattern) for name in above for pattern in ignored)

    told = subprocess.run(
        ["git", "ls-files", "-cozX.gitignore"], cwd=CLONE, capture_output=True, text=True, check=True
    ).stdout
    committed = {path for path in told.split("\0") if path and (CLONE / path).exists() and not left_out(path)}
    found = {str(path.relative_to(installed.tree)) for path in installed.tree.rglob("*") if path.is_file()}
    assert found == committed - {"galaxy.yml"} | {"MANIFEST.json", "FILES.json"}


def test_the_tests_that_it_holds_import_nothing_that_it_does_not_hold(installed: Artifact) -> None:
    pattern = re.compile(r"^ *(?:from|import) (tests(?:\.\w+)+)", re.MULTILINE)
    missing = {
        f"{path.relative_to(installed.tree)}: {name}"
        for path in (installed.tree / "tests").rglob("*.py")
        for name in pattern.findall(path.read_text(encoding="utf-8"))
        if not list(installed.tree.glob(f"{name.replace('.', '/')}*"))
    }
    assert missing == set()


def test_every_module_has_a_target() -> None:
    assert set(TARGETS) == (MODULES | INVENTORIES) - PARTS


@pytest.mark.parametrize("target", sorted(set(TARGETS) - FOR_LINT))
def test_target(tmp_path: Path, emulator: Emulator, installed: Artifact, target: str) -> None:
    integration.Runner(tmp_path, emulator, installed.path).target(target)


def test_every_playbook_by_its_name(tmp_path: Path, emulator: Emulator, installed: Artifact) -> None:
    """With all roles and modules that it names; the life of three nodes in tests/e2e is led so."""
    names = [f"qingcloud.cni.{name}" for name in PLAYBOOKS]
    inventory = str(installed.tree / "playbooks/inventory.example.yml")
    said = integration.Runner(tmp_path, emulator, installed.path).playbook(*names, "-i", inventory, "--list-tasks")
    told = dict(zip(re.findall(r"^playbook: (.+)$", said, re.MULTILINE), said.split("playbook: ")[1:]))
    assert list(told) == [str(installed.tree / f"playbooks/{name}.yml") for name in PLAYBOOKS]
    assert [path for path, of in told.items() if not re.search(r"^ {6}\S.*TAGS:", of, re.MULTILINE)] == []
