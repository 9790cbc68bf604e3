# SPDX-License-Identifier: GPL-3.0-or-later
"""Emulated time: the cloud's clock, and the boot clocks of machines, which begin anew and may leap."""

from __future__ import annotations

import threading

from tests.emulator import ManualClock


class CloudClock(ManualClock):
    """Whoever sleeps by it moves it on: there is one thread at a time that has work to do."""

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        self.advance(seconds)


class BootClock:
    """CLOCK_BOOTTIME of a machine that was switched on `age` seconds ago."""

    def __init__(self, clock: CloudClock, age: float) -> None:
        self._clock = clock
        self._zero = clock.now() - age

    def __call__(self) -> float:
        return self._clock.now() - self._zero

    def leap(self, seconds: float) -> None:
        """Ahead of all other clocks, as after a live migration."""
        self._zero -= seconds
