# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation held to its word: its commands are executed, its examples read, its sentences looked up."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[2] / "plugins" / "module_utils")
if _PACKAGE not in sys.path:
    sys.path.insert(0, _PACKAGE)  # so that `python -m tests.docs` needs no environment
