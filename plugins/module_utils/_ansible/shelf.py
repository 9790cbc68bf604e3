# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory of directories that are laid down whole, and third-party packages as such: `deps-<digest>`."""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import hashlib
import json
import platform
import py_compile
import shutil
import sys
import tarfile
import tempfile
import typing as t
from pathlib import Path

from ..hostnic.errors import HostnicError
from . import artifacts, fsio, lock

ROOT: t.Final = "/usr/lib/hostnic"
MANIFEST: t.Final = "manifest.json"
TEMPORARY: t.Final = ".new-"
# No look at the source's date: what is laid down does not change.
FIXED: t.Final = py_compile.PycInvalidationMode.UNCHECKED_HASH


def deps_name(lock_text: str) -> str:
    """The directory of the lock's packages for this interpreter and machine."""
    tag = sys.implementation.cache_tag or "unknown"
    return f"deps-{digest([lock.digest(lock_text), tag, platform.machine(), platform.libc_ver()[0]])}"


class Shelf:
    """All below `root`. Looking needs no lock, changing does: `with shelf.locked():`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def locked(self) -> t.Iterator[None]:
        """One writer at a time; leftovers of one that was killed are removed."""
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.root.chmod(0o755)
        with (self.root / ".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            for left in self.root.glob(f"{TEMPORARY}*"):
                shutil.rmtree(left)
            yield

    def has_deps(self, name: str) -> bool:
        return (self.root / name / MANIFEST).exists()

    def unpack(self, name: str, lock_text: str, archive: str) -> None:
        """Lay down what a tar of wheels and sdists holds; each is compared with the lock again."""
        with tempfile.TemporaryDirectory() as directory:
            files = []
            with tarfile.open(archive) as bundle:
                for member in bundle:
                    stream = bundle.extractfile(member) if member.isreg() else None
                    if stream is None:
                        continue
                    path = Path(directory) / Path(member.name).name
                    fsio.write(path, stream.read())
                    files.append(path)
            self.lay_deps(name, lock.parse(lock_text), files)

    def lay_deps(self, name: str, requirements: t.Iterable[lock.Requirement], files: t.Sequence[Path]) -> None:
        """Unpack the artifacts. Raises `InvalidConfig` where one is missing or not the lock's."""
        with self.fresh(name) as directory:
            listing = {}
            for requirement in requirements:
                found = artifacts.matching(requirement, files)
                if not found:
                    raise HostnicError(f"nothing came over for {requirement.name} {requirement.version}")
                listing[requirement.name] = requirement.version
                artifacts.unpack(requirement, found[0], directory)
            # some projects carry files for Pythons of old: what does not compile is never imported here
            compile_all(directory, self.root / name)
            fsio.write(directory / MANIFEST, as_json(listing))

    @contextlib.contextmanager
    def fresh(self, name: str) -> t.Iterator[Path]:
        """A temporary directory that becomes `name`, on disk, when all went well."""
        directory = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.root))
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


def compile_all(directory: Path, seen_as: Path) -> bool:
    """Compile all modules below a directory, as if they lay in another; False where some did not."""
    whole = compileall.compile_dir(str(directory), ddir=str(seen_as), quiet=2, force=True, invalidation_mode=FIXED)
    return bool(whole)


def digest(value: t.Any) -> str:
    """Short, of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def as_json(value: t.Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _move_over(source: Path, final: Path) -> None:
    """Replace each file of a directory that may be in use; the manifest last, since it vouches for the others."""
    files = [path for path in source.rglob("*") if path.is_symlink() or not path.is_dir()]
    for path in sorted(files, key=lambda path: path.name == MANIFEST):
        goal = final / path.relative_to(source)
        goal.parent.mkdir(parents=True, exist_ok=True)
        path.replace(goal)
