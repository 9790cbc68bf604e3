# SPDX-License-Identifier: GPL-3.0-or-later
"""A few thousand random operations; `make model` runs many more, and plants bugs to see that they are found."""

from __future__ import annotations

import subprocess
import sys


def test_nothing_breaks_whatever_happens() -> None:
    """The seeds are new every time; a failure shows the seed that repeats it."""
    command = [sys.executable, "-m", "tests.model", "--operations", "5000"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1].endswith(" 0 violations")
