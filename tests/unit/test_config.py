# SPDX-License-Identifier: GPL-3.0-or-later
"""Where settings come from, what they may be, and how a wrong one is told."""

from __future__ import annotations

import re
import typing as t
from dataclasses import fields
from pathlib import Path

import pytest

from hostnic import config
from hostnic.config import Settings, load
from hostnic.errors import InvalidConfig

VXNET = {"vxnet": "vxnet-0a1b2c3"}


def settings(flags: t.Optional[dict[str, t.Any]] = None, **more: t.Any) -> Settings:
    return load({**VXNET, **(flags or {}), **more}, {}, "/nonexistent")[0]


def test_defaults_are_the_dataclass(tmp_path: Path) -> None:
    loaded, origins = load(VXNET, {}, tmp_path)
    assert loaded == Settings(vxnet=("vxnet-0a1b2c3",))
    assert origins.pop("vxnet") == "--vxnet"
    assert set(origins.values()) == {"default"}
    assert set(origins) == {option.metadata["key"] for option in fields(Settings)} - {"vxnet"}


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    (tmp_path / "QingAgent.yaml").write_text("vxnet: vxnet-f\nzone: file1\npool-low: 1\npool-high: 9\n")
    environ = {"QINGAGENT_ZONE": "env1", "QINGAGENT_POOL_LOW": "2", "PATH": "/bin"}
    loaded, origins = load({"zone": "flag1", "iface": None}, environ, tmp_path)
    assert (loaded.zone, loaded.pool_low, loaded.pool_high, loaded.iface) == ("flag1", 2, 9, "eth0")
    assert origins["zone"] == "--zone"
    assert origins["pool-low"] == "QINGAGENT_POOL_LOW"
    assert origins["pool-high"] == str(tmp_path / "QingAgent.yaml")
    assert origins["iface"] == "default"


@pytest.mark.parametrize("option", fields(Settings), ids=lambda option: option.name)
def test_every_option_from_everywhere(option: t.Any, tmp_path: Path) -> None:
    key, kind = option.metadata["key"], option.metadata["kind"]
    text, value = {
        "pool-low": ("2", 2), "pool-high": ("7", 7), "max-nics": ("40", 40), "attach-chunk": ("5", 5),
        "api-rate": ("2.5/s", 2.5), "quarantine-min": ("1s", 1.0), "vxnet": ("vxnet-b", ("vxnet-b",)),
        "policy": ("Random",) * 2, "degradation": ("L1",) * 2, "loglevel": ("debug",) * 2,
        "bindaddr": ("127.0.0.1:99",) * 2,
        "manageaddr": ("127.0.0.1:98",) * 2, "zone": ("ap2a",) * 2, "gatewayns": ("gw",) * 2, "iface": ("ens3",) * 2,
    }.get(key, ("90s", 90.0) if kind == "duration" else ("/some/where",) * 2)  # fmt: skip
    given = {} if key == "vxnet" else VXNET
    assert getattr(load({**given, key: text}, {}, tmp_path)[0], option.name) == value
    assert getattr(load(given, {config.env_name(key): text}, tmp_path)[0], option.name) == value
    (tmp_path / "QingAgent.yaml").write_text(f"{key}: {text}\n")
    assert getattr(load(given, {}, tmp_path)[0], option.name) == value


def test_environment_names() -> None:
    assert config.env_name("pool-low") == "QINGAGENT_POOL_LOW"
    assert config.env_name("QYAccessFilePath") == "QINGAGENT_QYACCESSFILEPATH"


def test_empty_variable_is_not_given(tmp_path: Path) -> None:
    assert load(VXNET, {"QINGAGENT_ZONE": ""}, tmp_path)[0].zone == "pek3a"


def test_slip_in_a_variable(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="unknown variable QINGAGENT_POOL_LOWW, did you mean QINGAGENT_POOL_LOW?"):
        load(VXNET, {"QINGAGENT_POOL_LOWW": "3"}, tmp_path)
    load(VXNET, {"QINGAGENT_SOMETHING_ELSE": "3"}, tmp_path)


@pytest.mark.parametrize("written", ["pool-lo", "pool_low", "poollow"])
def test_unknown_key_names_the_nearest(tmp_path: Path, written: str) -> None:
    (tmp_path / "QingAgent.yaml").write_text(f"{written}: 3\n")
    with pytest.raises(InvalidConfig, match=f"QingAgent.yaml: unknown key '{written}', the nearest is 'pool-low'"):
        load(VXNET, {}, tmp_path)
    with pytest.raises(InvalidConfig, match="the nearest is 'pool-low'"):
        load({**VXNET, written: 3}, {}, tmp_path)


