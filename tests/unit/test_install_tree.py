# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions beside each other: laid down whole or not at all, put right again, activated, removed when unused."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import typing as t
from pathlib import Path

import pytest

from plugins.module_utils._ansible import artifacts, fsio, payload
from plugins.module_utils._ansible.lock import Requirement
from plugins.module_utils._ansible.payload import Version
from plugins.module_utils._ansible.tree import CURRENT, PREVIOUS, Tree
from plugins.module_utils.hostnic.errors import HostnicError
from tests.unit.test_install_artifacts import wheel

LOCK = f"future==1.0.0 --hash=sha256:{'a' * 64}\n"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "hostnic")


def make(tree: Tree, name: str, lock: str = LOCK) -> Version:
    package = {"__init__.py": b"", "commands/cli.py": f"NAME = {name!r}\n".encode()}
    files = {"qingcni.py": f"NAME = {name!r}\n", "units/qingagent.service": f"[Unit]\nDescription={name}\n"}
    return payload.build(tree.root, package, files, lock, "1.0.0")


def lay(tree: Tree, *names: str) -> list[Version]:
    versions = []
    with tree.locked():
        for age, name in enumerate(names):
            version = make(tree, name)
            tree.lay_version(version)
            manifest = version.directory / "manifest.json"
            os.utime(manifest, (1000.0 + age, 1000.0 + age))
            versions.append(version)
    return versions


def test_a_version_lies_whole_compiled_and_readable_by_all(tree: Tree) -> None:
    old = os.umask(0o077)
    try:
        [version] = lay(tree, "one")
    finally:
        os.umask(old)
    assert tree.lies_here(version) and tree.versions() == [version.digest]
    assert (version.directory / "deps").readlink() == Path(f"../{version.deps}")
    assert {path.stat().st_mode & 0o777 for path in (version.directory / "hostnic").rglob("*.py")} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in (version.directory / "bin").iterdir()} == {0o755}
    directories = [path for path in tree.root.rglob("*") if path.is_dir() and not path.is_symlink()]
    assert {path.stat().st_mode & 0o777 for path in [tree.root, *directories]} == {0o755}
    assert list(tree.root.glob(".new-*")) == []
    source = version.directory / "hostnic/commands/cli.py"
    compiled = Path(importlib.util.cache_from_source(str(source)))
    # the flag says: never look at the source (PEP 552)
    assert compiled.read_bytes()[4:8] == (version.directory / "qingcni.pyc").read_bytes()[4:8] == b"\1\0\0\0"
    assert str(source).encode() in compiled.read_bytes(), "tracebacks should name where the file lies, not where it was"


def test_what_was_changed_is_noticed_and_put_right_in_place(tree: Tree) -> None:
    [version] = lay(tree, "one")
    inode = version.directory.stat().st_ino
    for damage in ("hostnic/commands/cli.py", "bin/qingcni", "units/qingagent.service", "qingcni.pyc", "manifest.json"):
        (version.directory / damage).unlink()
        assert not tree.lies_here(version), damage
        with tree.locked():
            tree.lay_version(version)
        assert tree.lies_here(version), damage
    assert version.directory.stat().st_ino == inode


def test_nothing_half_laid_is_a_version(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, mode: int = 0) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(fsio, "write", full)
    with pytest.raises(OSError, match="No space"), tree.locked():
        tree.lay_version(make(tree, "one"))
    assert tree.versions() == [] and list(tree.root.glob(".new-*")) == []


def test_leftovers_of_a_killed_run_go_with_the_next(tree: Tree) -> None:
    (tree.root / ".new-killed/hostnic").mkdir(parents=True)
    assert tree.versions() == []
    with tree.locked():
        assert not (tree.root / ".new-killed").exists()


def test_a_package_that_does_not_compile_is_refused(tree: Tree) -> None:
    version = payload.build(tree.root, {"commands/cli.py": b"def"}, {"qingcni.py": ""}, LOCK, "1")
    with pytest.raises(HostnicError, match="does not compile"), tree.locked():
        tree.lay_version(version)
    assert tree.versions() == []


def test_activation_is_one_rename_and_remembers_what_was_before(tree: Tree) -> None:
    one, two = lay(tree, "one", "two")
    tree.activate(one.digest)
    assert (tree.active(), tree.active(PREVIOUS)) == (one.digest, None)
    tree.activate(two.digest)
    tree.activate(two.digest)
    assert (tree.active(), tree.active(PREVIOUS)) == (two.digest, one.digest)
    assert (tree.root / CURRENT).readlink() == Path(two.digest)
    assert list(tree.root.glob(".*.new")) == []


