# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's settings: one frozen dataclass; flag, file key, environment and role variable all follow from it."""

from __future__ import annotations

import difflib
import logging
import os
import re
import typing as t
from dataclasses import dataclass, field, fields
from pathlib import Path

from . import config_files, config_rules, config_values
from .errors import InvalidConfig

log = logging.getLogger("hostnic.config")

POLICIES: t.Final = ("FailRotate", "RoundRotate", "Random")
LOG_LEVELS: t.Final = ("debug", "info", "warn", "error")
PLACEHOLDER_VXNET: t.Final = "vxnet-xxxxxxx"
INSTANCE_ID_PATH: t.Final = "/etc/qingcloud/instance-id"
ENVIRONMENT: t.Final = "QINGAGENT_"
DEFAULT: t.Final = "default"


def _option(default: t.Any, key: str, help_: str, kind: str = "string") -> t.Any:
    """`kind`: string, list, int, rate (calls a second) or duration (seconds in memory; `10m`, `60s` in files)."""
    return field(default=default, metadata={"key": key, "help": help_, "kind": kind})


@dataclass(frozen=True)
class Settings:
    """Names and defaults of the original where it had them; each other default says why."""

    # -- the original's --
    access_file: str = _option("/etc/qingcloud/client.yaml", "QYAccessFilePath", "QingCloud access file")
    # the original's 0.0.0.0 gave control over NICs to the network
    bindaddr: str = _option("127.0.0.1:31080", "bindaddr", "address that CNI configurations name in args.BindAddr")
    gatewayns: str = _option("hostnic", "gatewayns", "name of gateway NICs, before -gw_<instance-id>")
    iface: str = _option("eth0", "iface", "the host's own NIC, never touched")
    policy: str = _option("FailRotate", "policy", "which vxnet new NICs come from: FailRotate, RoundRotate or Random")
    vxnet: tuple[str, ...] = _option((PLACEHOLDER_VXNET,), "vxnet", "vxnets of pods", "list")
    zone: str = _option("pek3a", "zone", "QingCloud zone")
    loglevel: str = _option("info", "loglevel", "debug, info, warn or error")

    # -- the pool --
    # a pod a second with a lead time of 4 s needs a few in hand
    pool_low: int = _option(3, "pool-low", "NICs kept ready at least", "int")
    # a rolling restart of a node's usual pods, without paying addresses for a full node
    pool_high: int = _option(8, "pool-high", "NICs kept ready at most", "int")
    # QingCloud attaches 64 to an instance; 60 leaves room for the primary and gateway NICs
    max_nics: int = _option(60, "max-nics", "NICs of ours on this instance at most", "int")
    # longer than a deployment's pause, shorter than a night
    idle_ttl: float = _option(600.0, "idle-ttl", "a ready NIC above pool-high is given back after this", "duration")
    prewarm_ttl: float = _option(86400.0, "prewarm-ttl", "pre-warmed NICs are kept at least this long", "duration")
    # conntrack's TIME_WAIT and late packets are over by then
    quarantine: float = _option(60.0, "quarantine", "rest of a released NIC before reuse", "duration")
    quarantine_min: float = _option(5.0, "quarantine-min", "rest that not even an empty pool shortens", "duration")

    # -- the cloud --
    reconcile_interval: float = _option(30.0, "reconcile-interval", "pause between looks at the cloud", "duration")
    # hostnic's users report 5 as working; the API documents no limit
    attach_chunk: int = _option(10, "attach-chunk", "NICs in one AttachNics or DetachNics", "int")
    api_rate: float = _option(5.0, "api-rate", "calls a second at most", "rate")

    # -- places --
    manageaddr: str = _option("127.0.0.1:31081", "manageaddr", "address of health, metrics and introspection")
    statedir: str = _option("/var/lib/qingagent", "statedir", "journal and spool")
    rundir: str = _option("/run/qingagent", "rundir", "socket and token")


_Found = dict[str, tuple[t.Any, str, str]]  # key ► value, what a sentence calls it, where it is from


