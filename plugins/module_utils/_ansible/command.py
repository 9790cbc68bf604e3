# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the node."""

from __future__ import annotations

import subprocess
import typing as t

NOT_RUN: t.Final = 127


def run(
    command: t.Sequence[str],
    environment: t.Optional[t.Mapping[str, str]] = None,
    stdin: str = "",
    patience: float = 120.0,
) -> tuple[int, str, str]:
    """Exit status, stdout, stderr; `NOT_RUN` and why where it cannot be run or does not end. `environment`: no other.

    Any thread may call.
    """
    try:
        done = subprocess.run(
            list(command),
            env=None if environment is None else dict(environment),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return NOT_RUN, "", str(error)
    return done.returncode, done.stdout, done.stderr
