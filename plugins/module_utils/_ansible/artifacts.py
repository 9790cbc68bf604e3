# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheels and sdists without pip: which one suits a node, and how it is unpacked. Nothing of them is ever run."""

from __future__ import annotations

import functools
import hashlib
import importlib.machinery
import platform
import re
import stat
import sys
import sysconfig
import tarfile
import typing as t
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from ..hostnic.errors import InvalidConfig
from .lock import Requirement, canonical

# What is taken out of each project; a project that is not here is refused.
PACKAGES: dict[str, tuple[str, ...]] = {
    "future": ("future", "past"),
    "prometheus-client": ("prometheus_client",),
    "pyroute2": ("pyroute2",),
    "pyyaml": ("yaml", "_yaml"),
    "qingcloud-sdk": ("qingcloud",),
}
# Pure Python in an sdist: its packages are used as they lie there.
PURE_SDISTS: t.Final = frozenset({"qingcloud-sdk"})
# Works without its native module, so a wheel made for another machine serves, less that module.
NATIVE_OPTIONAL: t.Final = frozenset({"pyyaml"})
# Namespace packages whose __init__ needs setuptools; without the file Python finds the namespace by itself.
LEFT_OUT: t.Final = frozenset({"qingcloud/__init__.py"})
_TEST_DIRECTORIES: t.Final = frozenset({"test", "tests", "__pycache__"})

_WHEEL = re.compile(r"([^-]+)-([^-]+)(?:-\d[^-]*)?-([^-]+)-([^-]+)-([^-]+)\.whl")


@dataclass(frozen=True)
class Node:
    """The interpreter and machine that artifacts are chosen for. `libc`: glibc or musl, `libc_minor`: 36 of 2.36."""

    python: str
    abi: str
    machine: str
    libc: str
    libc_minor: int

    @classmethod
    def here(cls) -> Node:
        """The one this runs on."""
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        threads = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
        family, release = platform.libc_ver()
        minor = release.split(".")[1] if family == "glibc" and "." in release else "2"
        machine = sysconfig.get_platform().split("-", 1)[-1]
        return cls(version, f"cp{version.replace('.', '')}{threads}", machine, family or "musl", int(minor))

    @classmethod
    def from_dict(cls, facts: t.Mapping[str, t.Any]) -> Node:
        return cls(**{key: facts[key] for key in ("python", "abi", "machine", "libc", "libc_minor")})

    def to_dict(self) -> dict[str, t.Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"Python {self.python} on {self.machine} with {self.libc}"

    @property
    def platforms(self) -> list[str]:
        """Platform tags that run here, best first (PEP 600 and 656)."""
        if self.libc == "musl":
            return [f"musllinux_1_{minor}_{self.machine}" for minor in range(self.libc_minor, 0, -1)]
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in range(self.libc_minor, 16, -1)]
        return [*tags, f"manylinux2014_{self.machine}"] if tags else []  # PEP 599: another name for 2_17

    @property
    def abis(self) -> list[str]:
        return [self.abi, "none"] if self.abi.endswith("t") else [self.abi, "abi3", "none"]


def sha256(path: Path) -> str:
    """Of a file."""
    total = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            total.update(block)
    return total.hexdigest()


def choose(requirement: Requirement, files: t.Iterable[Path], node: Node, foreign: bool = False) -> t.Optional[Path]:
    """The best of these files by name, or None. `foreign`: one for another machine will do where that is possible."""
    ranked = [(_rank(requirement, path.name, node), path) for path in files]
    limit = 3 if foreign else 2
    suitable = sorted((rank, path) for rank, path in ranked if rank is not None and rank <= limit)
    return suitable[0][1] if suitable else None


