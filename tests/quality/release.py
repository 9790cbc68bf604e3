# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.quality.release``: CHANGELOG.rst from the fragments, for the version in galaxy.yml."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.quality import artifact
from tests.quality.artifact import Artifact
from tests.quality.errors import CheckError
from tests.quality.programs import run
from tests.quality.venvs import CLONE, venv

PAGE, RECORD = "CHANGELOG.rst", "changelogs/changelog.yaml"


def written(built: Artifact) -> Path:
    """A copy of the installed collection, where alone plugins have their full names, with PAGE and RECORD written."""
    programs = venv("docs")
    path = built.path.parent / "released"
    tree = path / artifact.NAME
    shutil.copytree(built.tree, tree, dirs_exist_ok=True)
    shutil.copy(CLONE / "galaxy.yml", tree)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "ANSIBLE_COLLECTIONS_PATH": str(path)}
    words = ["release", "--reload-plugins", "--update-existing"]
    run([str(programs / "antsibull-changelog"), *words], cwd=tree, env=environment)
    return tree


def main() -> int:
    try:
        with tempfile.TemporaryDirectory() as directory:
            tree = written(artifact.build(venv("docs") / "ansible-galaxy", Path(directory)))
            for name in (PAGE, RECORD):
                shutil.copy(tree / name, CLONE / name)
    except CheckError as error:
        print(f"changelog: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
