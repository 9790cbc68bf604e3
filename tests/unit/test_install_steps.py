# SPDX-License-Identifier: GPL-3.0-or-later
"""What `hostnic_install` does to a node, state by state; systemd is a list of what it was told."""

from __future__ import annotations

import ast
import fcntl
import io
import os
import tarfile
import typing as t
from pathlib import Path

import pytest

from plugins.module_utils._ansible import artifacts, install, payload
from plugins.module_utils._ansible.host import check_host
from plugins.module_utils._ansible.install import Installer, Places
from plugins.module_utils.hostnic.errors import HostnicError
from tests.unit.test_install_artifacts import wheel


class Node:
    """A node in a directory."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.places = Places(top / "lib", top / "sbin", top / "cni", top / "units")
        self.told: list[tuple[str, ...]] = []
        artifact = wheel(top / "pyroute2-0.9.7-py3-none-any.whl", {"pyroute2/__init__.py": ""})
        self.lock = f"pyroute2==0.9.7 --hash=sha256:{artifacts.sha256(artifact)}\n"
        self.archive = top / "artifacts.tar"
        with tarfile.open(self.archive, "w") as bundle:
            bundle.add(artifact, arcname=artifact.name)

    def systemctl(self, *words: str) -> tuple[int, str]:
        self.told.append(words)
        return 0, "systemd 252 (252.1)\n"

    def installer(self, check: bool = False, keep: int = 0) -> Installer:
        return Installer(self.places, self.systemctl, keep, check)

    def version(self, name: str, units: t.Sequence[str] = ("qingagent.service",)) -> payload.Version:
        files = {"qingcni.py": f"NAME = {name!r}\n", **{f"units/{unit}": f"# {name}\n" for unit in units}}
        return payload.build(self.places.root, {"commands/cli.py": b""}, files, self.lock, "1.0.0")

    def install(self, name: str, check: bool = False, activate: bool = True, **more: t.Any) -> dict[str, t.Any]:
        version = self.version(name, **more)
        return self.installer(check).present(version, self.lock, str(self.archive), activate)

    def files(self) -> set[str]:
        return {str(path.relative_to(self.top)) for path in self.top.rglob("*") if path.name != ".lock"}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_what_is_missing_is_asked_for_before_anything_changes(node: Node) -> None:
    before = node.files()
    result = node.installer().present(node.version("one"), node.lock, None, activate=True)
    assert artifacts.Node.from_dict(result["missing"]) == artifacts.Node.here()
    assert not result["changed"] and node.files() == before


def test_check_mode_foresees_what_then_happens_and_changes_nothing(node: Node) -> None:
    before = node.files()
    foreseen = node.installer(check=True).present(node.version("one"), node.lock, None, activate=True)
    assert node.files() == before
    assert foreseen == node.install("one") and foreseen["changed"]
    assert "missing" not in foreseen


def test_the_first_installation(node: Node) -> None:
    result = node.install("one")
    root = node.places.root
    assert (node.top / "sbin/qingagent").readlink() == root / "current/bin/qingagent"
    assert (node.top / "cni/qingcni").resolve() == root / result["digest"] / "bin/qingcni"
    unit = node.top / "units/qingagent.service"
    assert not unit.is_symlink() and unit.read_text() == "# one\n"
    assert (root / "current/deps/pyroute2/__init__.py").exists()
    assert result["current"] == result["digest"] and result["previous"] is None
    assert node.told == [], "systemd does not read this directory"


def test_the_second_run_changes_nothing_and_needs_no_archive(node: Node) -> None:
    node.install("one")
    again = node.installer().present(node.version("one"), node.lock, None, activate=True)
    assert not again["changed"]
    assert again["diff"]["before"] == again["diff"]["after"]


def test_staging_touches_no_link_launcher_or_unit(node: Node) -> None:
    node.install("one")
    outside = {name for name in node.files() if not name.startswith("lib")}
    result = node.install("two", activate=False)
    assert result["changed"] and Path(result["version_path"], "qingcni.py").read_text() == "NAME = 'two'\n"
    assert Path(result["deps_path"], "pyroute2").is_dir()
    assert result["current"] == node.version("one").digest
    assert {name for name in node.files() if not name.startswith("lib")} == outside
    assert (node.top / "units/qingagent.service").read_text() == "# one\n"
    assert not node.install("two", activate=False)["changed"]


def test_what_is_active_already_needs_no_second_round_trip(node: Node) -> None:
    """`staged` tells whether `present` would change anything; each thing that it would change counts."""
    assert not node.install("one", activate=False)["active"] and not node.install("one", check=True)["active"]
    node.install("one")
    assert node.install("one", activate=False)["active"] and not node.install("two", check=True)["active"]
    spoiled = {
        node.top / "sbin/qingagent": Path.unlink,
        node.top / "units/qingagent.service": Path.unlink,
        node.places.root / "current/qingcni.py": Path.unlink,
        node.places.root / "deps-old": Path.mkdir,
    }
    for path, spoil in spoiled.items():
        spoil(path)
        staged = node.installer(check=True).present(node.version("one"), node.lock, None, activate=False)
        assert not staged["active"] and node.install("one")["changed"], path
        assert node.install("one", activate=False)["active"], path


def test_a_failed_preflight_leaves_nothing_on_a_fresh_node(node: Node) -> None:
    before = node.files()
    node.install("one", activate=False)
    result = node.installer().pruned()
    assert result["changed"] and node.files() == before
    assert not node.installer().pruned()["changed"]


def test_a_failed_preflight_leaves_the_running_version(node: Node) -> None:
    node.install("one")
    before = node.files()
    node.install("two", activate=False)
    node.installer(check=True).pruned()
    node.installer().pruned()
    assert node.files() == before


def test_an_upgrade_and_the_way_back(node: Node) -> None:
    node.install("one", units=["qingagent.service", "old.service"])
    result = node.install("two", units=["qingagent.service", "new.service"])
    assert result["previous"] == node.version("one", units=["qingagent.service", "old.service"]).digest
    assert {path.name for path in (node.top / "units").iterdir()} == {"qingagent.service", "new.service"}
    assert "-unit" in "".join(line[0] + line[1:5] for line in difference(result))

    foreseen = node.installer(check=True).rolled_back(None)
    back = node.installer().rolled_back(None)
    assert foreseen == back and back["changed"]
    assert back["current"] == result["previous"] and back["previous"] == result["current"]
    assert {path.name for path in (node.top / "units").iterdir()} == {"qingagent.service", "old.service"}
    assert (node.top / "units/qingagent.service").read_text() == "# one\n"
    assert (node.places.root / "current/qingcni.py").read_text() == "NAME = 'one'\n"


def difference(result: t.Mapping[str, t.Any]) -> list[str]:
    before, after = (set(result["diff"][key].splitlines()) for key in ("before", "after"))
    return [f"-{line}" for line in before - after] + [f"+{line}" for line in after - before]


def test_rolling_back_to_a_named_version_is_idempotent(node: Node) -> None:
    first = node.install("one")["digest"]
    node.install("two")
    assert node.installer().rolled_back(first)["changed"]
    assert not node.installer().rolled_back(first)["changed"]


@pytest.mark.parametrize(("digest", "sentence"), [(None, "no previous version"), ("nosuch", "nosuch is not on this")])
def test_rolling_back_to_nothing_is_told(node: Node, digest: t.Optional[str], sentence: str) -> None:
    node.install("one")
    with pytest.raises(HostnicError, match=sentence):
        node.installer().rolled_back(digest)


def test_versions_before_the_previous_one_are_removed(node: Node) -> None:
    digests = [node.install(name)["digest"] for name in ("one", "two")]
    result = node.install("three")
    assert result["removed"] == [digests[0]]
    assert not (node.places.root / digests[0]).exists() and (node.places.root / digests[1]).exists()


def test_a_version_that_the_agent_still_runs_is_not_removed(node: Node) -> None:
    first = node.install("one")["digest"]
    descriptor = os.open(node.places.root / first, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        node.install("two")
        assert node.install("three")["removed"] == []
        with pytest.raises(HostnicError, match="the agent runs"):
            node.installer().absent()
    finally:
        os.close(descriptor)
    assert node.install("three")["removed"] == [first]


def test_a_file_of_the_original_is_replaced_by_the_link(node: Node) -> None:
    (node.top / "cni").mkdir()
    (node.top / "cni/qingcni").write_text("the original")
    node.install("one")
    assert (node.top / "cni/qingcni").is_symlink()


def test_what_someone_changed_is_put_right(node: Node) -> None:
    node.install("one")
    (node.top / "units/qingagent.service").write_text("edited")
    (node.top / "sbin/qingagent").unlink()
    (node.places.root / "current/qingcni.py").write_text("edited")
    assert node.install("one")["changed"]
    assert not node.install("one")["changed"]
    assert (node.top / "units/qingagent.service").read_text() == "# one\n"


def test_absent_leaves_nothing_and_nothing_of_others(node: Node) -> None:
    before = node.files()
    node.install("one")
    node.install("two")
    (node.top / "units/other.service").touch()
    (node.top / "cni/bridge").touch()
    foreseen = node.installer(check=True).absent()
    assert foreseen["changed"] and node.places.root.exists()
    node.installer().absent()
    left = node.files() - before
    assert left == {"sbin", "cni", "cni/bridge", "units", "units/other.service"}
    assert not node.installer().absent()["changed"]


def test_absent_takes_units_along_where_the_active_version_is_lost(node: Node) -> None:
    node.install("one")
    (node.places.root / "current").unlink()
    (node.places.root / "current").symlink_to("nowhere")
    node.installer().absent()
    assert list(node.places.unit_dir.iterdir()) == []
    assert not node.places.root.exists()


def test_systemd_reads_units_again_only_when_they_changed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "DEFAULT_UNIT_DIR", node.places.unit_dir)
    monkeypatch.setattr(install, "SYSTEMD_RUNS", node.top)
    node.install("one")
    node.install("one")
    assert node.told == [("daemon-reload",)]
    node.installer().rolled_back(node.version("one").digest)
    assert node.told == [("daemon-reload",)]


def test_an_archive_with_something_else_is_refused(node: Node) -> None:
    with tarfile.open(node.archive, "w") as bundle:
        item = tarfile.TarInfo("../pyroute2-0.9.7-py3-none-any.whl")
        item.size = 4
        bundle.addfile(item, io.BytesIO(b"evil"))
    with pytest.raises(HostnicError, match="nothing came over for pyroute2"):
        node.install("one")
    assert not node.places.root.exists() or node.installer().tree.versions() == []


# -- the host ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("python", "status", "output", "sentence"),
    [
        ((3, 8, 18), 0, "systemd 252 (252)", r"Python 3\.8 .* is too old: the agent needs 3\.9 or later"),
        ((3, 9, 2), 0, "systemd 246 (246.1)\n+PAM", "systemd 246 is too old: the agent's units need 247"),
        ((3, 9, 2), 127, "", "this node has none"),
        ((3, 9, 2), 0, "something else", "this node has none"),
    ],
)
def test_a_node_that_is_too_old_is_told_in_a_sentence(
    python: tuple[int, ...], status: int, output: str, sentence: str
) -> None:
    with pytest.raises(HostnicError, match=sentence):
        check_host(lambda *__: (status, output), python)


def test_an_old_interpreter_can_read_what_tells_that_it_is_too_old() -> None:
    """`tuple[int]` is an error to Python 3.8, but in annotations, which nobody evaluates."""
    utils = Path(__file__).parents[2] / "plugins/module_utils"
    waiting, read = [utils / "_ansible/host.py"], set()
    while waiting:
        path = waiting.pop()
        if path in read or not path.exists():
            continue
        read.add(path)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                place = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
                waiting += [place.with_suffix(".py"), *(place / f"{name.name}.py" for name in node.names)]
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                values = ast.walk(node.value) if node.value else ()
                taken = [one.value for one in values if isinstance(one, ast.Subscript)]
                names = {one.id for one in taken if isinstance(one, ast.Name)}
                assert not names & {"tuple", "list", "dict", "set", "frozenset", "type"}, f"{path}:{node.lineno}"
    assert {path.name for path in read} >= {"host.py", "errors.py", "redact.py"}


def test_a_node_of_today_passes() -> None:
    check_host(lambda *__: (0, "systemd 257 (257.9-1)\n+PAM"), (3, 9, 0))
