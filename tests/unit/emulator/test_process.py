# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulator as a process: ready line and file, signals, errors on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import tests.emulator
from tests.unit.emulator.rig import PODS, WORLD, SdkClient, fetch

TREE = Path(tests.emulator.__file__).parents[2]


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.emulator", *arguments]
    return subprocess.Popen(command, cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    path = tmp_path / "world.json"
    path.write_text(json.dumps(WORLD), encoding="utf-8")
    return path


@pytest.fixture
def running(world: Path, tmp_path: Path) -> t.Iterator[tuple[subprocess.Popen[str], Path]]:
    probe = tmp_path / "probe.json"
    probe.write_text(json.dumps({"nics_per_instance": 5}), encoding="utf-8")
    ready = tmp_path / "ready.json"
    process = start(
        "--world", str(world), "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0",
        "--probe", str(probe), "--ready-file", str(ready),
    )  # fmt: skip
    yield process, ready
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ready_serves_and_stops(running: tuple[subprocess.Popen[str], Path], number: signal.Signals) -> None:
    process, ready = running
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    assert said == json.loads(ready.read_text(encoding="utf-8"))
    assert said["pid"] == process.pid
    assert len(said["api"]) == 2
    for url in said["api"]:
        assert SdkClient(url)("CreateNics", vxnet=PODS, count=1)["ret_code"] == 0
    with fetch(f"{said['control']}/control/settings", timeout=5) as answer:
        assert json.loads(answer.read())["nics_per_instance"] == 5
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(f"{said['metadata']}/latest/meta-data/security-credentials", timeout=5)
    os.kill(process.pid, number)
    began = time.monotonic()
    assert process.wait(10) == 0
    assert time.monotonic() - began < 5
    with pytest.raises(urllib.error.URLError):
        fetch(said["control"], timeout=2)


@pytest.mark.parametrize(
    ("probe", "said"),
    [({"nic_per_instance": 1}, "the nearest valid one is 'nics_per_instance'"), ([], "not an object")],
)
def test_a_bad_probe(world: Path, tmp_path: Path, probe: t.Any, said: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(probe), encoding="utf-8")
    process = start("--world", str(world), "--probe", str(path))
    __, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said in err
    assert "Traceback" not in err


def test_a_bad_world(tmp_path: Path) -> None:
    path = tmp_path / "world.json"
    path.write_text('{"zone": "lab1", "vxnet": []}', encoding="utf-8")
    process = start("--world", str(path))
    __, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "unknown key 'vxnet'" in err


def test_without_data_plane_the_standard_library_is_enough() -> None:
    code = (
        "import sys; sys.modules['pyroute2'] = None\n"
        "from tests.emulator import Emulator\n"
        "import tests.emulator.__main__\n"
        "with Emulator() as emu: print(emu.url)\n"
    )
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, check=False, cwd=TREE, capture_output=True, text=True, timeout=20)
    assert done.stdout.startswith("http://127.0.0.1:"), done.stderr


def test_nothing_of_the_product_is_imported() -> None:
    for path in Path(tests.emulator.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "hostnic" not in text, path
        assert "plugins" not in text, path