def test_letter_case_of_file_keys_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "QingAgent.yaml").write_text("qyaccessfilepath: /a/b\nVxNet: vxnet-a\n")
    loaded, __ = load({}, {}, tmp_path)
    assert (loaded.access_file, loaded.vxnet) == ("/a/b", ("vxnet-a",))
    (tmp_path / "QingAgent.yaml").write_text("zone: a\nZone: b\nvxnet: vxnet-a\n")
    with pytest.raises(InvalidConfig, match="says zone twice"):
        load({}, {}, tmp_path)


def test_named_file(tmp_path: Path) -> None:
    (tmp_path / "QingAgent.yaml").write_text("not: looked at\n")
    other = tmp_path / "other.json"
    other.write_text('{"zone": "ap2a"}')
    assert load(VXNET, {}, tmp_path, other)[0].zone == "ap2a"
    assert load(VXNET, {}, tmp_path, "other.json")[0].zone == "ap2a"
    assert load(VXNET, {"QINGAGENT_CONFIG": "other.json"}, tmp_path)[0].zone == "ap2a"
    with pytest.raises(InvalidConfig, match="cannot read .*none.yaml: No such file"):
        load(VXNET, {}, tmp_path, "none.yaml")


def test_relative_paths_count_from_the_working_directory(tmp_path: Path) -> None:
    loaded, __ = load({**VXNET, "QYAccessFilePath": "client.yaml", "statedir": "../state"}, {}, tmp_path)
    assert loaded.access_file == str(tmp_path / "client.yaml")
    assert loaded.statedir == str(tmp_path.parent / "state")
    assert loaded.rundir == "/run/qingagent"


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("60s", 60), ("24h", 86400), ("1d", 86400), ("1h30m", 5400), ("500ms", 0.5), ("2.5s", 2.5),
     ("90", 90), (" 10M ", 600), (45, 45), (1.5, 1.5), (0, 0)],
)  # fmt: skip
def test_durations(text: t.Any, seconds: float) -> None:
    assert settings({"idle-ttl": text}).idle_ttl == seconds


@pytest.mark.parametrize(
    "text", ["soon", "-5s", "", "10 parsecs", "9" * 400, True, -1, float("nan"), float("inf"), [1], "1m-"]
)
def test_what_is_no_duration(text: t.Any) -> None:
    with pytest.raises(InvalidConfig, match="--idle-ttl must be a duration, such as 60s, 10m or 24h, not"):
        settings({"idle-ttl": text})


@pytest.mark.parametrize(
    ("value", "vxnets"),
    [
        ("vxnet-a", ["vxnet-a"]),
        ("vxnet-a,vxnet-b", ["vxnet-a", "vxnet-b"]),
        (" vxnet-a , ,vxnet-b ", ["vxnet-a", "vxnet-b"]),
        (["vxnet-a", "vxnet-b"], ["vxnet-a", "vxnet-b"]),
        (["vxnet-a,vxnet-b", "vxnet-c"], ["vxnet-a", "vxnet-b", "vxnet-c"]),
        (("vxnet-0",), ["vxnet-0"]),
    ],
)
def test_lists(value: t.Any, vxnets: list[str]) -> None:
    assert settings(vxnet=value).vxnet == tuple(vxnets)


