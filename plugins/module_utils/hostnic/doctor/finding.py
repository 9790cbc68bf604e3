# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check says: what is there and what helps, or what it could not look at and why."""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, dataclass, field

from ..errors import HostnicError

ERROR: t.Final = "error"  # pods or services fail, now or with the next one that starts
WARNING: t.Final = "warning"  # nothing fails yet, or only something that not everybody uses
UNCHECKED: t.Final = "unchecked"


_COMMAND: t.Final = re.compile(r"(?:look at it, then )?run (?P<command>ch(?:mod|own) .+)")


class CannotTell(HostnicError):
    """A check has nothing to look at; the message says why."""


class Seen(t.NamedTuple):
    """`severity`: ERROR, WARNING or UNCHECKED. Both sentences are without a full stop; the second is a command where
    one command does it.
    """

    severity: str
    what: str
    remedy: str = ""


def error(what: str, remedy: str) -> Seen:
    return Seen(ERROR, what, remedy)


def warning(what: str, remedy: str) -> Seen:
    return Seen(WARNING, what, remedy)


def with_command(say: t.Callable[[str, str], Seen], wrong: HostnicError, otherwise: str) -> Seen:
    """Of an error whose remedy is a command to run; `otherwise` is the remedy where it is not."""
    told = _COMMAND.fullmatch(wrong.remedy)
    return say(wrong.what, told["command"]) if told else say(wrong.message, otherwise)


def unchecked(why: str) -> Seen:
    return Seen(UNCHECKED, why)


@dataclass(frozen=True)
class Finding:
    check: str
    severity: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Unchecked:
    check: str
    why: str


@dataclass
class Report:
    """`checks`: the ids of all that were tried, in the order of the table."""

    findings: list[Finding] = field(default_factory=list)
    unchecked: list[Unchecked] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Warnings are no illness: what they tell of does not keep pods from starting or being reached."""
        return not any(finding.severity == ERROR for finding in self.findings)

    def document(self) -> dict[str, t.Any]:
        """JSON-ready."""
        return {"healthy": self.healthy, **asdict(self)}
