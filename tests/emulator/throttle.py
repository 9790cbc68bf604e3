# SPDX-License-Identifier: GPL-3.0-or-later
"""How often an access key (or its account) may call: a token bucket with a penalty, and a number a day."""

from __future__ import annotations

from dataclasses import dataclass

from tests.emulator.errors import OVER_QUOTA, ApiError
from tests.emulator.settings import Settings

TOO_OFTEN = "access too frequently, your requests will be rejected for a period of time"
_DAY = 86400


@dataclass
class _Usage:
    tokens: float
    refilled: float
    barred_until: float = 0.0
    day: int = -1
    calls: int = 0


class Throttle:
    """Not locked: the cloud's lock is held by whoever calls."""

    def __init__(self) -> None:
        self._usage: dict[str, _Usage] = {}

    def admit(self, who: str, settings: Settings, now: float) -> None:
        """Count one call, or raise 2500."""
        usage = self._usage.setdefault(who, _Usage(float(settings.rate_burst), now))
        self._check_rate(usage, settings, now)
        self._check_day(usage, settings, now)

    def _check_rate(self, usage: _Usage, settings: Settings, now: float) -> None:
        if not settings.rate_per_second:
            return
        if now < usage.barred_until:
            raise ApiError(OVER_QUOTA, TOO_OFTEN)
        grown = usage.tokens + (now - usage.refilled) * settings.rate_per_second
        usage.tokens, usage.refilled = min(float(settings.rate_burst), grown), now
        if usage.tokens < 1:
            usage.barred_until = now + settings.rate_penalty
            raise ApiError(OVER_QUOTA, TOO_OFTEN)
        usage.tokens -= 1

    def _check_day(self, usage: _Usage, settings: Settings, now: float) -> None:
        day = int(now + settings.day_utc_offset_hours * 3600) // _DAY
        if day != usage.day:
            usage.day, usage.calls = day, 0
        if settings.calls_per_day and usage.calls >= settings.calls_per_day:
            raise ApiError(OVER_QUOTA, f"you can only call the API [{settings.calls_per_day}] times a day")
        usage.calls += 1
