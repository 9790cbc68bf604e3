# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cloud has refused, for how long it is not asked again, and who is told."""

from __future__ import annotations

import pytest

from hostnic.blocks import Blocks
from hostnic.errors import QuotaExceeded, VxnetFull
from hostnic.sizing import EVERY_VXNET
from hostnic.troubles import EVERYWHERE

FULL = VxnetFull("vxnet-a is full")
QUOTA = QuotaExceeded("no more NICs", scope="account")
INSTANCE = QuotaExceeded("no more NICs on this instance", scope="instance")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def blocks(clock: Clock) -> Blocks:
    return Blocks(clock, 64)


@pytest.mark.parametrize(("error", "seconds"), [(FULL, 600), (QUOTA, 600), (QuotaExceeded("x", scope="day"), 3600)])
def test_a_refusal_stands_for_its_time(blocks: Blocks, clock: Clock, error: QuotaExceeded, seconds: int) -> None:
    blocks.block("vxnet-a", error)
    clock.now += seconds - 1
    assert blocks.blocked() == {"vxnet-a"}
    clock.now += 1
    assert blocks.blocked() == frozenset()
    assert (blocks.troubles(), blocks.explain(), blocks.ends_in()) == ({}, [], None)


def test_each_vxnet_is_blocked_for_itself(blocks: Blocks, clock: Clock) -> None:
    blocks.block("vxnet-a", FULL)
    clock.now += 400
    blocks.block("vxnet-b", FULL)
    assert blocks.blocked() == {"vxnet-a", "vxnet-b"}
    clock.now += 300
    assert blocks.blocked() == {"vxnet-b"}


def test_another_refusal_begins_anew(blocks: Blocks, clock: Clock) -> None:
    blocks.block("vxnet-a", FULL)
    clock.now += 400
    blocks.block("vxnet-a", QUOTA)
    clock.now += 400
    assert blocks.troubles() == {"vxnet-a": QUOTA}


def test_a_lowered_limit_is_restored_after_a_while(blocks: Blocks, clock: Clock) -> None:
    assert blocks.limit == 64
    blocks.lower_limit(9, INSTANCE)
    clock.now += 599
    assert blocks.limit == 9
    clock.now += 1
    assert (blocks.limit, blocks.troubles()) == (64, {})


def lasts(blocks: Blocks, clock: Clock, limit: int) -> float:
    """For how long this limit is believed; then it is over."""
    blocks.lower_limit(limit, INSTANCE)
    seconds = blocks.ends_in()
    assert seconds
    clock.now += seconds
    assert blocks.limit == 64
    return seconds


def test_a_limit_that_is_found_again_is_believed_for_longer_up_to_a_day(blocks: Blocks, clock: Clock) -> None:
    assert [lasts(blocks, clock, 9) for __ in range(10)] == [
        600, 1200, 2400, 4800, 9600, 19200, 38400, 76800, 86400, 86400,
    ]  # fmt: skip


def test_a_limit_that_is_told_twice_at_once_was_found_once(blocks: Blocks) -> None:
    for __ in range(4):
        blocks.lower_limit(9, INSTANCE)
    assert blocks.ends_in() == 600


def test_another_limit_is_believed_for_a_short_while_first(blocks: Blocks, clock: Clock) -> None:
    assert [lasts(blocks, clock, limit) for limit in (9, 9, 9, 12, 12)] == [600, 1200, 2400, 600, 1200]


def test_a_lowered_limit_blocks_no_vxnet_but_is_told_everywhere(blocks: Blocks) -> None:
    blocks.lower_limit(9, INSTANCE)
    assert blocks.blocked() == frozenset()
    assert blocks.troubles() == {EVERYWHERE: INSTANCE}


def test_troubles_are_told_by_vxnet_and_those_of_all_come_before_the_limit(blocks: Blocks) -> None:
    blocks.block("vxnet-a", FULL)
    blocks.lower_limit(9, INSTANCE)
    blocks.block(EVERY_VXNET, QUOTA)
    assert blocks.troubles() == {"vxnet-a": FULL, EVERYWHERE: QUOTA}


def test_the_first_end_is_told(blocks: Blocks, clock: Clock) -> None:
    blocks.block("vxnet-d", QuotaExceeded("x", scope="day"))
    assert blocks.ends_in() == 3600
    blocks.block("vxnet-a", FULL)
    clock.now += 100
    blocks.lower_limit(9, INSTANCE)
    assert blocks.ends_in() == 500
    clock.now += 500
    assert blocks.ends_in() == 100
    clock.now += 100
    assert blocks.ends_in() == 2900


def test_it_says_what_is_blocked_for_how_long_and_why(blocks: Blocks, clock: Clock) -> None:
    blocks.block("vxnet-a", FULL)
    clock.now += 100.4
    assert blocks.explain() == [{"vxnet": "vxnet-a", "for": 500, "why": "vxnet-a is full"}]
