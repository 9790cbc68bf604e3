# SPDX-License-Identifier: GPL-3.0-or-later
"""`hostnic_install` as a user runs it, against this machine but below a directory: fetch, install, repeat, go back."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import pytest

from tests.support.ansible import CLONE, ansible

CACHE = CLONE / ".cache/artifacts"


class Machine:
    """Runs the module and returns what it says."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def __call__(
        self, *words: str, name: str = "qingcloud.cni.hostnic_install", **arguments: t.Any
    ) -> dict[str, t.Any]:
        given = {
            **{"root": f"{self.top}/lib", "sbin_dir": f"{self.top}/sbin", "bin_dir": f"{self.top}/cni"},
            **{"unit_dir": f"{self.top}/units", "cache": str(CACHE), **arguments},
        }
        command = ["ansible", "localhost", "-m", name, "-a", json.dumps(given), "--tree", f"{self.top}/said", *words]
        self.shown = ansible(*command)
        said: dict[str, t.Any] = json.loads((self.top / "said/localhost").read_text())
        return said


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_life_of_an_installation(machine: Machine) -> None:
    foreseen = machine("--check", "--diff")
    assert foreseen["changed"] and not (machine.top / "lib").exists()
    assert "+file hostnic/commands/cli.py" in machine.shown

    done = machine("-vvv")
    assert done["digest"] == foreseen["digest"] == done["current"]
    assert "[Unit]" not in machine.shown, "the content of files is no news"
    version = subprocess.run([machine.top / "sbin/qingagent", "version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"qingagent {done['version']} {done['digest']}\n"
    plugin = subprocess.run(
        [machine.top / "cni/qingcni"],
        env={"CNI_COMMAND": "VERSION"},
        input="{}",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "1.0.0" in json.loads(plugin.stdout)["supportedVersions"]

    assert not machine()["changed"]
    assert not machine(name="hostnic_install")["changed"], "the short name is the same module"
    assert not machine("--check")["changed"]
    assert machine(state="absent")["changed"]
    assert not (machine.top / "lib").exists()


def test_third_party_packages_work_on_the_interpreter_they_were_fetched_for(machine: Machine) -> None:
    done = machine(state="staged")
    assert done["current"] is None and not (machine.top / "sbin").exists()
    program = "import pyroute2, yaml, qingcloud.iaas.connection; print(yaml.__with_libyaml__, pyroute2.__file__)"
    python = json.loads((Path(done["version_path"]) / "manifest.json").read_text())["python"]
    told = subprocess.run(
        [python, "-IS", "-c", f"import sys; sys.path.insert(0, {done['deps_path']!r}); {program}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done["deps_path"] in told.stdout
    assert machine(state="pruned")["changed"] and not (machine.top / "lib").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"wheelhouse": "/nowhere"}, "wheelhouse /nowhere is not a directory on the control host"),
        ({"state": "rolled_back"}, "there is no previous version"),
        ({"archive": "/etc/passwd"}, "hostnic_install sets archive itself"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    machine: Machine, arguments: dict[str, t.Any], sentence: str
) -> None:
    with pytest.raises(AssertionError, match="FAILED"):
        machine(**arguments)
    assert sentence in json.loads((machine.top / "said/localhost").read_text())["msg"]
    assert not (machine.top / "lib").exists()
