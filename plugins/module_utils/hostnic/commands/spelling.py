# SPDX-License-Identifier: GPL-3.0-or-later
"""How a setting's kind and value are written, in help, tables and documents."""

from __future__ import annotations

import typing as t
from dataclasses import Field

# Kind in `Settings` ► the type that the original's help names.
KINDS: t.Final[t.Mapping[str, str]] = {
    "string": "string",
    "list": "stringSlice",
    "int": "int",
    "duration": "duration",
    "rate": "rate",
}


def written(kind: str, value: t.Any) -> str:
    """As it may stand in a configuration file: `10m`, `5/s`, `a,b`."""
    if kind == "duration":
        return duration(value)
    if kind == "rate":
        return f"{value:g}/s"
    return ",".join(value) if kind == "list" else str(value)


def duration(seconds: float) -> str:
    """In the greatest unit that leaves a whole number: `90s`, `10m`, `24h`."""
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def default(option: Field[t.Any]) -> str:
    """` (default "eth0")`, and nothing for what is empty: as the original's help tells it."""
    kind, value = option.metadata["kind"], option.default
    text = written(kind, value)
    if not text:
        return ""
    quoted = {"string": f'"{text}"', "list": f"[{text}]"}.get(kind, text)
    return f" (default {quoted})"
