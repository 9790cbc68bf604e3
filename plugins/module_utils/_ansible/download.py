# SPDX-License-Identifier: GPL-3.0-or-later
"""On the control host: get the artifacts of the lock that suit a node, from a directory or with pip. Never shipped."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

from ..hostnic.errors import InvalidConfig, Unreachable
from .artifacts import NATIVE_OPTIONAL, Node, choose, matching
from .lock import Requirement

# What wheels for "any other machine" are taken from, where a project works without its native module.
_COMMON: t.Final = Node(python="3.11", abi="cp311", machine="x86_64", libc="glibc", libc_minor=17)

# Runs a command: (exit status, what it said).
Run = t.Callable[[t.Sequence[str]], tuple[int, str]]


def from_wheelhouse(requirements: t.Sequence[Requirement], node: Node, wheelhouse: Path) -> list[Path]:
    """Every requirement from the files of a directory. Raises `InvalidConfig` that names all that is missing."""
    if not wheelhouse.is_dir():
        raise InvalidConfig(f"wheelhouse {wheelhouse} is not a directory on the control host")
    files = _files(wheelhouse)
    found = {requirement.name: _pick(requirement, files, node, foreign=True) for requirement in requirements}
    missing = [f"{item.name} {item.version}" for item in requirements if found[item.name] is None]
    if missing:
        raise InvalidConfig(
            f"wheelhouse {wheelhouse} lacks {', '.join(missing)} for {node}, or what it has does not match "
            "requirements.lock. Fill it on a machine with a package index: pip download --no-deps --require-hashes -r "
            f"files/requirements.lock -d {wheelhouse} --python-version {node.python} --platform {node.platforms[-1]}"
        )
    return [path for path in found.values() if path]


def from_index(
    requirements: t.Iterable[Requirement], node: Node, cache: Path, run: t.Optional[Run] = None
) -> list[Path]:
    """Every requirement from the cache, or fetched into it with pip and the index that pip is configured for."""
    with _locked(cache):
        return [_fetch(requirement, node, cache, run or _run) for requirement in requirements]


def _fetch(requirement: Requirement, node: Node, cache: Path, run: Run) -> Path:
    found = _pick(requirement, _files(cache), node)
    said = ""
    for wanted in [node, _COMMON] if requirement.name in NATIVE_OPTIONAL else [node]:
        if found is None:
            complaint = _download(requirement, wanted, cache, run)
            said = said or complaint
            found = _pick(requirement, _files(cache), node, foreign=wanted is _COMMON)
    if found is None:
        raise Unreachable(
            f"{requirement.name} {requirement.version} for {node} could not be fetched with pip on the control host, "
            f"which said: {said.strip() or 'nothing'}. Where there is no package index, name a directory with the "
            "artifacts in `wheelhouse`"
        )
    return found


def _download(requirement: Requirement, node: Node, cache: Path, run: Run) -> str:
    """Have pip put one artifact into the cache; returns what it complained about. pip checks the hash, and so do we."""
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as directory:
        listing = Path(directory) / "requirements.txt"
        listing.write_text(requirement.pip_line + "\n", encoding="utf-8")
        target = Path(directory) / "files"
        status, output = run([*_pip(node, target), "-r", str(listing)])
        if status != 0:
            return output
        for path in _files(target):
            path.replace(cache / path.name)
    return ""


def _pip(node: Node, target: Path) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--require-hashes"]
    command += ["--dest", str(target), "--implementation", "cp", "--python-version", node.python]
    for abi in node.abis:
        command += ["--abi", abi]
    for platform in node.platforms:
        command += ["--platform", platform]
    return command


def _run(command: t.Sequence[str]) -> tuple[int, str]:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def _pick(requirement: Requirement, files: t.Iterable[Path], node: Node, foreign: bool = False) -> t.Optional[Path]:
    """The best file of those whose content the lock knows."""
    named = [path for path in files if choose(requirement, [path], node, foreign)]
    return choose(requirement, matching(requirement, named), node, foreign)


def _files(directory: Path) -> list[Path]:
    return sorted([*directory.glob("*.whl"), *directory.glob("*.tar.gz")])


@contextlib.contextmanager
def _locked(cache: Path) -> t.Iterator[None]:
    """Nodes are installed in parallel, and each would fetch the same."""
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        for left in cache.glob(".fetch-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
