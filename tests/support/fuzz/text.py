# SPDX-License-Identifier: GPL-3.0-or-later
"""Strange texts."""

from __future__ import annotations

import random
import typing as t

SIGNS: t.Final[tuple[str, ...]] = (
    *"\0\x01\t\n\r\x1b\x7f\x85\xa0%/:;= \"\\'$`{-_.aZ0",
    *("ä", "\u2028", "\ufeff", "中", "\U0001f600", "\udc80", "\udcff", "\ud800"),
)
WORDS: t.Final[tuple[str, ...]] = (
    *("", " ", ".", "..", "-", "eth%d", "eth0\n", "../../etc", "/", "//", "null", "true", "0", "-1", "NaN", "1e999"),
    *("%s%s%n", "a" * 15, "a" * 16, "ä" * 8, "x" * 5000, "../" * 40, "\udcff\udcfe", "\ud800", "eth0\0", "$(reboot)"),
    *("；", "lo", "all"),
)


def strange(dice: random.Random) -> str:
    if dice.random() < 0.5:
        return dice.choice(WORDS)
    return "".join(dice.choice(SIGNS) for __ in range(dice.choice((1, 2, 3, 5, 8, 15, 16, 40))))


def spoilt(dice: random.Random, text: str) -> str:
    """A good text with a strange sign in it, without one of its signs, or far too often."""
    at = dice.randrange(len(text) + 1)
    kind = dice.randrange(4)
    if kind == 0:
        return text[:at] + dice.choice(SIGNS) + text[at:]
    if kind == 1:
        return text[:at] + text[at + 1 :]
    if kind == 2 and len(text) < 50:
        return text * dice.choice((2, 3, 2000))
    return strange(dice)
