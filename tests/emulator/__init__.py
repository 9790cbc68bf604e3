# SPDX-License-Identifier: GPL-3.0-or-later
"""An emulator of the QingCloud HTTP API, with an optional data plane. See README.md beside this file."""

from __future__ import annotations

from tests.emulator.clock import ManualClock, SystemClock
from tests.emulator.cloud import Cloud
from tests.emulator.emulator import Emulator
from tests.emulator.errors import EmulatorError
from tests.emulator.settings import Settings

__all__ = ["Cloud", "Emulator", "EmulatorError", "ManualClock", "Settings", "SystemClock"]
