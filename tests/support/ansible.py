# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible from the clone, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]


def ansible(*words: str, within: tuple[str, ...] = ()) -> str:
    """What it printed. `within`: a command that runs a command, such as `ip netns exec`."""
    program = Path(sys.executable).with_name(words[0])
    environment = {**os.environ, "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"), "ANSIBLE_LOCALHOST_WARNING": "False"}
    done = subprocess.run(
        [*within, program, *words[1:]],
        cwd=CLONE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
