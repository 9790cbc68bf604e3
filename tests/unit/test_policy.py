# SPDX-License-Identifier: GPL-3.0-or-later
"""Which vxnet comes next."""

from __future__ import annotations

import random
from collections import Counter

from hostnic.policy import FAIL_ROTATE, RANDOM, ROUND_ROTATE, advance, order, start

VXNETS = ["a", "b", "c"]


def batches(policy: str, outcomes: list[bool]) -> list[str]:
    """The first choice before each batch; True is a failure."""
    cursor, chosen = 0, []
    for failed in outcomes:
        chosen.append(order(policy, VXNETS, cursor, random.random)[0])
        cursor = advance(policy, cursor, failed)
    return chosen


def test_failrotate_stays_until_a_failure() -> None:
    assert batches(FAIL_ROTATE, [False, False, True, False, True, True, False]) == ["a", "a", "a", "b", "b", "c", "a"]


def test_roundrotate_goes_round_and_does_not_run_off_the_end() -> None:
    assert batches(ROUND_ROTATE, [False] * 7) == ["a", "b", "c", "a", "b", "c", "a"]


def test_random_reaches_each_alike() -> None:
    dice = random.Random(7).random
    counts = Counter(order(RANDOM, VXNETS, 0, dice)[0] for __ in range(3000))
    assert all(900 < counts[vxnet] < 1100 for vxnet in VXNETS)


def test_all_are_tried_after_the_first() -> None:
    assert order(FAIL_ROTATE, VXNETS, 4, random.random) == ["b", "c", "a"]
    assert order(FAIL_ROTATE, [], 4, random.random) == []


def test_a_fleet_starts_spread_out() -> None:
    counts = Counter(start(f"i-{n:08x}", 3) for n in range(3000))
    assert all(800 < counts[place] < 1200 for place in range(3))
