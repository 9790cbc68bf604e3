# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The control host's half of `hostnic_install`: sends what lies in `files/`, and artifacts where they are missing."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
import typing as t
from pathlib import Path

import yaml
from ansible.plugins.action import ActionBase
from ansible_collections.qingcloud.cni.plugins.module_utils._ansible import artifacts, download, lock
from ansible_collections.qingcloud.cni.plugins.module_utils.hostnic.errors import HostnicError, InvalidConfig

COLLECTION = Path(__file__).resolve().parents[2]
LAYING = frozenset({"present", "staged"})
# Set here, never by a user.
INTERNAL = ("files", "lock", "collection_version", "archive")


class ActionModule(ActionBase):
    """One round trip where nothing is missing; a second one with the artifacts where something is."""

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        try:
            result.update(self._install(dict(self._task.args), task_vars or {}))
        except HostnicError as error:
            result.update(failed=True, msg=error.message)
        for name in INTERNAL:
            result.get("invocation", {}).get("module_args", {}).pop(name, None)
        return result

    def _install(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        given = sorted(set(INTERNAL) & set(arguments))
        if given:
            raise InvalidConfig(f"hostnic_install sets {', '.join(given)} itself")
        if arguments.get("state", "present") not in LAYING:
            return self._call(arguments, task_vars)
        arguments.update(files=node_files(), lock=lock_text(), collection_version=collection_version())
        result = self._call(arguments, task_vars)
        if not result.get("missing"):
            return result
        paths = self._obtain(artifacts.Node.from_dict(result["missing"]), arguments)
        try:
            arguments["archive"] = self._send(paths)
            return self._call(arguments, task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

    def _call(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        called: dict[str, t.Any] = self._execute_module(
            module_name=self._task.action, module_args=arguments, task_vars=task_vars
        )
        return called

    def _obtain(self, node: artifacts.Node, arguments: t.Mapping[str, t.Any]) -> list[Path]:
        requirements = lock.parse(lock_text())
        wheelhouse = arguments.get("wheelhouse")
        if wheelhouse:
            return download.from_wheelhouse(requirements, node, Path(wheelhouse).expanduser())
        return download.from_index(requirements, node, Path(arguments.get("cache") or default_cache()).expanduser())

    def _send(self, paths: t.Sequence[Path]) -> str:
        """Everything in one archive, one transfer; returns its path on the node."""
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        remote = self._connection._shell.join_path(self._connection._shell.tmpdir, "artifacts.tar")
        with tempfile.TemporaryDirectory() as directory:
            local = Path(directory) / "artifacts.tar"
            with tarfile.open(local, "w") as bundle:
                for path in paths:
                    bundle.add(path, arcname=path.name)
            self._transfer_file(str(local), remote)
        self._fixup_perms2((self._connection._shell.tmpdir, remote))
        return str(remote)


def node_files() -> dict[str, str]:
    """Files that go to the node beside the package: path there ► text."""
    top = COLLECTION / "files"
    paths = [top / "qingcni.py", *sorted((top / "units").iterdir())]
    return {str(path.relative_to(top)): path.read_text(encoding="utf-8") for path in paths}


def lock_text() -> str:
    return (COLLECTION / "files" / "requirements.lock").read_text(encoding="utf-8")


def collection_version() -> str:
    """From galaxy.yml in a clone, from the manifest where the collection was installed."""
    manifest = COLLECTION / "MANIFEST.json"
    if manifest.exists():
        return str(json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"])
    return str(yaml.safe_load((COLLECTION / "galaxy.yml").read_text(encoding="utf-8"))["version"])


def default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "qingcloud.cni"
