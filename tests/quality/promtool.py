# SPDX-License-Identifier: GPL-3.0-or-later
"""`promtool` of the distribution's package `prometheus`, taken out of it: the service itself is not installed."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
import typing as t
from pathlib import Path

from tests.quality.errors import CheckError
from tests.quality.programs import run
from tests.quality.venvs import CACHE

_APT: t.Final = (
    "apt-get",
    "-qq",
    "-o",
    "Dpkg::Use-Pty=0",
    "-o",
    "DPkg::Lock::Timeout=300",
    "-o",
    "APT::Sandbox::User=root",
)


def promtool() -> Path:
    """The program; fetched once. Raises `CheckError`."""
    CACHE.mkdir(parents=True, exist_ok=True)
    program = CACHE / "promtool"
    with (CACHE / "promtool.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _fetch(program)
    return program


def _fetch(program: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        directory = Path(name)
        try:
            run([*_APT, "download", "prometheus"], cwd=directory)
        except CheckError:  # the lists are older than what the mirror has
            run([*_APT, "update"])
            run([*_APT, "download", "prometheus"], cwd=directory)
        (package,) = directory.glob("prometheus_*.deb")
        unpacked = directory / "promtool"
        with (
            unpacked.open("wb") as stream,
            subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as content,
        ):
            taken = subprocess.run(
                ["tar", "--extract", "--to-stdout", "./usr/bin/promtool"],
                stdin=content.stdout,
                stdout=stream,
                check=False,
            )
        if taken.returncode or not unpacked.stat().st_size:
            raise CheckError(f"{package.name} has no promtool")
        unpacked.chmod(0o755)
        unpacked.replace(program)
