# SPDX-License-Identifier: GPL-3.0-or-later
"""How the commands show things: tables and spans of time for people, JSON for programs."""

from __future__ import annotations

import json
import math
import typing as t

_BLOCKS: t.Final = " ▁▂▃▄▅▆▇█"
ASCII: t.Final = " .:-=+*#@"
_UNITS: t.Final = ((86400, "d"), (3600, "h"), (60, "m"))


def document(value: t.Any) -> str:
    """JSON, as a program and a curious person read it."""
    return json.dumps(value, indent=2) + "\n"


def table(headings: t.Sequence[str], rows: t.Iterable[t.Sequence[t.Any]]) -> str:
    """Columns as wide as they need; numbers to the right; "-" for what is empty or None."""
    rows = list(rows)
    cells = [[_cell(value) for value in row] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    numeric = [bool(rows) and all(_is_number(row[n]) for row in rows) for n in range(len(headings))]
    lines = (
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(line, widths, numeric)
        )
        for line in cells
    )
    return "".join(line.rstrip() + "\n" for line in lines)


def span(seconds: float) -> str:
    """`8 s`, `3 m`, `5 h`, `2 d`: one unit, rounded down."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def ago(seconds: float) -> str:
    """`3 m ago`."""
    return f"{span(seconds)} ago"


def count(number: int, word: str) -> str:
    """`1 NIC`, `2 NICs`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def chart(values: t.Sequence[float], width: int, blocks: str = _BLOCKS) -> str:
    """One line of so many columns at most, the highest value of each; the highest block is the highest of all."""
    columns = max(1, min(width, len(values)))
    shares = [values[n * len(values) // columns : max(n * len(values) // columns + 1, (n + 1) * len(values) // columns)]
              for n in range(columns)]  # fmt: skip
    top = max(values, default=0) or 1
    return "".join(blocks[math.ceil(max(share) / top * (len(blocks) - 1))] for share in shares if share)


def _cell(value: t.Any) -> str:
    return "-" if value is None or value == "" else str(value)


def _is_number(value: t.Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
