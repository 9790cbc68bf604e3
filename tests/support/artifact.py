# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as others get it: built from the clone, installed into a collections path of its own."""

from __future__ import annotations

from pathlib import Path

from tests.support.ansible import CLONE, ansible


def install(directory: Path) -> Path:
    """The collections path; needs no network."""
    ansible("ansible-galaxy", "collection", "build", str(CLONE), "--output-path", str(directory))
    (tarball,) = directory.glob("qingcloud-cni-*.tar.gz")
    path = directory / "collections"
    # forced, since the clone counts as installed already
    ansible("ansible-galaxy", "collection", "install", "--force", "--offline", str(tarball), "-p", str(path))
    return path
