# SPDX-License-Identifier: GPL-3.0-or-later
"""A report for people: by group what was found, then what could not be looked at, and one line at the end."""

from __future__ import annotations

import textwrap
import typing as t

from .finding import ERROR, Finding, Report, Unchecked
from .table import GROUPS, Group

_RED, _YELLOW, _GREEN, _DIM, _BOLD, _PLAIN = (f"\x1b[{code}m" for code in (31, 33, 32, 2, 1, 0))
_INDENT: t.Final = " " * 4


def text(report: Report, colour: bool = False, width: int = 100) -> str:
    """`colour`: for a terminal."""
    paint = _paint if colour else _leave
    lines: list[str] = []
    for group in GROUPS:
        lines += _group(group, report, paint, width)
    lines += _unchecked(report.unchecked, paint, width)
    lines.append(_last(report, paint))
    return "".join(f"{line}\n" for line in lines)


def _group(group: Group, report: Report, paint: t.Callable[[str, str], str], width: int) -> list[str]:
    ids = [check.check_id for check in group.checks if check.check_id in report.checks]
    if not ids:
        return []
    found = [finding for finding in report.findings if finding.check in ids]
    lacking = {one.check for one in report.unchecked} - {finding.check for finding in found}
    good = len([one for one in ids if one not in lacking and one not in {finding.check for finding in found}])
    head = paint(_BOLD, group.title) + f": {good} of {len(ids)} fine"
    return [head, *(line for finding in found for line in _finding(finding, paint, width))]


def _finding(finding: Finding, paint: t.Callable[[str, str], str], width: int) -> t.Iterator[str]:
    colour = _RED if finding.severity == ERROR else _YELLOW
    mark = f"{finding.severity}: {finding.check}: "
    first, *rest = _wrapped(f"{mark}{finding.what}", width - 2)
    yield f"  {paint(colour, mark.rstrip())}{first[len(mark) - 1 :]}"
    yield from (f"{_INDENT}{line}" for line in rest)
    # not wrapped: it is there to be copied
    yield f"{_INDENT}{paint(_GREEN, '►')} {finding.remedy}"


def _unchecked(unchecked: t.Sequence[Unchecked], paint: t.Callable[[str, str], str], width: int) -> list[str]:
    """One reason is told once, however many checks it kept from looking."""
    if not unchecked:
        return []
    by_reason: dict[str, list[str]] = {}
    for one in unchecked:
        by_reason.setdefault(one.why, []).append(one.check)
    lines = [paint(_BOLD, "not checked")]
    for why, checks in by_reason.items():
        wrapped = _wrapped(f"{', '.join(checks)}: {why}", width - 2)
        lines += [f"  {paint(_DIM, line)}" for line in wrapped]
    return lines


def _wrapped(words: str, width: int) -> list[str]:
    return textwrap.wrap(words, max(40, width - len(_INDENT)), break_long_words=False, break_on_hyphens=False) or [""]


def _last(report: Report, paint: t.Callable[[str, str], str]) -> str:
    errors = len([finding for finding in report.findings if finding.severity == ERROR])
    warnings = len(report.findings) - errors
    counted = f"{len(report.checks)} checks: {_many(errors, 'error')}, {_many(warnings, 'warning')}"
    if errors:
        return paint(_RED, counted)
    return paint(_YELLOW if warnings else _GREEN, f"{counted}: {'nothing that stops pods' if warnings else 'healthy'}")


def _many(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


def _paint(code: str, words: str) -> str:
    return f"{code}{words}{_PLAIN}"


def _leave(__: str, words: str) -> str:
    return words
