# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments below .cache, one for each group of pyproject.toml that is asked for; made once."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import typing as t
from pathlib import Path

import tomllib  # type: ignore[import-not-found]  # it came with Python 3.11, which runs this

from tests.quality.errors import CheckError
from tests.quality.programs import run

CLONE = Path(__file__).resolve().parents[2]
CACHE = CLONE / ".cache/quality"


def requirements(group: str) -> list[str]:
    """Of `[dependency-groups]`."""
    with (CLONE / "pyproject.toml").open("rb") as stream:
        found: list[str] = tomllib.load(stream)["dependency-groups"][group]
    return found


def venv(group: str, interpreter: str = sys.executable) -> Path:
    """Directory of programs of an environment with that group, for that interpreter."""
    wanted = requirements(group)
    version = run([interpreter, "-c", "import sys; print(sys.version, sys.base_prefix)"]).stdout
    digest = hashlib.sha256(repr((wanted, version, str(CLONE))).encode()).hexdigest()
    top = CACHE / f"{group}-{version.split()[0]}"
    top.parent.mkdir(parents=True, exist_ok=True)
    with (top.parent / f"{top.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = top / "done"
        if not done.exists() or done.read_text() != digest:
            done.unlink(missing_ok=True)
            run([interpreter, "-m", "venv", "--clear", str(top)])
            _install(top / "bin/python", wanted)
            done.write_text(digest)
    return top / "bin"


def _install(python: Path, wanted: t.Sequence[str]) -> None:
    words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-script-location"]
    try:
        run([str(python), *words, *wanted], timeout=1200)
    except subprocess.TimeoutExpired as error:
        raise CheckError(f"no package index answered within {error.timeout:g} s") from error
