# SPDX-License-Identifier: GPL-3.0-or-later
"""What the model finds."""

from __future__ import annotations


class Violation(AssertionError):
    """An invariant does not hold; or `nothing_raises`: the agent has a defect that shows as an exception."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.text = text
