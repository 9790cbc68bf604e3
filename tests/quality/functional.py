# SPDX-License-Identifier: GPL-3.0-or-later
"""`ansible-test units` and `ansible-test integration` on the installed collection; roles by an older ansible-core."""

from __future__ import annotations

import json
import sys

from tests.quality.ansibletest import ansible_test, programs_of
from tests.quality.artifact import Artifact
from tests.quality.errors import CheckError
from tests.quality.programs import run
from tests.quality.venvs import CLONE
from tests.support import integration

# A cluster's whole life, and what the roles work out of their variables.
_OF_ROLES = ("tests/unit/test_roles_variables.py", "tests/unit/test_roles_rate.py", "tests/e2e/test_lifecycle.py")
_HERE = ["--local", "--python", ".".join(str(part) for part in sys.version_info[:2])]


def units(core: str, artifact: Artifact) -> None:
    said = ansible_test(artifact, core, "units", *_HERE, "--requirements")
    if " passed" not in said:
        raise CheckError(f"no unit test ran\n{said}")


def targets(core: str, artifact: Artifact) -> None:
    """All integration targets against an emulated cloud of their own, whose address a file tells."""
    with integration.cloud() as emulator:
        variables = {**integration.variables(emulator), "artifact_cache": str(CLONE / ".cache/artifacts")}
        path = artifact.tree / "tests/integration/integration_config.yml"
        path.write_text(json.dumps(variables), encoding="utf-8")
        try:
            ansible_test(artifact, core, "integration", *_HERE)
        finally:
            path.unlink()


def roles(core: str, artifact: Artifact) -> None:
    """In the lab, by another ansible-core than the one that `make test` has. This is the clone, not `artifact`."""
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *_OF_ROLES]
    run([sys.executable, *words], cwd=CLONE, env={"ANSIBLE_PROGRAMS": str(programs_of(core))})
