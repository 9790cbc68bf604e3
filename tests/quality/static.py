# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of what is written: each is a function of the artifact that raises CheckError."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.quality import release, site
from tests.quality.ansibletest import ansible_test
from tests.quality.artifact import Artifact
from tests.quality.errors import CheckError
from tests.quality.programs import run
from tests.quality.venvs import CACHE, CLONE, venv

# What galaxy-importer lets a collection have all the same.
_HARMLESS = (
    "ansible-test sanity skipped",  # the checks `sanity-*` run it
    "No documentation found",
)


def ruff(artifact: Artifact) -> None:
    run([sys.executable, "-m", "ruff", "check", "."], cwd=CLONE)
    run([sys.executable, "-m", "ruff", "format", "--check", "."], cwd=CLONE)


def mypy(artifact: Artifact) -> None:
    run([sys.executable, "-m", "mypy"], cwd=CLONE)


def yamllint(artifact: Artifact) -> None:
    run([str(venv("lint") / "yamllint"), "--strict", "."], cwd=CLONE)


def changelog(artifact: Artifact) -> None:
    run([str(venv("docs") / "antsibull-changelog"), "lint"], cwd=CLONE)
    if (release.written(artifact) / release.PAGE).read_text() != (CLONE / release.PAGE).read_text():
        raise CheckError(f"{release.PAGE} is not what the fragments and modules say: run `make changelog`")


def vermin(artifact: Artifact) -> None:
    """No file of nodes or modules needs more than Python 3.9."""
    words = ["--target=3.9-", "--violations", "--no-tips"]
    run([str(venv("lint") / "vermin"), *words, "plugins", "files"], cwd=CLONE)


def docs(artifact: Artifact) -> None:
    programs = venv("docs")
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "ANSIBLE_COLLECTIONS_PATH": str(artifact.path)}
    words = ["lint-collection-docs", "--plugin-docs", "--skip-rstcheck", "--validate-collection-refs", "self", "."]
    run([str(programs / "antsibull-docs"), *words], cwd=artifact.tree, env=environment)


def docs_site(artifact: Artifact) -> None:
    site.build(artifact, CACHE / "site")


def ansible_lint(artifact: Artifact) -> None:
    """In the installed collection, so that its copy of the collection and its cache stay out of the clone."""
    programs = venv("lint")
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(artifact.path),
        "NO_COLOR": "1",
    }
    words = ["--offline", "--profile", "production", "--strict", "-q"]
    run([str(programs / "ansible-lint"), *words], cwd=artifact.tree, env=environment)


def importer(artifact: Artifact) -> None:
    """What a Galaxy server would say to the archive. Its exit status is 0 with warnings, so its log is read."""
    programs = venv("importer")
    settings = artifact.path.parent / "galaxy-importer.cfg"
    settings.write_text("[galaxy-importer]\nRUN_ANSIBLE_TEST = False\nCHECK_REQUIRED_TAGS = True\n")
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "GALAXY_IMPORTER_CONFIG": str(settings)}
    done = run(
        [str(programs / "python"), "-m", "galaxy_importer.main", str(artifact.archive)],
        cwd=artifact.path.parent,
        env=environment,
    )
    said = (done.stdout + done.stderr).splitlines()
    wrong = [
        line for line in said if line.startswith(("WARNING", "ERROR")) and not any(part in line for part in _HARMLESS)
    ]
    if wrong or not any("Importer processing completed successfully" in line for line in said):
        raise CheckError("\n".join(wrong or said))


def sanity(core: str, artifact: Artifact) -> None:
    """All tests of that core, with no ignore file to be found."""
    ignored = sorted(str(path.relative_to(CLONE)) for path in Path(CLONE, "tests/sanity").glob("ignore*"))
    if ignored:
        raise CheckError(f"{json.dumps(ignored)}: fix what they ignore")
    version = ".".join(str(part) for part in sys.version_info[:2])
    ansible_test(artifact, core, "sanity", "--local", "--python", version, "--requirements")
