# SPDX-License-Identifier: GPL-3.0-or-later
"""Imported for what it does: `hostnic` is found in this clone, so that `python -m tests.…` needs no environment."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[2] / "plugins" / "module_utils")
if _PACKAGE not in sys.path:
    sys.path.insert(0, _PACKAGE)
