# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids that the product draws at random, the same in every run of the same seed."""

from __future__ import annotations

import random
import uuid

_dice = random.Random(0)


def begin(seed: int) -> None:
    """From here on the ids of this seed."""
    _dice.seed(seed)


def make_repeatable() -> None:
    """For the whole process, which therefore does nothing but run the model."""
    uuid.uuid4 = lambda: uuid.UUID(int=_dice.getrandbits(128), version=4)
