# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of versions on a node: laid down beside each other, activated by one rename, removed when unused.

current -> 3f2a…        previous -> 91bc…        deps-77d0…/ {pyroute2, qingcloud, yaml, …}
3f2a…/ {hostnic/, qingcni.py, qingcni.pyc, bin/, units/, deps -> ../deps-77d0…, manifest.json}
"""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import hashlib
import json
import os
import py_compile
import shutil
import tempfile
import typing as t
from pathlib import Path

from ..hostnic.errors import HostnicError
from . import artifacts, fsio
from .lock import Requirement
from .payload import CNI_BODY, PACKAGE, Version

CURRENT: t.Final = "current"
PREVIOUS: t.Final = "previous"
_MANIFEST: t.Final = "manifest.json"
_TEMPORARY: t.Final = ".new-"
# No look at the source's date: what is laid down does not change.
_FIXED = py_compile.PycInvalidationMode.UNCHECKED_HASH


class Tree:
    """All below `root`. Looking needs no lock, changing does: `with tree.locked():`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def locked(self) -> t.Iterator[None]:
        """One writer at a time; leftovers of one that was killed are removed."""
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.root.chmod(0o755)
        with (self.root / ".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            for left in self.root.glob(f"{_TEMPORARY}*"):
                shutil.rmtree(left)
            yield

    # -- looking --

    def active(self, link: str = CURRENT) -> t.Optional[str]:
        """The digest that `current` or `previous` stands for; None where nothing usable is behind it."""
        digest = fsio.target(self.root / link)
        return digest if digest and self.manifest(digest) else None

    def manifest(self, digest: t.Optional[str]) -> dict[str, t.Any]:
        """What a version says of itself; empty where it is not (wholly) there."""
        content = fsio.read(self.root / digest / _MANIFEST) if digest else None
        return dict(json.loads(content)) if content else {}

    def versions(self) -> list[str]:
        """All that lie here, newest first."""
        found = [path.name for path in self._entries() if "digest" in self.manifest(path.name)]
        return sorted(found, key=lambda name: (-(self.root / name / _MANIFEST).stat().st_mtime, name))

    def lies_here(self, version: Version) -> bool:
        """Whether this version is here, whole and unchanged."""
        if self.manifest(version.digest) != dict(version.manifest):
            return False
        compiled = (version.directory / f"{CNI_BODY}c").exists()
        return compiled and all(fsio.read(version.directory / name) == data for name, data in version.files.items())

    def has_deps(self, name: str) -> bool:
        return (self.root / name / _MANIFEST).exists()

    def units(self, digest: t.Optional[str]) -> dict[str, bytes]:
        """Unit files of a version: name ► content."""
        found = sorted((self.root / digest / "units").glob("*")) if digest else []
        return {path.name: path.read_bytes() for path in found}

    def in_use(self, digest: str) -> bool:
        """Whether a process runs this version: the launcher keeps a shared lock on the directory."""
        try:
            descriptor = os.open(self.root / digest, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def unused(self, keep: int, current: t.Optional[str], previous: t.Optional[str]) -> list[str]:
        """Versions and dependencies that nothing needs once these two are the active ones; `keep` more stay."""
        others = [digest for digest in self.versions() if digest not in (current, previous)]
        idle = [digest for digest in others if not self.in_use(digest)]
        doomed = idle[keep:]
        needed = {self.manifest(digest).get("deps") for digest in self.versions() if digest not in doomed}
        deps = [path.name for path in self._entries() if path.name.startswith("deps-")]
        return doomed + [name for name in deps if name not in needed]

    def _entries(self) -> list[Path]:
        """Directories below the root that are whole or were."""
        found = sorted(self.root.iterdir()) if self.root.is_dir() else []
        return [path for path in found if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")]

    # -- changing --

    def lay_deps(self, name: str, requirements: t.Iterable[Requirement], files: t.Sequence[Path]) -> None:
        """Unpack the artifacts beside the versions. Raises `InvalidConfig` where one is missing or not the lock's."""
        with self._fresh(name) as directory:
            listing = {}
            for requirement in requirements:
                found = artifacts.matching(requirement, files)
                if not found:
                    raise HostnicError(f"nothing came over for {requirement.name} {requirement.version}")
                listing[requirement.name] = requirement.version
                artifacts.unpack(requirement, found[0], directory)
            # some projects carry files for Pythons of old: what does not compile is never imported here
            _compile(directory, self.root / name)
            fsio.write(directory / _MANIFEST, _json(listing))

    def lay_version(self, version: Version) -> None:
        """Write a version, compiled; where it lies here already, put it right again."""
        with self._fresh(version.digest) as directory:
            for name, data in version.files.items():
                mode = 0o755 if name in version.executables else 0o644
                fsio.write(directory / name, data, mode)
            if not _compile(directory / PACKAGE, version.directory / PACKAGE):
                raise HostnicError(f"the package does not compile with {version.python}")
            body = str(directory / CNI_BODY)
            seen_as = str(version.directory / CNI_BODY)
            py_compile.compile(body, cfile=body + "c", dfile=seen_as, doraise=True, invalidation_mode=_FIXED)
            (directory / "deps").symlink_to(f"../{version.deps}")
            fsio.write(directory / _MANIFEST, _json(version.manifest))

    def activate(self, digest: str) -> None:
        """Make this version the current one, and the one before it the previous."""
        before = self.active()
        if before and before != digest:
            fsio.point(self.root / PREVIOUS, before)
        fsio.point(self.root / CURRENT, digest)

    def drop(self, names: t.Iterable[str]) -> None:
        """Remove versions or dependencies; a version stops being one before its files go."""
        for name in names:
            grave = self.root / f"{_TEMPORARY}grave-{name}"
            (self.root / name).rename(grave)
            shutil.rmtree(grave)

    def clear(self) -> None:
        """Remove the directory if no version is left in it."""
        if not self.versions():
            shutil.rmtree(self.root)

    @contextlib.contextmanager
    def _fresh(self, name: str) -> t.Iterator[Path]:
        """A temporary directory that becomes `name`, on disk, when all went well."""
        directory = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self.root))
        try:
            yield directory
            fsio.sync_tree(directory)
            final = self.root / name
            if final.is_dir():
                _move_over(directory, final)
            else:
                directory.rename(final)
            fsio.sync(self.root)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _compile(directory: Path, seen_as: Path) -> bool:
    """Compile all modules below a directory, as if they lay in another; False where some did not."""
    whole = compileall.compile_dir(str(directory), ddir=str(seen_as), quiet=2, force=True, invalidation_mode=_FIXED)
    return bool(whole)


def _move_over(source: Path, final: Path) -> None:
    """Replace each file of a directory that may be in use; the manifest last, since it vouches for the others."""
    files = [path for path in source.rglob("*") if path.is_symlink() or not path.is_dir()]
    for path in sorted(files, key=lambda path: path.name == _MANIFEST):
        goal = final / path.relative_to(source)
        goal.parent.mkdir(parents=True, exist_ok=True)
        path.replace(goal)


def fingerprint(data: t.Optional[bytes]) -> t.Optional[str]:
    """For people to compare; None stays None."""
    return None if data is None else hashlib.sha256(data).hexdigest()[:12]


def _json(value: t.Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
