# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A node's NICs as a picture: one square for each, told apart by its figure as well as by its colour. Pure."""

from __future__ import annotations

import itertools
import typing as t
from collections import Counter
from dataclasses import dataclass

from ...module_utils.hostnic.model import GATEWAY
from ...module_utils.hostnic.states import LEAVING, State

COLUMNS: t.Final = 20
PITCH: t.Final = 14  # px from one square to the next: 20 of them fit on a phone
MOST: t.Final = 240  # squares; an instance takes 64


@dataclass(frozen=True)
class Kind:
    """What a square stands for. `figure` is a path in a square of 14 by 14, `one` and `many` are said with a number."""

    key: str
    one: str
    many: str
    meaning: str
    figure: str


_SOLID: t.Final = "M1 1h12v12H1z"
_STRIPES: t.Final = "M1 6l5-5H1zM1 13L13 1H9L1 9zM8 13l5-5v5z"
# In the order of the picture.
KINDS: t.Final[tuple[Kind, ...]] = (
    Kind("u", "used", "used", "a pod has it", _SOLID),
    Kind("h", "held", "held", "its address is kept for a workload", _SOLID + "M5 5v4h4V5z"),
    Kind("q", "resting", "resting", "a pod has just released it (quarantine)", _STRIPES),
    Kind("r", "ready", "ready", "warm, for the next pod", _SOLID + "M3.5 3.5v7h7v-7z"),
    Kind("w", "under way", "under way", "being made, attached or given back", "M2 1l11 6L2 13z"),
    Kind("b", "broken", "broken", "its link is nowhere", "M1 3l2-2 4 4 4-4 2 2-4 4 4 4-2 2-4-4-4 4-2-2 4-4z"),
    Kind("g", "gateway", "gateways", "the host's foot in a vxnet of pods", "M7 0l7 7-7 7-7-7z"),
    Kind("o", "unknown", "unknown", "in a state that this report does not know", "M1 2h12v3.5H1zM1 8.5h12V12H1z"),
    Kind("f", "free place", "free places", "room for one more NIC", "M5.5 5.5h3v3h-3z"),
)
BY_KEY: t.Final[t.Mapping[str, Kind]] = {kind.key: kind for kind in KINDS}
_OF_STATES: t.Final[t.Mapping[str, str]] = {
    State.IN_USE: "u",
    State.RESERVED: "u",
    State.HELD: "h",
    State.QUARANTINE: "q",
    State.READY: "r",
    State.DETACHED: "w",
    State.ATTACHING: "w",
    **dict.fromkeys(LEAVING, "w"),
    State.GONE: "w",
    State.BROKEN: "b",
    State.GATEWAY: "g",
}


@dataclass(frozen=True)
class Run:
    """Squares of one kind that lie side by side, as a rectangle."""

    kind: str
    path: str


@dataclass(frozen=True)
class Picture:
    """`runs` in a picture of this size; `said`: the same in words."""

    width: int
    height: int
    runs: tuple[Run, ...]
    said: str


def kind_of(state: str, purpose: str) -> str:
    """A gateway NIC that is broken or on its way is drawn as that."""
    key = _OF_STATES.get(state, "o")
    return "g" if purpose == GATEWAY and key not in ("w", "b") else key


def draw(counts: t.Mapping[str, int]) -> Picture:
    """Of how many there are of each kind. More than a picture can hold are only said."""
    squares = [kind.key for kind in KINDS for __ in range(min(counts.get(kind.key, 0), MOST))][:MOST]
    rows = [squares[start : start + COLUMNS] for start in range(0, len(squares), COLUMNS)]
    runs = tuple(run for number, row in enumerate(rows) for run in _runs(row, number))
    return Picture(COLUMNS * PITCH, max(1, len(rows)) * PITCH, runs, say(counts))


def say(counts: t.Mapping[str, int]) -> str:
    said = [f"{counts[k.key]} {k.one if counts[k.key] == 1 else k.many}" for k in KINDS if counts.get(k.key)]
    return ", ".join(said) or "no NICs"


def count(kinds: t.Iterable[str], free: t.Optional[int]) -> dict[str, int]:
    """How many of each; `free` places, None where nobody knows."""
    return dict(Counter(kinds) + Counter({"f": max(0, free or 0)}))


def _runs(row: t.Sequence[str], number: int) -> t.Iterator[Run]:
    x = 0
    for key, group in itertools.groupby(row):
        width = len(list(group)) * PITCH
        yield Run(key, f"M{x} {number * PITCH}h{width}v{PITCH}h-{width}z")
        x += width
