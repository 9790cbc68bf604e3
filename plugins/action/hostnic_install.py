# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The control host's half of `hostnic_install`: sends what lies in `files/`, and artifacts where they are missing."""

from __future__ import annotations

import json
import typing as t

from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.qingcloud.cni.plugins.plugin_utils.packages import COLLECTION, Sender, lock_text

LAYING = frozenset({"present", "staged"})


class ActionModule(Sender):
    """One round trip where nothing is missing; a second one with the artifacts where something is."""

    internal = ("files", "lock", "collection_version", "archive")

    def act(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        if arguments.get("state", "present") not in LAYING:
            return self.call(arguments, task_vars)
        arguments.update(files=node_files(), lock=lock_text(), collection_version=collection_version())
        result = self.call(arguments, task_vars)
        if not result.get("missing"):
            return result
        return self.call_with(
            result["missing"],
            lambda archive: {**arguments, "archive": archive},
            task_vars,
            arguments.get("wheelhouse"),
            arguments.get("cache"),
        )


def node_files() -> dict[str, str]:
    """Files that go to the node beside the package: path there ► text."""
    top = COLLECTION / "files"
    paths = [top / "qingcni.py", *sorted((top / "units").iterdir())]
    return {str(path.relative_to(top)): path.read_text(encoding="utf-8") for path in paths}


def collection_version() -> str:
    """From galaxy.yml in a clone, from the manifest where the collection was installed."""
    manifest = COLLECTION / "MANIFEST.json"
    if manifest.exists():
        return str(json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"])
    return str(yaml_load((COLLECTION / "galaxy.yml").read_text(encoding="utf-8"))["version"])
