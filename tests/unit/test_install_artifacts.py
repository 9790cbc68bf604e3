# SPDX-License-Identifier: GPL-3.0-or-later
"""Which artifact suits a node, and what comes out of it: never a path outside, never another node's machine code."""

from __future__ import annotations

import importlib.machinery
import io
import stat
import tarfile
import typing as t
import zipfile
from pathlib import Path

import pytest

from plugins.module_utils._ansible import artifacts
from plugins.module_utils._ansible.artifacts import Node
from plugins.module_utils._ansible.lock import Requirement
from plugins.module_utils.hostnic.errors import InvalidConfig

DEBIAN = Node("3.11", "cp311", "x86_64", "glibc", 36)
EL9_ARM = Node("3.9", "cp39", "aarch64", "glibc", 34)
RISCV = Node("3.11", "cp311", "riscv64", "glibc", 36)
NATIVE = importlib.machinery.EXTENSION_SUFFIXES[0]

YAML = Requirement("pyyaml", "6.0.3", frozenset())
PYROUTE2 = Requirement("pyroute2", "0.9.7", frozenset())
SDK = Requirement("qingcloud-sdk", "1.2.16", frozenset())


def yaml_wheel(python: str, machine: str) -> Path:
    tags = f"manylinux2014_{machine}.manylinux_2_17_{machine}.manylinux_2_28_{machine}"
    return Path(f"pyyaml-6.0.3-{python}-{python}-{tags}.whl")


HOUSE = [
    yaml_wheel("cp39", "aarch64"),
    yaml_wheel("cp311", "x86_64"),
    yaml_wheel("cp311", "aarch64"),
    Path("pyroute2-0.9.7-py3-none-any.whl"),
    Path("pyroute2-0.9.6-py3-none-any.whl"),
    Path("qingcloud-sdk-1.2.16.tar.gz"),
    Path("qingcloud_sdk-1.2.16-py3-none-any.whl"),
]


@pytest.mark.parametrize(
    ("requirement", "node", "foreign", "chosen"),
    [
        (YAML, DEBIAN, False, HOUSE[1]),
        (YAML, EL9_ARM, False, HOUSE[0]),
        (YAML, RISCV, False, None),
        (YAML, RISCV, True, HOUSE[2]),
        (YAML, DEBIAN, True, HOUSE[1]),
        (YAML, Node("3.11", "cp311", "x86_64", "glibc", 16), False, None),
        (YAML, Node("3.11", "cp311", "x86_64", "musl", 2), False, None),
        (YAML, Node("3.11", "cp311t", "x86_64", "glibc", 36), False, None),
        (PYROUTE2, RISCV, False, HOUSE[3]),
        (SDK, DEBIAN, False, HOUSE[6]),
    ],
)
def test_choice(requirement: Requirement, node: Node, foreign: bool, chosen: t.Optional[Path]) -> None:
    assert artifacts.choose(requirement, HOUSE, node, foreign) == chosen


def test_an_sdist_serves_only_where_it_is_known_to_be_pure() -> None:
    assert artifacts.choose(SDK, [Path("qingcloud-sdk-1.2.16.tar.gz")], DEBIAN) == Path("qingcloud-sdk-1.2.16.tar.gz")
    assert artifacts.choose(PYROUTE2, [Path("pyroute2-0.9.7.tar.gz")], DEBIAN) is None
    assert artifacts.choose(YAML, [Path("pyyaml-6.0.3.tar.gz")], DEBIAN, foreign=True) is None


def test_a_stable_abi_wheel_suits_later_pythons_only() -> None:
    wheel = Path("pyroute2-0.9.7-cp310-abi3-manylinux2014_x86_64.whl")
    assert artifacts.choose(PYROUTE2, [wheel], DEBIAN) == wheel
    assert artifacts.choose(PYROUTE2, [wheel], Node("3.9", "cp39", "x86_64", "glibc", 36)) is None


def test_here_is_told_in_tags() -> None:
    here = Node.here()
    assert Node.from_dict(here.to_dict()) == here
    assert here.abi.startswith("cp3") and here.platforms and here.machine


