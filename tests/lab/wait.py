# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a condition, never for an amount of time."""

from __future__ import annotations

import time
import typing as t

from tests.lab.errors import LabError

_T = t.TypeVar("_T")


def until(condition: t.Callable[[], _T | None], seconds: float, what: str) -> _T:
    """The first true value of ``condition``; raises LabError with ``what`` when the deadline has passed."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise LabError(f"{what}: not within {seconds:g} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
