# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The control host's half of third-party packages: fetched for a node, sent in one archive, only where it lacks them.

Imported by its full name, since action plugins that are found by a short name have no package of ours around them.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible_collections.qingcloud.cni.plugins.module_utils._ansible import artifacts, download, lock
from ansible_collections.qingcloud.cni.plugins.module_utils._ansible.packages import MISSING, OPTION
from ansible_collections.qingcloud.cni.plugins.module_utils.hostnic.errors import HostnicError, InvalidConfig

COLLECTION = Path(__file__).resolve().parents[2]


class Sender(ActionBase):
    """For actions whose module may ask for packages."""

    # Options that are set here, never by a user.
    internal: t.ClassVar[tuple[str, ...]] = ()

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        try:
            given = sorted(set(self.internal) & set(arguments))
            if given:
                raise InvalidConfig(f"{self._task.action.rpartition('.')[2]} sets {', '.join(given)} itself")
            result.update(self.act(arguments, task_vars or {}))
        except HostnicError as error:
            result.update(failed=True, msg=error.message)
        for name in self.internal:
            result.get("invocation", {}).get("module_args", {}).pop(name, None)
        return result

    def act(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """The module's result. Raises `HostnicError`."""
        raise NotImplementedError

    def call(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Run the module of this action's name."""
        called: dict[str, t.Any] = self._execute_module(
            module_name=self._task.action, module_args=arguments, task_vars=task_vars
        )
        return called

    def call_with(
        self,
        missing: t.Mapping[str, t.Any],
        complete: t.Callable[[str], dict[str, t.Any]],
        task_vars: dict[str, t.Any],
        wheelhouse: t.Optional[str] = None,
        cache: t.Optional[str] = None,
    ) -> dict[str, t.Any]:
        """Run it with what the node lacks: `complete` gives the arguments for an archive that lies there by then."""
        paths = obtain(artifacts.Node.from_dict(missing), wheelhouse, cache)
        try:
            return self.call(complete(self._send(paths)), task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

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


class PackagesAction(Sender):
    """Runs the module of its own name: one round trip, two more where the node lacks the packages."""

    internal = (OPTION,)

    def act(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        text = lock_text()
        result = self.call({**arguments, OPTION: {"lock": text}}, task_vars)
        if MISSING not in result:
            return result
        wheelhouse = self._templar.template(task_vars.get("qingagent_wheelhouse") or None)
        return self.call_with(
            result[MISSING],
            lambda archive: {**arguments, OPTION: {"lock": text, "archive": archive}},
            task_vars,
            wheelhouse,
        )


def obtain(node: artifacts.Node, wheelhouse: t.Optional[str] = None, cache: t.Optional[str] = None) -> list[Path]:
    """The lock's artifacts for a node, from a directory on this host or by pip through a cache."""
    requirements = lock.parse(lock_text())
    if wheelhouse:
        return download.from_wheelhouse(requirements, node, Path(wheelhouse).expanduser())
    return download.from_index(requirements, node, Path(cache or default_cache()).expanduser())


def lock_text() -> str:
    return (COLLECTION / "files" / "requirements.lock").read_text(encoding="utf-8")


def default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "qingcloud.cni"
