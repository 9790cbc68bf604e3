# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`hostnic_report`: a page of what nodes and cloud have answered, written on the control host."""

from __future__ import annotations

import os
import tempfile
import time
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible_collections.qingcloud.cni.plugins.plugin_utils.report import answers, problems, render

ARGUMENTS: t.Final[t.Mapping[str, t.Any]] = {
    "path": {"type": "path", "required": True},
    "mode": {"type": "str", "default": "0600"},
    "nodes": {"type": "dict", "required": True},
    "vxnets": {"type": "dict", "default": {}},
    "configured": {"type": "list", "elements": "str", "default": []},
    "sweep": {"type": "dict", "default": {}},
}


class ActionModule(ActionBase):
    """No connection is made."""

    _requires_connection = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        __, given = self.validate_argument_spec(ARGUMENTS)
        try:
            mode = int(given["mode"], 8)
        except ValueError:
            return {**result, "failed": True, "msg": f'mode {given["mode"]} is no octal number: say "0600"'}
        fleet = answers.fleet(given["nodes"], given["vxnets"], given["sweep"], given["configured"])
        shown, text = render.document(fleet, time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))
        document = text.encode("utf-8")
        path = Path(given["path"])
        try:
            changed = _says(path) != shown.digest
            if not self._task.check_mode:
                _write(path, document, mode)
        except OSError as error:
            return {**result, "failed": True, "msg": f"cannot write {path}: {error.strerror or error}: set report_path"}
        found = [
            {"severity": p.severity, "what": p.what, "remedy": p.remedy, "nodes": [name for name, __ in p.nodes]}
            for p in problems.find(fleet)
        ]
        told = {"path": str(path), "size": len(document), "verdict": shown.verdict, "problems": found}
        return {**result, "changed": changed, **told}


def _says(path: Path) -> str:
    """The fingerprint of a page that is there."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return render.digest(stream.read(4096))
    except FileNotFoundError:
        return ""


def _write(path: Path, document: bytes, mode: int) -> None:
    """As a whole: whoever reads it meanwhile has the page before. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(document)
            os.fchmod(stream.fileno(), mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
