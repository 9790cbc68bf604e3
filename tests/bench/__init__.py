# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements beside a yardstick, in one run: what a promise about costs is held against."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[2] / "plugins" / "module_utils")
if _PACKAGE not in sys.path:
    sys.path.insert(0, _PACKAGE)  # so that `python -m tests.bench` needs no environment
