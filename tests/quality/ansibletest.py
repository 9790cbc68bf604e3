# SPDX-License-Identifier: GPL-3.0-or-later
"""`ansible-test` in an installed collection, with a home of its own and without its download of pip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.quality.artifact import Artifact
from tests.quality.programs import run
from tests.quality.venvs import CACHE, venv

# ansible-core ► the pip that it bootstraps its environments with.
PIP = {"2.17": "23.1.2", "2.18": "24.2", "2.19": "24.2"}
# The ansible-core that `make test` has.
CORE = "2.19"
# Runs in the place of the script that ansible-test would download, and takes the version from its own name.
GET_PIP = """\
import os, pathlib, re, subprocess, sys
import ensurepip
version = ".".join(re.findall("[0-9]+", pathlib.Path(os.environ["GET_PIP"]).stem))
ensurepip.bootstrap(default_pip=True)
environment = {name: value for name, value in os.environ.items() if name != "PIP_CONFIG_FILE"}
command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pip==" + version]
subprocess.run([*command, "setuptools", "wheel"], env=environment, check=True)
"""


def home(core: str) -> Path:
    """Kept, since the environments of ansible-test lie there. It hands on no PIP_*, so a file carries what they say."""
    top = CACHE / f"home-{core}"
    script = top / ".ansible/test/cache" / f"get_pip_{PIP[core].replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(GET_PIP)
    settings = top / ".config/pip/pip.conf"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("[global]\n" + "".join(f"{line}\n" for line in _pip_settings()))
    return top


def _pip_settings() -> list[str]:
    """The user's and the environment's, as lines of a file; the site's file is read anyway."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    found = {}
    for line in done:
        name, _, value = line.partition("=")
        scope, _, key = name.partition(".")
        if scope in ("global", "install", ":env:") and key != "config-file":
            found[key.replace("_", "-")] = value.strip().strip("'").replace("\\n", "\n    ")
    return [f"{key} = {value}" for key, value in found.items()]


def programs_of(core: str) -> Path:
    """Directory of this ansible-core's programs."""
    return venv(f"core-{core.replace('.', '_')}")


def ansible_test(artifact: Artifact, core: str, *words: str) -> str:
    programs = programs_of(core)
    environment = {
        "HOME": str(home(core)),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(artifact.path),
        "LC_ALL": "C.UTF-8",
    }
    command = [str(programs / "ansible-test"), *words, "--color", "no"]
    return run(command, cwd=artifact.tree, env=environment, timeout=1800).stdout
