# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes' interpreters: the package is compiled and its unit tests run under each that can be found here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

from tests.lab.table import table
from tests.quality.artifact import Artifact
from tests.quality.errors import CheckError
from tests.quality.programs import run
from tests.quality.venvs import CLONE, venv

ACCEPTED: t.Final = ("3.9", "3.10", "3.11", "3.12", "3.13")
# Of tests/unit: what needs the lab's packages or Ansible, or looks at the clone and not at the package.
LEFT_OUT: t.Final = (
    "tests/unit/lab",
    "tests/unit/test_boundaries.py",
    "tests/unit/test_conformance_page.py",
    "tests/unit/test_install_ansible.py",
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
    """Prints a table, a row for each version that is accepted."""
    rows, failed = [], []
    for version in ACCEPTED:
        program = found().get(version)
        if program is None:
            rows.append((version, "not here", "checked statically", ""))
            continue
        started = time.monotonic()
        status, said = _pytest(program)
        counted = re.findall(r"\d+ (?:passed|failed|skipped|errors?)", said.splitlines()[-1]) if said else []
        rows.append((version, program, ", ".join(counted) or "nothing", f"{time.monotonic() - started:.0f} s"))
        if status:
            failed.append(f"Python {version}\n{said}")
    print(table(("python", "interpreter", "unit tests", "time"), rows))
    if failed:
        raise CheckError("\n".join(failed))


def _pytest(program: str) -> tuple[int, str]:
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit"]
    done = subprocess.run(
        [str(venv("nodes", program) / "python"), *words, *(f"--ignore={path}" for path in LEFT_OUT)],
        cwd=CLONE,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.strip()
