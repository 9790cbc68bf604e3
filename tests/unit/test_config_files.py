# SPDX-License-Identifier: GPL-3.0-or-later
"""One configuration in every promised format, and each format's own ways of being wrong."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest

from hostnic.config import Settings, load
from hostnic.configuration import files
from hostnic.errors import InvalidConfig

YAML = """# the original's sample, and more
QYAccessFilePath: '/etc/qingcloud/other.yaml'
vxnet: [vxnet-a, vxnet-b]
iface: 'ens3'
pool-low: 4
idle-ttl: 5m
api-rate: 2.5
"""
FORMATS: t.Final = {
    "yaml": YAML,
    "yml": YAML,
    "json": json.dumps(
        {
            "QYAccessFilePath": "/etc/qingcloud/other.yaml",
            "vxnet": ["vxnet-a", "vxnet-b"],
            "iface": "ens3",
            "pool-low": 4,
            "idle-ttl": "5m",
            "api-rate": 2.5,
        }
    ),
    "toml": """
QYAccessFilePath = "/etc/qingcloud/other.yaml"
vxnet = ["vxnet-a", "vxnet-b"]
iface = "ens3"
pool-low = 4
idle-ttl = "5m"
api-rate = 2.5
""",
    "ini": """; settings stand on their own
QYAccessFilePath = /etc/qingcloud/other.yaml
vxnet = vxnet-a, vxnet-b
iface = ens3
pool-low = 4
idle-ttl = 5m
api-rate = 2.5
""",
    "xml": """<?xml version="1.0"?>
<QingAgent>
  <QYAccessFilePath>/etc/qingcloud/other.yaml</QYAccessFilePath>
  <vxnet>vxnet-a</vxnet><vxnet>vxnet-b</vxnet>
  <iface> ens3 </iface>
  <pool-low>4</pool-low>
  <idle-ttl>5m</idle-ttl>
  <api-rate>2.5</api-rate>
</QingAgent>
""",
}
NO_TOML = pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")


@pytest.mark.parametrize("ending", [pytest.param(e, marks=[NO_TOML] if e == "toml" else []) for e in FORMATS])
def test_one_configuration_in_every_format(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"QingAgent.{ending}").write_text(FORMATS[ending])
    loaded, origins = load({}, {}, tmp_path)
    assert loaded == Settings(
        access_file="/etc/qingcloud/other.yaml",
        vxnet=("vxnet-a", "vxnet-b"),
        iface="ens3",
        pool_low=4,
        idle_ttl=300.0,
        api_rate=2.5,
    )
    assert origins["vxnet"] == str(tmp_path / f"QingAgent.{ending}")


@pytest.mark.parametrize(
    ("ending", "text", "said"),
    [
        ("yaml", "zone: a\nvxnet: [", "QingAgent.yaml, line 2: not valid YAML"),
        ("yaml", "just text", "must hold settings by name"),
        ("yaml", "1: 2", "must hold settings by name"),
        ("json", '{\n"zone": }', "QingAgent.json, line 2: not valid JSON"),
        ("json", "[]", "must hold settings by name"),
        pytest.param("toml", "zone = 'a'\nvxnet = \n", "QingAgent.toml, line 2: not valid TOML", marks=NO_TOML),
        ("ini", "zone = a\nno equals here\n", "QingAgent.ini, line 2: not valid INI"),
        ("ini", "zone = a\nzone = b\n", "QingAgent.ini, line 2: not valid INI"),
        ("ini", "[QingAgent]\nzone = a\nno equals here\n", "QingAgent.ini, line 3: not valid INI"),
        ("ini", "[other]\nzone = a\n", r"unknown section \[other\]"),
        ("xml", "<QingAgent>\n<zone>a</zon></QingAgent>", "QingAgent.xml, line 2: not valid XML"),
        ("xml", "<QingAgent><vxnet><item>a</item></vxnet></QingAgent>", "<vxnet> holds other elements"),
        ("xml", '<!DOCTYPE x [<!ENTITY a "b">]><QingAgent/>', "a document type has no place here"),
    ],
)
def test_broken_files(tmp_path: Path, ending: str, text: str, said: str) -> None:
    (tmp_path / f"QingAgent.{ending}").write_text(text)
    with pytest.raises(InvalidConfig, match=said):
        load({"vxnet": "vxnet-a"}, {}, tmp_path)


@pytest.mark.parametrize("text", ["[QingAgent]\nzone = ap2a\n", "\n# first\n[qingagent]\nzone = ap2a\n", "zone = ap2a"])
def test_ini_with_and_without_its_section(tmp_path: Path, text: str) -> None:
    (tmp_path / "QingAgent.ini").write_text(text)
    assert load({"vxnet": "vxnet-a"}, {}, tmp_path)[0].zone == "ap2a"


def test_percent_signs_mean_nothing_in_ini(tmp_path: Path) -> None:
    (tmp_path / "QingAgent.ini").write_text("statedir = /var/%(x)s\n")
    assert load({"vxnet": "vxnet-a"}, {}, tmp_path)[0].statedir == "/var/%(x)s"


@pytest.mark.parametrize("ending", ["yaml", "ini"])
def test_empty_file_says_nothing(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"QingAgent.{ending}").write_text("# nothing yet\n")
    assert load({"vxnet": "vxnet-a"}, {}, tmp_path)[0] == Settings(vxnet=("vxnet-a",))


def test_key_without_value_is_not_given(tmp_path: Path) -> None:
    (tmp_path / "QingAgent.yaml").write_text("zone:\nvxnet: vxnet-a\n")
    assert load({}, {}, tmp_path)[0].zone == "pek3a"


def test_two_files_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "QingAgent.yaml").touch()
    (tmp_path / "QingAgent.json").touch()
    with pytest.raises(InvalidConfig, match="QingAgent.yaml and QingAgent.json are both there: remove one"):
        load({"vxnet": "vxnet-a"}, {}, tmp_path)


def test_unknown_format(tmp_path: Path) -> None:
    path = tmp_path / "agent.conf"
    path.touch()
    with pytest.raises(InvalidConfig, match="what format is this"):
        load({"vxnet": "vxnet-a"}, {}, tmp_path, path)


def test_no_text(tmp_path: Path) -> None:
    (tmp_path / "QingAgent.yaml").write_bytes(b"zone: \xff\n")
    with pytest.raises(InvalidConfig, match="not UTF-8 text"):
        load({"vxnet": "vxnet-a"}, {}, tmp_path)


def test_formats_that_this_python_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "yaml", None)
    monkeypatch.setattr(files, "tomllib", None)
    (tmp_path / "a.yaml").touch()
    (tmp_path / "a.toml").touch()
    with pytest.raises(InvalidConfig, match="PyYAML is missing"):
        load({}, {}, tmp_path, "a.yaml")
    with pytest.raises(InvalidConfig, match="takes 3.11: write the file as YAML or JSON"):
        load({}, {}, tmp_path, "a.toml")
