# SPDX-License-Identifier: GPL-3.0-or-later
"""Every promise about a call of qingcni, as cells of tables that are executed one by one."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[3] / "plugins" / "module_utils")
if _PACKAGE not in sys.path:
    sys.path.insert(0, _PACKAGE)  # so that `python -m tests.e2e.conformance` needs no environment
