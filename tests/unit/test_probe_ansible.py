# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe as a user runs it: the playbook against an emulated cloud whose jobs take their time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml

from tests.emulator import Emulator
from tests.emulator import Settings as CloudSettings
from tests.support.ansible import CLONE, attempt, program
from tests.support.emulated_cloud import HERE, WORLD

SECRET = "mostSecretOfAllSecrets"
SET: t.Final = {
    "nic_name_match": "prefix",
    "parallel_jobs_per_instance": "queue",
    "attach_list_max": 5,
    "aspoof_change": "refuse",
    "job_working_seconds": 1.5,
    "describe_lag": 1.0,
}


class Account:
    """One node, on this machine, of an emulated cloud."""

    def __init__(self, emulator: Emulator, directory: Path) -> None:
        self.emulator = emulator
        self.file = directory / "probe.json"
        self.inventory = directory / "inventory.yml"
        host, __, port = emulator.url.rpartition("/")[2].partition(":")
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        variables = {
            "qingagent_vxnet": ["vxnet-b"],
            "qingagent_zone": "pek3a",
            "qingagent_access_key_id": "AK",
            "qingagent_secret_access_key": SECRET,
            "qingagent_host": host,
            "qingagent_port": int(port),
            "qingagent_protocol": "http",
            "ansible_become": False,
            "probe_instance": HERE,
            "probe_file": str(self.file),
        }
        nodes = {"hosts": {"node1": here, "node2": here}, "vars": variables}
        self.inventory.write_text(yaml.safe_dump({"qingcloud_nodes": nodes}))

    @property
    def words(self) -> tuple[str, ...]:
        return "ansible-playbook", str(CLONE / "playbooks/probe.yml"), "-i", str(self.inventory)

    def nics(self) -> dict[str, str]:
        """Id ► name."""
        return {nic.nic_id: nic.nic_name for nic in list(self.emulator.cloud.nics.values())}

    def calls(self, action: str) -> int:
        return int(self.emulator.counters.to_dict()["calls"].get(action, 0))


@pytest.fixture
def account(tmp_path: Path) -> t.Iterator[Account]:
    world = {**WORLD, "access_keys": [{"access_key_id": "AK", "secret_access_key": SECRET, "owner": "usr-00000001"}]}
    with Emulator(CloudSettings().changed(SET), world=world) as emulator:
        yield Account(emulator, tmp_path)


def test_it_says_the_cost_and_makes_nothing_without_consent(account: Account) -> None:
    before = account.nics()
    refused = attempt(*account.words)
    assert refused.returncode != 0
    said = " ".join(refused.stdout.split())
    assert "4 NICs with 4 addresses of vxnet-b are made, for about a minute." in said
    assert "run with -e probe_accept=true where nobody can be asked" in said
    foreseen = attempt(*account.words, "--check", "--diff")
    assert foreseen.returncode == 0, foreseen.stdout
    assert "changed=1" in foreseen.stdout and "node2" not in foreseen.stdout
    assert account.nics() == before and not account.calls("CreateNics") and not account.file.exists()


def test_what_it_writes_is_what_the_emulator_loads(account: Account, tmp_path: Path) -> None:
    before = account.nics()
    done = attempt(*account.words, "-e", "probe_accept=true", "-vvvv")
    assert done.returncode == 0, done.stdout
    assert SECRET not in done.stdout + done.stderr
    assert account.nics() == before and account.calls("CreateNics") == 4
    measured = json.loads(account.file.read_text())
    exact = {name: value for name, value in SET.items() if not isinstance(value, float)}
    assert {name: measured[name] for name in exact} == exact
    for name in ("job_pending_seconds", "job_working_seconds", "describe_lag"):
        assert abs(measured[name] - getattr(account.emulator.cloud.settings, name)) < 0.7, measured
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.emulator", "--probe", str(account.file)],
        cwd=CLONE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["pid"] == process.pid
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_the_playbook_cleans_up_after_a_module_that_was_killed(account: Account) -> None:
    before = account.nics()
    environment = {**os.environ, "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"), "ANSIBLE_PIPELINING": "False"}
    running = subprocess.Popen(
        [program(account.words[0]), *account.words[1:], "-e", "probe_accept=true"],
        env=environment, cwd=CLONE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: any(nic.nic_name.startswith("qingprobe") for nic in account.emulator.cloud.nics_of(HERE)))
        for pid in modules_of(running.pid):
            os.kill(pid, signal.SIGKILL)
        said, __ = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode != 0 and "Remove what was left where the module itself was interrupted" in said
    assert account.nics() == before, said
    assert not account.file.exists()


def modules_of(parent: int) -> list[int]:
    """The processes below this one that run the module."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text() if entry.name.isdecimal() else ""
        except OSError:
            continue
        if "AnsiballZ_hostnic_probe.py" in words and parent in ancestors(int(entry.name)):
            found.append(int(entry.name))
    return found


def ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        found.add(pid)
    return found


def until(condition: t.Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
