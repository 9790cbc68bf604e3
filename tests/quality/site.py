# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation as a site: every page below docs, and what modules, plugins and roles say of themselves."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.quality.artifact import Artifact
from tests.quality.programs import run
from tests.quality.venvs import CLONE, venv

SOURCES = CLONE / "docs/docsite/sphinx"


def build(artifact: Artifact, target: Path) -> Path:
    """HTML in `target`, which is replaced; a warning is an error. Returns the first page."""
    programs = venv("docs")
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "ANSIBLE_COLLECTIONS_PATH": str(artifact.path)}
    with tempfile.TemporaryDirectory() as directory:
        pages = Path(directory, "pages")
        shutil.copytree(CLONE / "docs", pages, ignore=shutil.ignore_patterns("docsite"))
        shutil.copytree(SOURCES, pages, dirs_exist_ok=True)
        shutil.copy(CLONE / "CHANGELOG.rst", pages / "changelog.rst")
        reference = pages / "reference"
        reference.mkdir()
        words = ["collection", "--use-current", "--squash-hierarchy", "--fail-on-error", "--dest-dir", str(reference)]
        run([str(programs / "antsibull-docs"), *words, "qingcloud.cni"], cwd=CLONE, env=environment)
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        run([str(programs / "sphinx-build"), "-W", "--keep-going", "-q", str(pages), str(target)], env=environment)
    return target / "index.html"
