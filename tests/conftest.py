# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers of pytest-xdist have a lab each: named here, before anything that reads the names is imported."""

from __future__ import annotations

import os

_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")  # gw0, gw1 and so on
if _WORKER:
    os.environ["LAB_NAME"] = f"w{_WORKER.removeprefix('gw')}"
    os.environ["LAB_NETWORK"] = f"10.{70 + int(_WORKER.removeprefix('gw'))}.0.0/16"
