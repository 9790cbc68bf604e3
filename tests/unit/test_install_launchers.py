# SPDX-License-Identifier: GPL-3.0-or-later
"""The two launchers, run for real from a directory of their own."""

from __future__ import annotations

import fcntl
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.module_utils._ansible import launchers
from plugins.module_utils.hostnic.errors import InvalidConfig

BODY = """
import posix
import sys

def main():
    posix.write(1, b"%s " + repr(sorted(set(sys.modules) - set(sys.builtin_module_names))).encode())
    posix._exit(3)

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def version(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "qingcni.py").write_text(BODY % "source")
    return tmp_path


def install(version: Path, name: str, text: str) -> Path:
    path = version / "bin" / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def run(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([path, *words], capture_output=True, text=True, check=False, timeout=30)


def compile_body(version: Path, text: str) -> Path:
    source = version / "other.py"
    source.write_text(text)
    compiled = version / "qingcni.pyc"
    py_compile.compile(str(source), cfile=str(compiled), doraise=True)
    return compiled


def test_qingcni_runs_its_compiled_body_and_imports_nothing_else(version: Path) -> None:
    compile_body(version, BODY % "compiled")
    done = run(install(version, "qingcni", launchers.cni(sys.executable, str(version))))
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("compiled ")
    assert not {"site", "os", "re", "json", "importlib", "socket"} & set(done.stdout.split("'"))


@pytest.mark.parametrize("damage", ["missing", "of another Python", "cut off", "empty"])
def test_qingcni_goes_back_to_its_source(version: Path, damage: str) -> None:
    compiled = compile_body(version, BODY % "compiled")
    whole = compiled.read_bytes()
    left = {"of another Python": b"\0\0\r\n" + whole[4:], "cut off": whole[:40], "empty": b""}
    compiled.unlink()
    if damage in left:
        compiled.write_bytes(left[damage])
    done = run(install(version, "qingcni", launchers.cni(sys.executable, str(version))))
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("source ")


@pytest.fixture
def agent(version: Path) -> Path:
    package = version / "hostnic/commands"
    package.mkdir(parents=True)
    (version / "hostnic/__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(
        "import sys\nimport third\n\ndef main():\n    print(third.WHERE, __file__, sys.argv[1:], flush=True)\n"
        "    sys.stdin.read()\n    return 7\n"
    )
    (version / "deps-1").mkdir()
    (version / "deps-1/third.py").write_text("WHERE = 'deps'\n")
    (version / "deps").symlink_to("deps-1")
    return install(version, "qingagent", launchers.agent(sys.executable, str(version)))


def test_qingagent_finds_package_and_dependencies_of_its_version(version: Path, agent: Path) -> None:
    os.environ.pop("PYTHONPATH", None)
    done = subprocess.run([agent, "start", "--x"], input="", capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout == f"deps {version}/hostnic/commands/cli.py ['start', '--x']\n"


def test_qingagent_shows_that_its_version_is_in_use(version: Path, agent: Path) -> None:
    directory = os.open(version, os.O_RDONLY)
    process = subprocess.Popen([agent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout and process.stdout.readline()
        with pytest.raises(BlockingIOError):
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.communicate("", timeout=30)
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        process.kill()
        process.wait()
        os.close(directory)


@pytest.mark.parametrize("python", ["/opt/my python/bin/python3", "/" + "x" * 260])
def test_an_interpreter_that_no_first_line_can_name_is_told(python: str) -> None:
    with pytest.raises(InvalidConfig):
        launchers.cni(python, "/usr/lib/hostnic/1")
