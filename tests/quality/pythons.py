# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes' interpreters: the package is compiled and its unit tests run under each that can be found here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab.table import table
from tests.quality import ansibletest
from tests.quality.artifact import Artifact
from tests.quality.errors import CheckError
from tests.quality.programs import run
from tests.quality.venvs import CLONE, venv

ACCEPTED: t.Final = ("3.9", "3.10", "3.11", "3.12", "3.13")
# `make test` runs all tests with this one.
HERE: t.Final = ".".join(str(part) for part in sys.version_info[:2])
# Of tests/unit: what needs the lab's packages, what looks at the clone and not at the package, and what takes a third
# of the time to repeat by the thousand what others have the package do once.
LEFT_OUT: t.Final = (
    "tests/unit/lab",
    "tests/unit/test_bench*",
    "tests/unit/test_boundaries.py",
    "tests/unit/test_conformance_page.py",
    "tests/unit/test_engine_faults.py",
    "tests/unit/test_promises.py",
)
# Beside these: tests that run Ansible's programs, or build the collection and read its pages. The control host's Python
# does that, and nodes have none of it. Modules' own parts are tested: nodes get Ansible's half of them with the module.
CONTROL_HOST: t.Final = re.compile(
    r"^from (?:tests\.(?:support\.ansible import .*\b(?:ansible|attempt)\b|(?:support\.integration|docs|quality)\b)"
    r"|plugins\.plugin_utils\.report import .*\brender\b)",
    re.MULTILINE,
)
_PROGRAM = "import sys; print('%d.%d' % sys.version_info[:2], sys.version.split()[0])"


def found() -> dict[str, str]:
    """Minor version ► interpreter; shims that name a version which is not there do not count."""
    places = [Path("/usr/bin"), Path("/usr/local/bin"), *Path.home().glob(".pyenv/versions/*/bin")]
    search = os.pathsep.join(str(place) for place in places)
    result = {}
    for version in ACCEPTED:
        program = shutil.which(f"python{version}", path=search) or shutil.which(f"python{version}")
        if program:
            done = subprocess.run([program, "-I", "-c", _PROGRAM], capture_output=True, text=True, check=False)
            if done.stdout.startswith(f"{version} "):
                result[version] = program
    return result


def compiled(artifact: Artifact) -> None:
    """Everything that goes to nodes, by every interpreter; where one is missing, its grammar is `vermin`'s to judge."""
    for program in found().values():
        pycache = artifact.path.parent / "pycache"
        words = ["-I", "-X", f"pycache_prefix={pycache}", "-W", "error", "-m", "compileall", "-q", "-f"]
        run([program, *words, str(artifact.tree / "plugins"), str(artifact.tree / "files")])


def tested(artifact: Artifact) -> None:
    """Prints a table, a row for each version that is accepted. PYTHONS= names some of them."""
    wanted = os.environ.get("PYTHONS", "").replace(",", " ").split() or ACCEPTED
    unknown = sorted(set(wanted) - set(ACCEPTED))
    if unknown:
        raise CheckError(f"PYTHONS={' '.join(unknown)}: there are {', '.join(ACCEPTED)}")
    here = {version: program for version, program in found().items() if version in wanted and version != HERE}
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(os.cpu_count()) as pool:
        Path(directory, "ansible").symlink_to(_ansible(), target_is_directory=True)
        runs = {version: pool.submit(_pytest, program, directory) for version, program in here.items()}
        ended = {version: run.result() for version, run in runs.items()}
    rows, failed = [], []
    for version in wanted:
        if version in ended:
            status, said, seconds = ended[version]
            counted = re.findall(r"\d+ (?:passed|failed|skipped|errors?)", said.splitlines()[-1]) if said else []
            rows.append((version, here[version], ", ".join(counted) or "nothing", f"{seconds:.0f} s"))
            if status:
                failed.append(f"Python {version}\n{said}")
        elif version == HERE:
            rows.append((version, sys.executable, "by `make test`", ""))
        else:
            rows.append((version, "not here", "checked statically", ""))
    print(table(("python", "interpreter", "unit tests", "time"), rows))
    if failed:
        raise CheckError("\n".join(failed))


def control_host() -> list[str]:
    """Files of tests that are not for nodes' interpreters."""
    files = sorted((CLONE / "tests/unit").glob("test_*.py"))
    return [str(path.relative_to(CLONE)) for path in files if CONTROL_HOST.search(path.read_text(encoding="utf-8"))]


def _ansible() -> str:
    """The package whose `module_utils` travel to nodes with each module."""
    program = str(ansibletest.programs_of(ansibletest.CORE) / "python")
    return run([program, "-c", "import ansible, os; print(os.path.dirname(ansible.__file__))"]).stdout.strip()


def _pytest(program: str, path: str) -> tuple[int, str, float]:
    """Exit status, what was printed, seconds."""
    started = time.monotonic()
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit"]
    without = [f"--ignore-glob={it}" for it in (*LEFT_OUT, *control_host())]
    done = subprocess.run(
        [str(venv("nodes", program) / "python"), *words, *without],
        cwd=CLONE,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.strip(), time.monotonic() - started
