# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a tool to its end."""

from __future__ import annotations

import os
import shlex
import subprocess
import typing as t
from pathlib import Path

from tests.quality.errors import CheckError

Environment = t.Mapping[str, str]


def run(
    argv: t.Sequence[str],
    *,
    cwd: t.Optional[Path] = None,
    env: t.Optional[Environment] = None,
    timeout: float = 900,
    quiet: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Output as text; `env` is laid over the process' own. Raises CheckError with all that a failed tool printed."""
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CheckError(f"{shlex.join(argv)}: not done within {timeout:g} s") from error
    if done.returncode:
        raise CheckError(f"{shlex.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done