def test_the_active_version_is_there_at_every_moment(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = lay(tree, "one", "two")
    tree.activate(one.digest)
    seen: list[str] = []
    real = Path.replace

    def spy(self: Path, goal: t.Any) -> Path:
        seen.append((tree.root / CURRENT / "qingcni.py").read_text())
        return real(self, goal)

    monkeypatch.setattr(Path, "replace", spy)
    tree.activate(two.digest)
    assert seen == ["NAME = 'one'\n"] * 2
    assert (tree.root / CURRENT / "qingcni.py").read_text() == "NAME = 'two'\n"


def test_a_link_to_nothing_usable_is_no_active_version(tree: Tree) -> None:
    tree.root.mkdir()
    (tree.root / CURRENT).symlink_to("gone")
    assert tree.active() is None


# -- removing ---------------------------------------------------------------------------------------------------------


def test_the_active_ones_and_the_newest_of_the_rest_stay(tree: Tree) -> None:
    names = [version.digest for version in lay(tree, *"abcdef")]
    assert tree.unused(2, names[0], names[1]) == [names[3], names[2]]
    assert tree.unused(0, names[0], names[1]) == [names[5], names[4], names[3], names[2]]


def test_what_a_process_runs_stays(tree: Tree) -> None:
    one, two = lay(tree, "one", "two")
    descriptor = os.open(one.directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        assert tree.in_use(one.digest) and not tree.in_use(two.digest)
        assert tree.unused(0, None, None) == [two.digest]
    finally:
        os.close(descriptor)
    assert set(tree.unused(0, None, None)) == {one.digest, two.digest}


def dependencies(tree: Tree, name: str) -> None:
    (tree.root / name).mkdir(parents=True, exist_ok=True)
    (tree.root / name / "manifest.json").write_text("{}")


def test_dependencies_stay_as_long_as_a_version_needs_them(tree: Tree) -> None:
    one = make(tree, "one", LOCK)
    two = make(tree, "two", LOCK.replace("a" * 64, "b" * 64))
    with tree.locked():
        for version in (one, two):
            tree.lay_version(version)
            dependencies(tree, version.deps)
        dependencies(tree, "deps-ofnobody")
        tree.activate(one.digest)
        assert set(tree.unused(1, one.digest, None)) == {"deps-ofnobody"}
        gone = tree.unused(0, one.digest, None)
        assert set(gone) == {two.digest, two.deps, "deps-ofnobody"}
        tree.drop(gone)
    assert sorted(path.name for path in tree.root.iterdir()) == sorted([".lock", CURRENT, one.digest, one.deps])


def test_a_directory_without_versions_is_cleared(tree: Tree) -> None:
    [version] = lay(tree, "one")
    tree.clear()
    assert tree.root.exists()
    with tree.locked():
        tree.drop([version.digest])
    tree.clear()
    assert not tree.root.exists()


# -- dependencies -----------------------------------------------------------------------------------------------------


def test_dependencies_are_unpacked_compiled_and_then_there(tree: Tree, tmp_path: Path) -> None:
    path = wheel(
        tmp_path / "pyroute2-0.9.7-py3-none-any.whl", {"pyroute2/__init__.py": "x = 1\n", "pyroute2/py2.py": "print 1"}
    )
    requirement = Requirement("pyroute2", "0.9.7", frozenset({artifacts.sha256(path)}))
    with tree.locked():
        tree.lay_deps("deps-1", [requirement], [path])
    source = tree.root / "deps-1/pyroute2/__init__.py"
    assert tree.has_deps("deps-1") and Path(importlib.util.cache_from_source(str(source))).exists()
    assert tree.versions() == []


def test_dependencies_with_one_missing_are_not_there_at_all(tree: Tree) -> None:
    requirement = Requirement("pyroute2", "0.9.7", frozenset({"a" * 64}))
    with pytest.raises(HostnicError, match=r"nothing came over for pyroute2 0\.9\.7"), tree.locked():
        tree.lay_deps("deps-1", [requirement], [])
    assert not tree.has_deps("deps-1") and not (tree.root / "deps-1").exists()
