# SPDX-License-Identifier: GPL-3.0-or-later
"""One value of the configuration, from what a flag, a variable or a file can hold to what `Settings` holds."""

from __future__ import annotations

import ipaddress
import math
import re
import typing as t

from ..errors import InvalidConfig

_UNITS: t.Final[t.Mapping[str, float]] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern}\s*)+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def parse(kind: str, value: t.Any, name: str) -> t.Any:
    """`kind` as in `Settings`' metadata; `name` is what a sentence calls the setting. Raises `InvalidConfig`."""
    return _KINDS[kind](value, name)


def duration(text: str) -> t.Optional[float]:
    """Seconds of `10m`, `1h30m`, `500ms`, `2.5s` or a bare number of seconds; None for what is none."""
    text = text.strip().lower()
    if _NUMBER.fullmatch(text):
        found = float(text)
    elif _DURATION.fullmatch(text):
        found = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    else:
        return None
    return found if math.isfinite(found) else None


def is_loopback(host: str) -> bool:
    """Whether this names the host itself and nothing that others reach: an address of the loopback, or localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _string(value: t.Any, name: str) -> str:
    if isinstance(value, str):
        return value.strip()
    raise InvalidConfig(f"{name} must be text, not {_shown(value)}: write it in quotes", setting=name)


def _list(value: t.Any, name: str) -> tuple[str, ...]:
    """A native list, or text with commas; a repeated flag is a list of such texts."""
    pieces = list(value) if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(piece, str) for piece in pieces):
        raise InvalidConfig(f"{name} must be a list of texts, or one text with commas, not {_shown(value)}")
    split = (part.strip() for piece in pieces for part in piece.split(","))
    return tuple(part for part in split if part)


def _int(value: t.Any, name: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,9}\s*", value):
        return int(value)
    raise InvalidConfig(f"{name} must be a whole number, not {_shown(value)}", setting=name)


def _rate(value: t.Any, name: str) -> float:
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and text.endswith("/s"):
        text = text[:-2].strip()
    number = _as_number(text)
    if number is None or number <= 0:
        raise InvalidConfig(f"{name} must be a number of calls a second, such as 5 or 0.5/s, not {_shown(value)}")
    return number


def _seconds(value: t.Any, name: str) -> float:
    number = duration(value) if isinstance(value, str) else _as_number(value)
    if number is None or number < 0:
        raise InvalidConfig(f"{name} must be a duration, such as 60s, 10m or 24h, not {_shown(value)}", setting=name)
    return number


def _as_number(value: t.Any) -> t.Optional[float]:
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _shown(value: t.Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


_KINDS: t.Final[t.Mapping[str, t.Callable[[t.Any, str], t.Any]]] = {
    "string": _string,
    "list": _list,
    "int": _int,
    "rate": _rate,
    "duration": _seconds,
}