@pytest.mark.parametrize(("value", "rate"), [("5", 5), ("5/s", 5), ("0.5 /s", 0.5), (2, 2), (2.5, 2.5)])
def test_rates(value: t.Any, rate: float) -> None:
    assert settings({"api-rate": value}).api_rate == rate


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("vxnet", "vxnet-xxxxxxx", "vxnet vxnet-xxxxxxx is a placeholder: set vxnet to the id of a vxnet in your VPC"),
        ("vxnet", "", "vxnet is empty: name at least one vxnet"),
        ("vxnet", "net-1", "vxnet 'net-1' does not look like the id of a vxnet"),
        ("vxnet", "vxnet-a,vxnet-a", "vxnet names a vxnet twice"),
        ("vxnet", 5, "--vxnet must be a list of texts"),
        ("vxnet", [1], "--vxnet must be a list of texts"),
        ("policy", "failrotate", "policy 'failrotate' is none of FailRotate, RoundRotate, Random"),
        ("loglevel", "verbose", "loglevel 'verbose' is none of debug, info, warn, error"),
        ("zone", "PEK3A", "zone 'PEK3A' does not look like a zone"),
        ("zone", False, "--zone must be text, not False: write it in quotes"),
        ("iface", "a name/with", "iface 'a name/with' is no name of a network interface"),
        ("gatewayns", "", "gatewayns '' must be letters"),
        ("bindaddr", "31080", "bindaddr '31080' must be an address and a port"),
        ("bindaddr", "127.0.0.1:70000", "must be an address and a port"),
        ("manageaddr", "127.0.0.1:31080", "manageaddr and bindaddr are both 127.0.0.1:31080"),
        ("manageaddr", "0.0.0.0:31081", "manageaddr '0.0.0.0:31081' would tell others of this node's pods: use 127.0"),
        ("manageaddr", "node1.example:31081", "would tell others"),
        ("manageaddr", "[2001:db8::1]:31081", "would tell others"),
        ("pool-low", 9, "pool-low is 9, more than pool-high, which is 8"),
        ("pool-low", -1, "pool-low is -1: it is 0 or more"),
        ("pool-low", "many", "--pool-low must be a whole number, not 'many'"),
        ("pool-low", 1.5, "--pool-low must be a whole number, not 1.5"),
        ("pool-low", True, "--pool-low must be a whole number, not True"),
        ("pool-high", 61, "pool-high is 61, more than max-nics, which is 60"),
        ("max-nics", 64, "max-nics is 64: an instance takes 1 to 63 besides its own"),
        ("max-nics", 0, "max-nics is 0"),
        ("quarantine-min", "2m", "quarantine-min is 120s, more than quarantine, which is 60s"),
        ("reconcile-interval", "100ms", "reconcile-interval is less than 1s"),
        ("attach-chunk", 0, "attach-chunk is 0: it is 1 to 63"),
        ("api-rate", 0, "--api-rate must be a number of calls a second"),
        ("api-rate", "fast", "--api-rate must be a number of calls a second"),
    ],
)
def test_what_cannot_work_is_a_sentence(key: str, value: t.Any, said: str) -> None:
    with pytest.raises(InvalidConfig, match=re.escape(said)):
        settings({key: value})


def test_a_wrong_value_names_its_place(tmp_path: Path) -> None:
    (tmp_path / "QingAgent.yaml").write_text("pool-low: many\n")
    with pytest.raises(InvalidConfig, match=re.escape(f"pool-low in {tmp_path}/QingAgent.yaml must be a whole number")):
        load(VXNET, {}, tmp_path)
    with pytest.raises(InvalidConfig, match="^QINGAGENT_POOL_HIGH must be a whole number"):
        load(VXNET, {"QINGAGENT_POOL_HIGH": "lots"}, "/nonexistent")


def test_untouched_placeholder_fails(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="placeholder") as caught:
        load({}, {}, tmp_path)
    assert caught.value.details["setting"] == "vxnet"


def test_legacy_base_networks_and_free_ports_are_fine() -> None:
    loaded = settings({"vxnet": "vxnet-0,vxnet-ks", "bindaddr": "127.0.0.1:0", "manageaddr": "127.0.0.1:0"})
    assert loaded.vxnet == ("vxnet-0", "vxnet-ks")
    assert settings(bindaddr="[::1]:31080", manageaddr="localhost:1").bindaddr == "[::1]:31080"


# -- instance id -------------------------------------------------------------------------------------------------------


def test_instance_id_is_stripped(tmp_path: Path) -> None:
    path = tmp_path / "instance-id"
    path.write_text(" i-0a1b2c3d\n\n")
    assert config.instance_id(path) == "i-0a1b2c3d"


@pytest.mark.parametrize("text", ["", "\n", "vxnet-1", "i-", "i-0a1b 2c3d", "i-0A1B", "x" * 500])
def test_instance_id_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "instance-id"
    path.write_text(text)
    with pytest.raises(InvalidConfig, match="does not look like an instance id"):
        config.instance_id(path)


def test_no_instance_id(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="is this a QingCloud instance"):
        config.instance_id(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidConfig, match="is this a QingCloud instance"):
        config.instance_id(tmp_path / "binary")
