# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of states."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostnic.states import EDGES, IllegalTransition, State, check
from tests.support.state_page import page


def test_each_edge_stands_once_for_each_trigger() -> None:
    rows = [(edge.source, edge.target, edge.trigger) for edge in EDGES]
    assert len(rows) == len(set(rows))


def test_every_state_can_be_entered_and_every_state_but_gone_can_be_left() -> None:
    assert {edge.target for edge in EDGES} == set(State)
    assert {edge.source for edge in EDGES if edge.source} == set(State) - {State.GONE}


def test_an_edge_that_is_not_in_the_table_raises() -> None:
    check(State.READY, State.RESERVED)
    with pytest.raises(IllegalTransition, match="from IN_USE to READY"):
        check(State.IN_USE, State.READY)
    with pytest.raises(IllegalTransition, match="from nothing to RESERVED"):
        check(None, State.RESERVED)


def test_the_page_is_drawn_from_the_table() -> None:
    assert Path(__file__).parents[2].joinpath("docs/states.md").read_text() == page(), (
        "python -m tests.support.state_page > docs/states.md"
    )
