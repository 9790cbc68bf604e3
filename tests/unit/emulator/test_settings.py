# SPDX-License-Identifier: GPL-3.0-or-later
"""probe.json over the defaults; every setting is read somewhere and told apart by some test."""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t
from pathlib import Path

import pytest

import tests.emulator
from tests.emulator import EmulatorError, Settings

NAMES = [field.name for field in dataclasses.fields(Settings)]
PACKAGE = Path(tests.emulator.__file__).parent


def load(tmp_path: Path, content: t.Any) -> Settings:
    path = tmp_path / "probe.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return Settings.load(path)


def test_what_is_measured_replaces_the_default(tmp_path: Path) -> None:
    measured: dict[str, t.Any] = {
        "nics_per_instance": 32,
        "nics_per_instance_type": {"c4m8": 16},
        "nic_name_match": "prefix",
        "describe_lag": 2,
        "attach_all_or_nothing": False,
        "unknown_nic": 2100,
    }
    settings = load(tmp_path, measured)
    assert settings.nics_per_instance == 32
    assert settings.unknown_nic == "2100"
    assert settings == dataclasses.replace(Settings(), **{**measured, "unknown_nic": "2100", "describe_lag": 2.0})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"nic_per_instance": 3}, "unknown setting 'nic_per_instance', the nearest valid one is 'nics_per_instance'"),
        ({"zzz": 1}, "unknown setting 'zzz', the nearest valid one is"),
        ({"nics_per_instance": "64"}, "setting 'nics_per_instance': '64' is no int"),
        ({"nics_per_instance": True}, "setting 'nics_per_instance': True is no int"),
        ({"describe_lag": True}, "setting 'describe_lag'"),
        ({"attach_all_or_nothing": 1}, "setting 'attach_all_or_nothing': 1 is no bool"),
        ({"mac_prefix": 52}, "setting 'mac_prefix': 52 is no str"),
        ({"limit_overflow": "wrap"}, "setting 'limit_overflow': 'wrap' is none of clamp, error"),
        ({"nics_per_instance_type": {"c1m1": "x"}}, "is not an object of whole numbers"),
        ([1], "not an object"),
        ("{", "not JSON"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: t.Any, said: str) -> None:
    with pytest.raises(EmulatorError, match=re.escape(said)):
        load(tmp_path, content)


def test_to_dict_is_a_probe(tmp_path: Path) -> None:
    assert load(tmp_path, Settings().to_dict()) == Settings()


def sources(folder: Path, *but: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py") if path.name not in but)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_read_and_tested(name: str) -> None:
    used = re.compile(rf"\.{name}\b")
    assert used.search(sources(PACKAGE, "settings.py")), f"nothing reads {name}"
    stem = re.sub("^(attach|detach)_list_max$", "_list_max", name)
    stem = re.sub("^nics_on_(stop|restart|terminate|cease)$", "nics_on_", stem)
    assert stem in sources(Path(__file__).parent, Path(__file__).name), f"nothing tests {name}"


def test_the_readme_has_every_setting() -> None:
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in text] == []
