# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks against the lab, as a user runs them from a clone."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t

from tests.lab import cgroups
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.paths import CLONE, LOGS, PREFIX
from tests.support.ansible import program

_GROUP = f"{PREFIX}-site"


def play(lab: Lab, playbook: str, arguments: t.Sequence[str] = ()) -> None:
    """Shown as it runs and kept in the logs; raises LabError when it fails."""
    argv = [program("ansible-playbook"), f"playbooks/{playbook}.yml", "-i", lab.inventory, *arguments]
    env = {**os.environ, "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg")}
    if sys.stdout.isatty():
        env["ANSIBLE_FORCE_COLOR"] = "1"
    log = LOGS / f"{playbook}.log"
    with log.open("w") as kept:
        child = subprocess.Popen(
            cgroups.within(_GROUP, argv),
            cwd=CLONE,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        for line in child.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            kept.write(line)
    code = child.wait()
    # The connections that ansible shares stay open for a minute: end them with their group.
    cgroups.clear(_GROUP)
    if code:
        raise LabError(f"{playbook}.yml failed (exit {code}), see {log}; the lab is left as it is")
