# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each setting comes from: flag, environment, file, default; and which instance this is."""

from __future__ import annotations

import difflib
import logging
import os
import re
import typing as t
from dataclasses import fields
from pathlib import Path

from ..errors import InvalidConfig
from . import files, rules, values
from .settings import Settings

log = logging.getLogger("hostnic.config")

DIRECTORY: t.Final = "/etc/qingagent"  # in which the service runs
INSTANCE_ID_PATH: t.Final = "/etc/qingcloud/instance-id"
ENVIRONMENT: t.Final = "QINGAGENT_"
DEFAULT: t.Final = "default"
CREDENTIAL: t.Final = "client.yaml"  # the id of systemd's credential that is an access file


_Found = dict[str, tuple[t.Any, str, str]]  # key ► value, what a sentence calls it, where it is from


def load(
    flags: t.Mapping[str, t.Any],
    environ: t.Mapping[str, str],
    cwd: t.Union[str, Path],
    config_path: t.Union[str, Path, None] = None,
) -> tuple[Settings, dict[str, str]]:
    """The settings, and for each key where its value is from: `default`, `--key`, `QINGAGENT_KEY` or a file's path.

    Precedence: flag, environment, systemd's credentials (the access file alone), file, default. `flags` goes by key
    (`pool-low`), None is not given. The file is `config_path`, else QINGAGENT_CONFIG, else `QingAgent.yaml` (or another
    format) in `cwd`, else none; relative paths count from `cwd`. Raises `InvalidConfig` naming the setting.
    """
    found: _Found = {}
    named = config_path or environ.get(f"{ENVIRONMENT}CONFIG")
    path = Path(cwd, named) if named else files.find(cwd)
    if path is not None:
        found.update(_from_file(path))
    found.update(_from_credentials(environ))
    found.update(_from_environ(environ))
    found.update(
        {_known(key, "flags"): (value, f"--{key}", f"--{key}") for key, value in flags.items() if value is not None}
    )
    chosen: dict[str, t.Any] = {}
    origins: dict[str, str] = {}
    for option in fields(Settings):
        key, kind = option.metadata["key"], option.metadata["kind"]
        origins[key] = DEFAULT
        if key in found:
            value, name, origins[key] = found[key]
            chosen[option.name] = values.parse(kind, value, name)
        if option.name in ("access_file", "statedir", "rundir") and chosen.get(option.name):
            chosen[option.name] = os.path.normpath(Path(cwd).absolute() / chosen[option.name])
    settings = Settings(**chosen)
    check(settings)
    return settings, origins


def check(settings: Settings) -> None:
    """Raises `InvalidConfig` where these settings cannot work; `load` has done it already."""
    rules.check(settings)


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
    for written, value in files.read(path).items():
        key = _known(written, str(path))
        if key in found:
            raise InvalidConfig(f"{path} says {key} twice: remove one", setting=key)
        if value is not None:
            found[key] = (value, f"{written} in {path}", str(path))
    return found


def _from_credentials(environ: t.Mapping[str, str]) -> _Found:
    """The access file that the unit was given by LoadCredential= or the like, see systemd.exec(5)."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(directory or "", CREDENTIAL)
    if not directory or not path.exists():
        return {}
    return {"QYAccessFilePath": (str(path), "CREDENTIALS_DIRECTORY", "CREDENTIALS_DIRECTORY")}


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
