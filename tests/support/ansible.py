# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible from the clone, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]


def program(name: str) -> str:
    """Of the environment that runs this, or of the one whose programs ANSIBLE_PROGRAMS names: another ansible-core."""
    return str(Path(os.environ.get("ANSIBLE_PROGRAMS") or Path(sys.executable).parent) / name)


def ansible(*words: str, within: tuple[str, ...] = ()) -> str:
    """What it printed. `within`: a command that runs a command, such as `ip netns exec`."""
    done = attempt(*words, within=within)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def attempt(
    *words: str, within: tuple[str, ...] = (), environ: t.Optional[t.Mapping[str, str]] = None, cwd: Path = CLONE
) -> subprocess.CompletedProcess[str]:
    """What became of it. `environ` is laid over this process's own."""
    usual = {"ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"), "ANSIBLE_LOCALHOST_WARNING": "False"}
    return subprocess.run(
        [*within, program(words[0]), *words[1:]],
        cwd=cwd,
        env={**os.environ, **usual, **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
