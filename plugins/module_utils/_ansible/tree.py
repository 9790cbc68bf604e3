# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of versions on a node: laid down beside each other, activated by one rename, removed when unused.

current -> 3f2a…        previous -> 91bc…        deps-77d0…/ {pyroute2, qingcloud, yaml, …}
3f2a…/ {hostnic/, qingcni-start.py, qingcni.py, qingcni.pyc, bin/, units/, deps -> ../deps-77d0…, manifest.json}
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import py_compile
import shutil
import typing as t
from pathlib import Path

from ..hostnic.errors import HostnicError
from . import fsio
from .payload import CNI_BODY, PACKAGE, Version
from .shelf import FIXED, MANIFEST, TEMPORARY, Shelf, as_json, compile_all

CURRENT: t.Final = "current"
PREVIOUS: t.Final = "previous"


class Tree(Shelf):
    """All below `root`; see `Shelf`."""

    # -- looking --

    def active(self, link: str = CURRENT) -> t.Optional[str]:
        """The digest that `current` or `previous` stands for; None where nothing usable is behind it."""
        digest = fsio.target(self.root / link)
        return digest if digest and self.manifest(digest) else None

    def manifest(self, digest: t.Optional[str]) -> dict[str, t.Any]:
        """What a version says of itself; empty where it is not (wholly) there."""
        content = fsio.read(self.root / digest / MANIFEST) if digest else None
        return dict(json.loads(content)) if content else {}

    def versions(self) -> list[str]:
        """All that lie here, newest first."""
        found = [path.name for path in self._entries() if "digest" in self.manifest(path.name)]
        return sorted(found, key=lambda name: (-(self.root / name / MANIFEST).stat().st_mtime, name))

    def lies_here(self, version: Version) -> bool:
        """Whether this version is here, whole and unchanged."""
        if self.manifest(version.digest) != dict(version.manifest):
            return False
        compiled = (version.directory / f"{CNI_BODY}c").exists()
        return compiled and all(fsio.read(version.directory / name) == data for name, data in version.files.items())

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

    def lay_version(self, version: Version) -> None:
        """Write a version, compiled; where it lies here already, put it right again."""
        with self.fresh(version.digest) as directory:
            for name, data in version.files.items():
                mode = 0o755 if name in version.executables else 0o644
                fsio.write(directory / name, data, mode)
            if not compile_all(directory / PACKAGE, version.directory / PACKAGE):
                raise HostnicError(f"the package does not compile with {version.python}")
            body = str(directory / CNI_BODY)
            seen_as = str(version.directory / CNI_BODY)
            py_compile.compile(body, cfile=body + "c", dfile=seen_as, doraise=True, invalidation_mode=FIXED)
            (directory / "deps").symlink_to(f"../{version.deps}")
            fsio.write(directory / MANIFEST, as_json(version.manifest))

    def activate(self, digest: str) -> None:
        """Make this version the current one, and the one before it the previous."""
        before = self.active()
        if before and before != digest:
            fsio.point(self.root / PREVIOUS, before)
        fsio.point(self.root / CURRENT, digest)

    def drop(self, names: t.Iterable[str]) -> None:
        """Remove versions or dependencies; a version stops being one before its files go."""
        for name in names:
            grave = self.root / f"{TEMPORARY}grave-{name}"
            (self.root / name).rename(grave)
            shutil.rmtree(grave)

    def clear(self) -> None:
        """Remove the directory if no version is left in it."""
        if not self.versions():
            shutil.rmtree(self.root)


def fingerprint(data: t.Optional[bytes]) -> t.Optional[str]:
    """For people to compare; None stays None."""
    return None if data is None else hashlib.sha256(data).hexdigest()[:12]
