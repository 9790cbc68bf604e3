# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as users get it: built, and installed into an empty collections path."""

from __future__ import annotations

import typing as t
from pathlib import Path

from tests.quality.programs import run
from tests.quality.venvs import CLONE

NAME = "ansible_collections/qingcloud/cni"


class Artifact(t.NamedTuple):
    """The archive, the collections path, and the collection in it."""

    archive: Path
    path: Path

    @property
    def tree(self) -> Path:
        return self.path / NAME


def build(galaxy: Path, top: Path) -> Artifact:
    """Below `top`, by the program `ansible-galaxy` that is given; asks no server."""
    run([str(galaxy), "collection", "build", "--force", "--output-path", str(top), str(CLONE)])
    (archive,) = top.glob("qingcloud-cni-*.tar.gz")
    path = top / "collections"
    (top / "ansible.cfg").touch()
    run(
        [str(galaxy), "collection", "install", "--offline", "--collections-path", str(path), str(archive)],
        env={"ANSIBLE_CONFIG": str(top / "ansible.cfg")},
    )
    return Artifact(archive, path)