def _rank(requirement: Requirement, filename: str, node: Node) -> t.Optional[int]:
    """0 native, 1 pure wheel, 2 pure sdist, 3 the Python files of a wheel for another machine."""
    wheel = _WHEEL.fullmatch(filename)
    if wheel is None:
        stem = filename[: -len(".tar.gz")] if filename.endswith(".tar.gz") else ""
        name, __, version = stem.rpartition("-")
        ours = (canonical(name), version) == (requirement.name, requirement.version)
        return 2 if ours and requirement.name in PURE_SDISTS else None
    if (canonical(wheel.group(1)), wheel.group(2)) != (requirement.name, requirement.version):
        return None
    pythons, abis, platforms = (set(wheel.group(number).split(".")) for number in (3, 4, 5))
    if "any" in platforms and "py3" in pythons:
        return 1
    made_for = node.abi.rstrip("t") in pythons or ("abi3" in abis and _older(pythons, node))
    if made_for and abis & set(node.abis) and platforms & set(node.platforms):
        return 0
    return 3 if requirement.name in NATIVE_OPTIONAL else None


def _older(pythons: set[str], node: Node) -> bool:
    """Whether a stable-ABI wheel was built for this Python or one before it."""
    minor = int(node.python.split(".")[1])
    return any(tag.startswith("cp3") and tag[3:].isdigit() and int(tag[3:]) <= minor for tag in pythons)


def matching(requirement: Requirement, paths: t.Iterable[Path]) -> list[Path]:
    """Those of the files that are this requirement's by content."""
    return [path for path in paths if sha256(path) in requirement.hashes]


def unpack(requirement: Requirement, path: Path, target: Path) -> int:
    """Write the project's packages below `target` and return how many files these were.

    Raises `InvalidConfig` for a file that the lock does not know, for one that would land outside of `target` and for
    one that lacks a package. Only plain files are written, with modes of ours; native modules that this interpreter
    could not load are left out.
    """
    if sha256(path) not in requirement.hashes:
        raise InvalidConfig(f"{path.name} is not what requirements.lock has for {requirement.name}")
    wanted = PACKAGES.get(requirement.name)
    if wanted is None:
        raise InvalidConfig(f"requirements.lock names {requirement.name}, of which nobody said what to unpack")
    found = set()
    count = 0
    for name, read in _members(path):
        parts = _safe_parts(name, path)
        if parts[0] not in wanted or not _useful(parts):
            continue
        found.add(parts[0])
        destination = target.joinpath(*parts)
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(read())
        count += 1
    missing = sorted(set(wanted) - found)
    if missing:
        raise InvalidConfig(f"{path.name} holds no package {', '.join(missing)}")
    return count


def _useful(parts: t.Sequence[str]) -> bool:
    """Whether a node needs the file."""
    if "/".join(parts) in LEFT_OUT or _TEST_DIRECTORIES & set(parts[:-1]):
        return False
    stem, __, suffix = parts[-1].partition(".")
    if suffix.endswith("so"):
        return f".{suffix}" in importlib.machinery.EXTENSION_SUFFIXES
    return bool(stem) and not parts[-1].endswith((".pyc", ".pyo"))


def _safe_parts(name: str, path: Path) -> tuple[str, ...]:
    """The steps of a member's path; one that could leave the target spoils the whole artifact."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in parts or not parts:
        raise InvalidConfig(f"{path.name} is not trustworthy: it holds the path {name!r}")
    return parts


def _members(path: Path) -> t.Iterator[tuple[str, t.Callable[[], bytes]]]:
    """Plain files of a wheel, or of an sdist below its one top directory."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            for item in wheel.infolist():
                if stat.S_IFMT(item.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise InvalidConfig(f"{path.name} is not trustworthy: {item.filename!r} is no file")
                if not item.is_dir():
                    yield item.filename, functools.partial(wheel.read, item)
        return
    with tarfile.open(path, "r:gz") as sdist:
        for member in sdist:
            if member.isdir():
                continue
            if not member.isreg():
                raise InvalidConfig(f"{path.name} is not trustworthy: {member.name!r} is no file")
            inner = _safe_parts(member.name, path)[1:]
            if inner:
                yield "/".join(inner), functools.partial(_read, sdist, member)


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    if stream is None:
        raise InvalidConfig(f"{member.name!r} cannot be read")
    return stream.read()
