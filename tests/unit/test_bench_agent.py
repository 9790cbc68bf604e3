# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an agent's measurements misses its bar, and what a roll-out's runs come to."""

from __future__ import annotations

import pytest

from tests.bench.idle import Figures
from tests.bench.rollout import Cost, Outcome, Pair


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, ""),
        ({"idle": 39001}, "1.30 times the memory"),
        ({"cpu": 0.0051}, "0.51% of a processor"),
        ({"course": (38000, 38300, 38380)}, ""),
        (
            {"course": (38000, 38500, 38977)},
            "by 2.6% over 10000 ADDs and DELs, 100 bytes each",
        ),  # kept for each of them
        ({"course": (38000, 39000, 37900)}, ""),
    ],
)
def test_an_agent_that_misses_a_bar(changes: dict[str, object], complaint: str) -> None:
    held = {"nics": 60, "pods": 30, "bare": 30000, "idle": 38000, "cpu": 0.002, "first": 2000, "calls": 10000}
    given = {**held, "course": (38000, 38000), "rate": 60.0, **changes}
    told = " ".join(Figures(**given).complaints())
    assert complaint in told
    assert bool(complaint) == bool(told)


def test_a_roll_out_is_told_by_seconds_of_each_node() -> None:
    pairs = (
        Pair(Cost(9.0, 12.0), Cost(6.0, 8.0)),
        Pair(Cost(8.0, 10.0), Cost(4.0, 4.0)),
        Pair(Cost(9, 14), Cost(5, 7)),
    )
    found = Outcome(4, 50, pairs)
    figure = found.figure("rollout-again")
    assert (figure.n, figure.ours.p50, figure.theirs.p50) == (3, 3.0, 1.75)
    assert found.ratio("cpu") == 1.8
    assert found.raw("again")["again pings wall"] == [8.0, 4.0, 7]
