# SPDX-License-Identifier: GPL-3.0-or-later
"""The control host's side: from a wheelhouse, from the cache, with pip, and the sentence where none of them helps."""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

import pytest

from plugins.module_utils._ansible import download
from plugins.module_utils._ansible.artifacts import Node
from plugins.module_utils._ansible.lock import Requirement
from plugins.module_utils.hostnic.errors import InvalidConfig, Unreachable

DEBIAN = Node("3.11", "cp311", "x86_64", "glibc", 36)
RISCV = Node("3.11", "cp311", "riscv64", "glibc", 36)
YAML_WHEEL = "pyyaml-6.0.3-cp311-cp311-manylinux2014_x86_64.whl"
ROUTE_WHEEL = "pyroute2-0.9.7-py3-none-any.whl"


def requirement(name: str, version: str, *contents: str) -> Requirement:
    return Requirement(name, version, frozenset(hashlib.sha256(text.encode()).hexdigest() for text in contents))


YAML = requirement("pyyaml", "6.0.3", "yaml")
ROUTE = requirement("pyroute2", "0.9.7", "route")


class Index:
    """Stands for pip: puts the files that suit the platforms it is asked for where it is told to."""

    def __init__(self, **files: str) -> None:
        self.files = files
        self.calls: list[list[str]] = []

    def __call__(self, command: t.Sequence[str]) -> tuple[int, str]:
        words = list(command)
        self.calls.append(words)
        wanted = Path(words[words.index("-r") + 1]).read_text()
        assert "--hash=sha256:" in wanted and "--require-hashes" in words and "--no-deps" in words
        target = Path(words[words.index("--dest") + 1])
        if wanted.startswith("pyyaml") and "manylinux2014_x86_64" not in words:
            return 1, "ERROR: No matching distribution found for pyyaml==6.0.3"
        name = YAML_WHEEL if wanted.startswith("pyyaml") else ROUTE_WHEEL
        key = wanted.split("==")[0]
        if key not in self.files:
            return 1, "ERROR: no route to the index"
        target.mkdir()
        (target / name).write_text(self.files[key])
        return 0, ""


def test_everything_is_fetched_once(tmp_path: Path) -> None:
    index = Index(pyyaml="yaml", pyroute2="route")
    found = download.from_index([YAML, ROUTE], DEBIAN, tmp_path / "cache", index)
    assert [path.name for path in found] == [YAML_WHEEL, ROUTE_WHEEL]
    assert len(index.calls) == 2
    assert download.from_index([YAML, ROUTE], DEBIAN, tmp_path / "cache", index) == found
    assert len(index.calls) == 2


def test_another_machines_wheel_serves_where_there_is_no_own(tmp_path: Path) -> None:
    index = Index(pyyaml="yaml")
    found = download.from_index([YAML], RISCV, tmp_path, index)
    assert [path.name for path in found] == [YAML_WHEEL]
    assert len(index.calls) == 2  # its own was looked for first


def test_a_changed_file_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / ROUTE_WHEEL).write_text("something else")
    found = download.from_index([ROUTE], DEBIAN, tmp_path, Index(pyroute2="route"))
    assert found[0].read_text() == "route"


def test_what_the_index_gives_is_compared_with_the_lock(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="could not be fetched"):
        download.from_index([ROUTE], DEBIAN, tmp_path, Index(pyroute2="something else"))


def test_pips_own_words_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"pyroute2 0\.9\.7 .* no route to the index.*wheelhouse"):
        download.from_index([ROUTE], DEBIAN, tmp_path, Index())


def test_a_wheelhouse_is_enough(tmp_path: Path) -> None:
    (tmp_path / YAML_WHEEL).write_text("yaml")
    (tmp_path / ROUTE_WHEEL).write_text("route")
    (tmp_path / "notes.txt").write_text("")
    assert {path.name for path in download.from_wheelhouse([YAML, ROUTE], DEBIAN, tmp_path)} == {
        YAML_WHEEL,
        ROUTE_WHEEL,
    }
    assert download.from_wheelhouse([YAML], RISCV, tmp_path) == [tmp_path / YAML_WHEEL]


def test_a_wheelhouse_that_lacks_something_says_all_of_it(tmp_path: Path) -> None:
    (tmp_path / ROUTE_WHEEL).write_text("something else")
    with pytest.raises(InvalidConfig, match=r"lacks pyyaml 6\.0\.3, pyroute2 0\.9\.7 for Python 3\.11 on x86_64"):
        download.from_wheelhouse([YAML, ROUTE], DEBIAN, tmp_path)
    with pytest.raises(InvalidConfig, match="--python-version 3.11 --platform manylinux2014_x86_64$"):
        download.from_wheelhouse([YAML, ROUTE], DEBIAN, tmp_path)
    with pytest.raises(InvalidConfig, match="not a directory"):
        download.from_wheelhouse([YAML], DEBIAN, tmp_path / "nowhere")
