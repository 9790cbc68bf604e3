# SPDX-License-Identifier: GPL-3.0-or-later
"""The short form of `make idle`: a real agent with a full pool, while nothing happens and after some pods."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

from tests.bench import idle  # noqa: E402


def test_an_idle_agent_costs_next_to_nothing() -> None:
    found = idle.alone(nics=60, pods=10, seconds=15, first=50, calls=100)
    print(found)
    assert found.idle <= idle.MEMORY_LIMIT * found.bare
    assert found.cpu <= 4 * idle.CPU_LIMIT  # so short a time may hold a whole look around
    assert found.growth <= 1.05  # what is made once is mostly made within the first calls
