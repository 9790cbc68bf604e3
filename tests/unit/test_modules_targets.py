# SPDX-License-Identifier: GPL-3.0-or-later
"""The integration targets of the modules that ask the cloud, run from the clone."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from tests.emulator import Emulator
from tests.support import integration


@pytest.fixture(scope="module")
def emulator() -> t.Iterator[Emulator]:
    with integration.cloud() as running:
        yield running


@pytest.mark.parametrize("target", ["qingcloud_vxnet_info", "qingcloud_nic_info", "hostnic_sweep", "qingcloud_nic"])
def test_target(tmp_path: Path, emulator: Emulator, target: str) -> None:
    said = integration.Runner(tmp_path, emulator).target(target)
    assert "failed=0" in said and integration.SECRET not in said
