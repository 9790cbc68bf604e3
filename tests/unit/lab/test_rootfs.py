# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cached root is the right one, and what is changed in it."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.lab import image, rootfs
from tests.lab.errors import LabError


def test_packages_without_comments() -> None:
    assert rootfs.packages("# a node\nsystemd\n\n  podman  # the other runtime\n") == ["systemd", "podman"]


def test_the_key_is_of_suite_packages_and_recipe() -> None:
    key = rootfs.key("bookworm", ["a", "b"], [b"x", b"y"])
    assert key.startswith("bookworm-")
    assert key == rootfs.key("bookworm", ["b", "a"], [b"x", b"y"])
    others = {
        rootfs.key("trixie", ["a", "b"], [b"x", b"y"]),
        rootfs.key("bookworm", ["a", "c"], [b"x", b"y"]),
        rootfs.key("bookworm", ["a", "b"], [b"xy"]),
        rootfs.key("bookworm", ["a", "b"], [b"x", b"z"]),
    }
    assert key not in others and len(others) == 4


def test_nodes_get_no_third_party_python() -> None:
    names = rootfs.packages((Path(rootfs.__file__).parent / "packages.txt").read_text())
    assert [name for name in names if name.startswith("python")] == ["python3"]


def test_a_suite_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match="no name of a Debian suite"):
        rootfs.ensure("../etc", lambda text: None)


def test_containerd_keeps_the_distributions_configuration() -> None:
    table = '  [plugins."io.containerd.grpc.v1.cri"]\n    [plugins."io.containerd.grpc.v1.cri".cni]\n'
    text = f'version = 2\n[plugins]\n{table}      bin_dir = "/usr/lib/cni"\n'
    changed = rootfs.containerd_config(text)
    added = [line.strip() for line in changed.splitlines() if line not in text.splitlines()]
    assert added == ["restrict_oom_score_adj = true", f'sandbox_image = "{image.IMAGE}"']
    assert changed.index("sandbox_image") < changed.index(".cni]")
    with pytest.raises(LabError):
        rootfs.containerd_config("version = 2\n")


def test_the_image_is_a_docker_archive(tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(b"program")
    image.build(tmp_path / "busybox", tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:
        manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert manifest[0]["RepoTags"] == [image.IMAGE]
        with tarfile.open(fileobj=archive.extractfile("layer.tar")) as layer:
            assert layer.getmember("bin/ping").linkname == "busybox"
            assert layer.getmember("pause").mode == 0o755