def load(
    flags: t.Mapping[str, t.Any],
    environ: t.Mapping[str, str],
    cwd: t.Union[str, Path],
    config_path: t.Union[str, Path, None] = None,
) -> tuple[Settings, dict[str, str]]:
    """The settings, and for each key where its value is from: `default`, `--key`, `QINGAGENT_KEY` or a file's path.

    Precedence: flag, environment, file, default. `flags` goes by key (`pool-low`), None is not given. The file is
    `config_path`, else QINGAGENT_CONFIG, else `QingAgent.yaml` (or another format) in `cwd`, else none; relative paths
    count from `cwd`. Raises `InvalidConfig` naming the setting.
    """
    found: _Found = {}
    named = config_path or environ.get(f"{ENVIRONMENT}CONFIG")
    path = Path(cwd, named) if named else config_files.find(cwd)
    if path is not None:
        found.update(_from_file(path))
    found.update(_from_environ(environ))
    found.update(
        {_known(key, "flags"): (value, f"--{key}", f"--{key}") for key, value in flags.items() if value is not None}
    )
    values: dict[str, t.Any] = {}
    origins: dict[str, str] = {}
    for option in fields(Settings):
        key, kind = option.metadata["key"], option.metadata["kind"]
        origins[key] = DEFAULT
        if key in found:
            value, name, origins[key] = found[key]
            values[option.name] = config_values.parse(kind, value, name)
        if option.name in ("access_file", "statedir", "rundir") and values.get(option.name):
            values[option.name] = os.path.normpath(Path(cwd).absolute() / values[option.name])
    settings = Settings(**values)
    check(settings)
    return settings, origins


def check(settings: Settings) -> None:
    """Raises `InvalidConfig` where these settings cannot work; `load` has done it already."""
    config_rules.check(settings, PLACEHOLDER_VXNET, POLICIES, LOG_LEVELS)


def env_name(key: str) -> str:
    """`pool-low` ► `QINGAGENT_POOL_LOW`."""
    return ENVIRONMENT + key.upper().replace("-", "_")


def instance_id(path: t.Union[str, Path] = INSTANCE_ID_PATH) -> str:
    """Which instance this is, from the file that the cloud writes; blanks around it are common. `InvalidConfig`."""
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise InvalidConfig(
            f"cannot read the instance id from {path} ({why}): is this a QingCloud instance?"
        ) from error
    if not re.fullmatch(r"i-[a-z0-9]+", text):
        raise InvalidConfig(f"{path} holds {text[:40]!r}, which does not look like an instance id, such as i-0a1b2c3d")
    return text


def _from_file(path: Path) -> _Found:
    found: _Found = {}
    for written, value in config_files.read(path).items():
        key = _known(written, str(path))
        if key in found:
            raise InvalidConfig(f"{path} says {key} twice: remove one", setting=key)
        if value is not None:
            found[key] = (value, f"{written} in {path}", str(path))
    return found


def _from_environ(environ: t.Mapping[str, str]) -> _Found:
    keys = {env_name(key): key for key in _keys()}
    found = {keys[name]: (value, name, name) for name, value in environ.items() if name in keys and value}
    for name in environ:
        # Others may use the prefix too, so only what looks like a slip of the pen is an error.
        if name.startswith(ENVIRONMENT) and name not in keys and name != f"{ENVIRONMENT}CONFIG":
            nearest = difflib.get_close_matches(name, keys, n=1, cutoff=0.85)
            if nearest:
                raise InvalidConfig(f"unknown variable {name}, did you mean {nearest[0]}?", setting=name)
            log.info("the variable %s is no setting", name)
    return found


def _known(written: str, where: str) -> str:
    """The key in the spelling of `Settings`. Letter case does not count: it did not in the original."""
    keys = {key.lower(): key for key in _keys()}
    if written.lower() in keys:
        return keys[written.lower()]
    nearest = difflib.get_close_matches(written.lower(), keys, n=1, cutoff=0.0)[0]
    raise InvalidConfig(f"{where}: unknown key {written!r}, the nearest is {keys[nearest]!r}", setting=written)


def _keys() -> list[str]:
    return [option.metadata["key"] for option in fields(Settings)]
