# SPDX-License-Identifier: GPL-3.0-or-later
"""Under `ansible-test units` the package is the one that Ansible imports, by its full name; `hostnic` stands for it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import typing as t
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
FULL_NAME = "ansible_collections.qingcloud.cni.plugins.module_utils.hostnic"


class FullName(MetaPathFinder, Loader):
    """Finds `hostnic.x` as the module that its full name has, never a second time."""

    def find_spec(self, name: str, path: t.Any, target: t.Any = None) -> t.Optional[ModuleSpec]:
        return ModuleSpec(name, self) if name.partition(".")[0] == "hostnic" else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(FULL_NAME + spec.name[len("hostnic") :])
        spec.loader_state = module.__spec__  # the import system is about to replace it
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = t.cast(ModuleSpec, module.__spec__).loader_state


if not (ROOT / "pyproject.toml").exists():
    # the second for processes that tests start with this path: they are nodes, where the package is `hostnic`
    sys.path += [str(ROOT), str(ROOT / "plugins/module_utils")]
    sys.meta_path.insert(0, FullName())
