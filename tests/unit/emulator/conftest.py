# SPDX-License-Identifier: GPL-3.0-or-later
"""An emulator on a manual clock, seen through the SDK and through the standard library."""

from __future__ import annotations

import typing as t

import pytest

from tests.emulator import Emulator, ManualClock
from tests.unit.emulator import rig as rigs


@pytest.fixture
def emu() -> t.Iterator[Emulator]:
    with Emulator(world=rigs.WORLD, clock=ManualClock(), seed=1) as emulator:
        yield emulator


@pytest.fixture(params=["sdk", "urllib"])
def rig(request: pytest.FixtureRequest, emu: Emulator) -> rigs.Rig:
    client = rigs.SdkClient if request.param == "sdk" else rigs.UrllibClient
    return rigs.Rig(emu, client(emu.url))


@pytest.fixture
def raw(emu: Emulator) -> rigs.Rig:
    """For what does not depend on the client."""
    return rigs.Rig(emu, rigs.UrllibClient(emu.url))


@pytest.fixture
def other(emu: Emulator) -> rigs.Rig:
    """Another account's."""
    return rigs.Rig(emu, rigs.UrllibClient(emu.url, rigs.OTHER_KEY, rigs.OTHER_SECRET))
