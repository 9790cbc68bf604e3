# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a command to its end."""

from __future__ import annotations

import shlex
import subprocess
import typing as t

from tests.lab.errors import LabError


def run(
    argv: t.Sequence[str], *, check: bool = True, timeout: float = 60, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Output as text; raises LabError with the command and what it said."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed: run `make setup`") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{shlex.join(argv)}: not done within {timeout:g} s") from error
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise LabError(f"{shlex.join(argv)}: exit {done.returncode}: {' / '.join(said[-4:])}")
    return done
