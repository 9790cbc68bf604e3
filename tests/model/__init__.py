# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool under everything that can happen to it, in any order: random operations, and what must hold after each."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[2] / "plugins" / "module_utils")
if _PACKAGE not in sys.path:
    sys.path.insert(0, _PACKAGE)  # so that `python -m tests.model` needs no environment
