# SPDX-License-Identifier: GPL-3.0-or-later
"""Which vxnet the next batch of NICs comes from. Pure: the cursor and the dice are handed in."""

from __future__ import annotations

import typing as t
import zlib

FAIL_ROTATE: t.Final = "FailRotate"
ROUND_ROTATE: t.Final = "RoundRotate"
RANDOM: t.Final = "Random"


def start(instance_id: str, size: int) -> int:
    """Where this instance begins, so that a fleet does not fill the first vxnet first."""
    return zlib.crc32(instance_id.encode()) % size if size else 0


def order(policy: str, vxnets: t.Sequence[str], cursor: int, dice: t.Callable[[], float]) -> list[str]:
    """The vxnets in the order to try; `cursor` counts batches (RoundRotate) or failures (FailRotate)."""
    if not vxnets:
        return []
    first = int(dice() * len(vxnets)) if policy == RANDOM else cursor
    return [vxnets[(first + step) % len(vxnets)] for step in range(len(vxnets))]


def advance(policy: str, cursor: int, failed: bool) -> int:
    """The cursor after a batch: FailRotate moves on after a failure only, RoundRotate after each batch."""
    return cursor + 1 if failed or policy == ROUND_ROTATE else cursor
