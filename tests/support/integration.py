# SPDX-License-Identifier: GPL-3.0-or-later
"""Integration targets and single modules, run by Ansible against an emulated cloud whose jobs are short."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

from tests.emulator import Emulator, Settings
from tests.support.ansible import CLONE

KEY: t.Final = "QYACCESSKEYIDEXAMPLE"
SECRET: t.Final = "5ecretThatNobodyMayEverSeeInAnyOutput000"
ZONE: t.Final = "pek3a"
QUICK: t.Final = {"job_pending_seconds": 0.05, "job_working_seconds": 0.2}


@contextlib.contextmanager
def cloud(world: t.Optional[t.Mapping[str, t.Any]] = None, **settings: t.Any) -> t.Iterator[Emulator]:
    """With a key, and what `world` has besides."""
    key = {"access_key_id": KEY, "secret_access_key": SECRET, "owner": "usr-1"}
    world = {"zone": ZONE, "access_keys": [key], **(world or {})}
    with Emulator(Settings().changed({**QUICK, **settings}), world=world) as emulator:
        yield emulator


def variables(emulator: Emulator) -> dict[str, str]:
    """What integration targets read."""
    return {
        "qingcloud_endpoint": f"{emulator.url}/iaas",
        "qingcloud_zone": ZONE,
        "qingcloud_access_key_id": KEY,
        "qingcloud_secret_access_key": SECRET,
        "emulator_control": emulator.control_url,
    }


class Runner:
    """Ansible on this machine, with files of its own below a directory.

    `collections`: instead of the clone; `within`: a command that runs a command, such as `unshare --mount`.
    """

    def __init__(
        self,
        directory: Path,
        emulator: Emulator,
        collections: t.Optional[Path] = None,
        within: t.Sequence[str] = (),
    ) -> None:
        self._directory = directory
        self._within = within
        self._emulator = emulator
        self._collections = collections
        self.environment: dict[str, str] = {}
        self.said = ""

    def module(self, name: str, *words: str, access: bool = True, **options: t.Any) -> dict[str, t.Any]:
        """What the module answers, whether it succeeds or not."""
        given = {**self.access(), **options} if access else options
        arguments = ["localhost", "-m", name, "--tree", str(self._directory / "told"), *words]
        if given:
            arguments += ["-a", json.dumps(given)]
        told = self._directory / "told" / "localhost"
        told.unlink(missing_ok=True)
        status = self._run("ansible", *arguments)
        assert told.exists(), self.said
        return {**json.loads(told.read_text(encoding="utf-8")), "failed": status != 0}

    def target(self, name: str) -> str:
        """Run an integration target; raises `AssertionError` with the output where a task fails."""
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "roles": [str(CLONE / "tests/integration/targets" / name)],
        }
        path = self._directory / "target.yml"
        path.write_text(json.dumps([play]), encoding="utf-8")
        return self.playbook("-e", json.dumps(variables(self._emulator)), str(path))

    def playbook(self, *words: str) -> str:
        """What `ansible-playbook` printed; raises `AssertionError` with it where that fails."""
        status = self._run("ansible-playbook", *words)
        assert status == 0, self.said
        return self.said

    def access(self) -> dict[str, str]:
        options = ("endpoint", "zone", "access_key_id", "secret_access_key")
        return {name: variables(self._emulator)[f"qingcloud_{name}"] for name in options}

    def _run(self, program: str, *words: str) -> int:
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "QINGCLOUD_"))
        }
        environment.update(self.environment)
        environment.update(ANSIBLE_LOCALHOST_WARNING="False", ANSIBLE_INVENTORY_UNPARSED_WARNING="False")
        environment["ANSIBLE_PIPELINING"] = "True"
        environment.update(
            ANSIBLE_LOCAL_TEMP=str(self._directory / "tmp"), ANSIBLE_REMOTE_TEMP=str(self._directory / "remote")
        )
        if self._collections is None:
            environment["ANSIBLE_CONFIG"] = str(CLONE / "ansible.cfg")
        else:
            (self._directory / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
            environment["ANSIBLE_CONFIG"] = str(self._directory / "ansible.cfg")
            environment["ANSIBLE_COLLECTIONS_PATH"] = str(self._collections)
        done = subprocess.run(
            [*self._within, str(Path(sys.executable).with_name(program)), *words],
            cwd=CLONE if self._collections is None else self._directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        self.said = done.stdout + done.stderr
        return done.returncode
