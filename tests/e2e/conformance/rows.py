# SPDX-License-Identifier: GPL-3.0-or-later
"""What a row of the matrix is: a requirement, the verbs and versions that it concerns, and how it is shown."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    from tests.e2e.conformance.cell import Cell

VERSIONS: t.Final = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
VERBS: t.Final = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
ATTACHMENT: t.Final = ("ADD", "DEL", "CHECK")
CONFIGURED: t.Final = VERBS[:-1]  # those that read a network configuration
LISTED: t.Final = VERSIONS[2:]  # results with lists of interfaces and addresses
NEWEST: t.Final = VERSIONS[-1]
_FROM: t.Final = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}

Check = t.Callable[["Cell"], None]


def allows(verb: str, version: str) -> bool:
    """Whether a configuration of this version may be used with this verb."""
    return VERSIONS.index(version) >= VERSIONS.index(_FROM.get(verb, VERSIONS[0]))


@dataclass(frozen=True)
class Row:
    """`check` raises where a cell is not as `text` says; None: nothing shows it, and every cell says so.

    `forbidden`: concerns the versions that do not allow the verb, in place of those that do. `runtimes`: calls of a
    runtime would fail without it. `note`: what the page says beside it.
    """

    name: str
    text: str
    verbs: tuple[str, ...]
    check: t.Optional[Check]
    versions: tuple[str, ...] = VERSIONS
    forbidden: bool = False
    runtimes: bool = False
    note: str = ""

    def cells(self) -> tuple[tuple[str, str], ...]:
        """(verb, version)."""
        return tuple(
            (verb, version)
            for verb in self.verbs
            for version in self.versions
            if allows(verb, version) is not self.forbidden
        )


class Changes(t.NamedTuple):
    """Of a call that would succeed: variables and keys that are others, `ABSENT` for gone; a raw stdin."""

    env: t.Mapping[str, t.Any] = {}
    config: t.Mapping[str, t.Any] = {}
    stdin: t.Optional[str] = None


ABSENT: t.Final = object()


def variables(*changes: t.Mapping[str, t.Any]) -> tuple[Changes, ...]:
    return tuple(Changes(env=change) for change in changes)


def keys(*changes: t.Mapping[str, t.Any]) -> tuple[Changes, ...]:
    return tuple(Changes(config=change) for change in changes)


def refuses(code: int, *words: str, each: t.Sequence[Changes]) -> Check:
    """Each of these is refused with this code, in a sentence that has these words, and nothing has happened."""

    def check(cell: Cell) -> None:
        for change in each:
            cell.refused(code, *words, env=change.env, config=change.config, stdin=change.stdin)

    return check


def accepts(each: t.Sequence[Changes]) -> Check:
    """Each of these succeeds, with what a success prints."""

    def check(cell: Cell) -> None:
        for change in each:
            cell.succeeds(env=change.env, config=change.config, stdin=change.stdin)

    return check
