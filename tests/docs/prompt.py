# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands with what they print: `$ ` begins a command, and the lines below it are what is expected of it."""

from __future__ import annotations

import doctest
import typing as t
from dataclasses import dataclass

PROMPT: t.Final = "$ "
_FLAGS: t.Final = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Step:
    """A command of one or more lines, and what it has to print, in which `...` stands for anything."""

    command: str
    expected: str

    def fits(self, printed: str) -> bool:
        return doctest.OutputChecker().check_output(self.expected, printed, _FLAGS)


def steps(text: str) -> list[Step]:
    """Raises ValueError for text before the first prompt. A line after one that ends in a backslash continues it."""
    found: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith(PROMPT):
            found.append(([line[len(PROMPT) :]], []))
        elif not found:
            raise ValueError(f"{line!r} stands before the first prompt")
        elif not found[-1][1] and found[-1][0][-1].endswith("\\"):
            found[-1][0].append(line)
        else:
            found[-1][1].append(line)
    return [Step("\n".join(command) + "\n", "\n".join(expected) + "\n") for command, expected in found]