def wheel(path: Path, files: t.Mapping[str, str], mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            item = zipfile.ZipInfo(name)
            item.external_attr = mode << 16
            archive.writestr(item, text)
    return path


def sdist(path: Path, files: t.Mapping[str, str], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            item = tarfile.TarInfo(name)
            item.size, item.type, item.mode = len(text), kind, 0o4777
            item.linkname = "/etc/passwd"
            archive.addfile(item, io.BytesIO(text.encode()))
    return path


def hashed(requirement: Requirement, *paths: Path) -> Requirement:
    return Requirement(requirement.name, requirement.version, frozenset(artifacts.sha256(path) for path in paths))


def contents(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_a_wheel_without_what_another_machine_would_need(tmp_path: Path) -> None:
    path = wheel(
        tmp_path / "pyyaml-6.0.3-cp311-cp311-any.whl",
        {
            "yaml/__init__.py": "",
            "yaml/tests/test_all.py": "",
            f"yaml/_yaml{NATIVE}": "here",
            "yaml/_yaml.cpython-27-mips64.so": "elsewhere",
            "yaml/old.pyc": "",
            "_yaml/__init__.py": "",
            "setup.py": "",
            "pyyaml-6.0.3.dist-info/METADATA": "",
        },
    )
    artifacts.unpack(hashed(YAML, path), path, tmp_path / "out")
    assert contents(tmp_path / "out") == {"yaml/__init__.py", f"yaml/_yaml{NATIVE}", "_yaml/__init__.py"}


def test_an_sdist_below_its_top_directory_as_a_namespace(tmp_path: Path) -> None:
    path = sdist(
        tmp_path / "qingcloud-sdk-1.2.16.tar.gz",
        {f"qingcloud-sdk-1.2.16/{name}": "x" for name in ("setup.py", "qingcloud/__init__.py", "qingcloud/iaas/a.py")},
    )
    artifacts.unpack(hashed(SDK, path), path, tmp_path / "out")
    assert contents(tmp_path / "out") == {"qingcloud/iaas/a.py"}
    assert (tmp_path / "out/qingcloud/iaas/a.py").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize("name", ["../evil.py", "pyroute2/../../evil.py", "/evil.py", "pyroute2\\..\\evil.py"])
def test_a_path_that_leads_outside_spoils_the_wheel(tmp_path: Path, name: str) -> None:
    path = wheel(tmp_path / "pyroute2-0.9.7-py3-none-any.whl", {"pyroute2/__init__.py": "", name: "evil"})
    with pytest.raises(InvalidConfig, match="not trustworthy"):
        artifacts.unpack(hashed(PYROUTE2, path), path, tmp_path / "deep/out")
    assert not list(tmp_path.rglob("evil.py"))


def test_a_path_that_leads_outside_spoils_the_sdist(tmp_path: Path) -> None:
    path = sdist(tmp_path / "qingcloud-sdk-1.2.16.tar.gz", {"qingcloud-sdk-1.2.16/../../qingcloud/evil.py": "evil"})
    with pytest.raises(InvalidConfig, match="not trustworthy"):
        artifacts.unpack(hashed(SDK, path), path, tmp_path / "deep/out")
    assert not list(tmp_path.rglob("evil.py"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_spoil_the_sdist(tmp_path: Path, kind: bytes) -> None:
    path = sdist(tmp_path / "qingcloud-sdk-1.2.16.tar.gz", {"qingcloud-sdk-1.2.16/qingcloud/a.py": ""}, kind)
    with pytest.raises(InvalidConfig, match="is no file"):
        artifacts.unpack(hashed(SDK, path), path, tmp_path / "out")


def test_a_link_spoils_the_wheel(tmp_path: Path) -> None:
    path = wheel(tmp_path / "pyroute2-0.9.7-py3-none-any.whl", {"pyroute2/a.py": "/etc/passwd"}, stat.S_IFLNK | 0o777)
    with pytest.raises(InvalidConfig, match="is no file"):
        artifacts.unpack(hashed(PYROUTE2, path), path, tmp_path / "out")


def test_what_the_lock_does_not_know_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "pyroute2-0.9.7-py3-none-any.whl"
    path.write_text("not even a zip")
    with pytest.raises(InvalidConfig, match="not what requirements.lock has"):
        artifacts.unpack(PYROUTE2, path, tmp_path / "out")


def test_a_wheel_without_its_package_is_told(tmp_path: Path) -> None:
    path = wheel(tmp_path / "pyroute2-0.9.7-py3-none-any.whl", {"other/__init__.py": ""})
    with pytest.raises(InvalidConfig, match="holds no package pyroute2"):
        artifacts.unpack(hashed(PYROUTE2, path), path, tmp_path / "out")
