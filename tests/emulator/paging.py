# SPDX-License-Identifier: GPL-3.0-or-later
"""``offset`` and ``limit`` of every Describe: 20 rows unless asked, 100 at most."""

from __future__ import annotations

import random
import typing as t

from tests.emulator.errors import bad_format
from tests.emulator.params import Params
from tests.emulator.settings import Settings

DEFAULT_LIMIT = 20
MAX_LIMIT = 100

_T = t.TypeVar("_T")


def page(
    params: Params,
    settings: Settings,
    found: t.Sequence[_T],
    *,
    identity: t.Callable[[_T], str],
    rng: random.Random,
    everything: int,
) -> tuple[list[_T], int]:
    """(the rows asked for, total_count). ``everything`` is the number of rows without filters."""
    rows = list(found)
    if settings.describe_order == "newest":
        rows.reverse()
    elif settings.describe_order == "id":
        rows.sort(key=identity)
    elif settings.describe_order == "random":
        rng.shuffle(rows)
    offset = _offset(params, settings)
    total = len(rows) if settings.total_count == "filtered" else everything
    return rows[offset : offset + _limit(params, settings)], total


def _offset(params: Params, settings: Settings) -> int:
    value = _number(params, "offset", 0, settings)
    if value >= 0:
        return value
    return _invalid("offset", value, 0, settings)


def _limit(params: Params, settings: Settings) -> int:
    value = _number(params, "limit", DEFAULT_LIMIT, settings)
    if value <= 0:
        return _invalid("limit", value, DEFAULT_LIMIT, settings)
    if value > MAX_LIMIT and settings.limit_overflow == "error":
        raise bad_format(f"limit [{value}] is more than {MAX_LIMIT}")
    return min(value, MAX_LIMIT)


def _number(params: Params, name: str, default: int, settings: Settings) -> int:
    text = params.text(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        return _invalid(name, text, default, settings)


def _invalid(name: str, value: object, default: int, settings: Settings) -> int:
    if settings.limit_invalid == "error":
        raise bad_format(f"{name} [{value}] is not a valid number")
    return default
