# SPDX-License-Identifier: GPL-3.0-or-later
"""Access to the cloud, the same for every module and plugin: option, else environment, else access file, else role.

Documented by `plugins/doc_fragments/_access.py`.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.module_utils.basic import env_fallback

from ..hostnic.errors import InvalidConfig

if t.TYPE_CHECKING:
    from ..hostnic.cloud.qingcloud import QingCloud

DEFAULT_FILE: t.Final = "/etc/qingcloud/client.yaml"
# Option ► the variable that stands in for it.
ENVIRONMENT: t.Final[t.Mapping[str, str]] = {
    "access_key_id": "QINGCLOUD_ACCESS_KEY",
    "secret_access_key": "QINGCLOUD_SECRET_KEY",
    "zone": "QINGCLOUD_ZONE",
    "endpoint": "QINGCLOUD_ENDPOINT",
    "access_file": "QINGCLOUD_ACCESS_FILE",
}


def _argument(option: str, **more: t.Any) -> dict[str, t.Any]:
    return {"type": "str", "fallback": (env_fallback, [ENVIRONMENT[option]]), **more}


ARGUMENTS: t.Final[t.Mapping[str, t.Any]] = {
    "access_key_id": _argument("access_key_id", no_log=True),
    "secret_access_key": _argument("secret_access_key", no_log=True),
    "zone": _argument("zone"),
    "endpoint": _argument("endpoint"),
    "access_file": _argument("access_file", type="path", default=DEFAULT_FILE),
}


def connect(options: t.Mapping[str, t.Any], patience: float = 20.0) -> QingCloud:
    """A client from options that were completed from the environment. Nothing is sent yet. Raises `InvalidConfig`.

    `patience`: seconds in which a call, and a read's repetitions, have to be on their way. Needs the third-party
    packages: see `packages.use`.
    """
    from ..hostnic.cloud import build, credentials
    from ..hostnic.config import Settings

    path = options.get("access_file") or DEFAULT_FILE
    given = overrides(options)
    if path != DEFAULT_FILE and not Path(path).is_file():
        raise InvalidConfig(f"access_file {path} is not a file on this machine")
    access = credentials.read_access(path, given)
    if not access.zone:
        raise InvalidConfig(f"zone is not set: name it in zone, in QINGCLOUD_ZONE or in {path}")
    return build.connect(Settings(access_file=path), overrides=given, patience=patience)


def overrides(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Options as keys of the access file, without those that were not given. Raises `InvalidConfig`."""
    from ..hostnic.cloud import credentials

    key, secret = options.get("access_key_id"), options.get("secret_access_key")
    if bool(key) != bool(secret):
        lacking = "secret_access_key" if key else "access_key_id"
        raise InvalidConfig(f"{lacking} is missing: give both halves of the access key, or none for the access file's")
    found = {"qy_access_key_id": key, "qy_secret_access_key": secret, "zone": options.get("zone")}
    if options.get("endpoint"):
        found.update(credentials.endpoint(options["endpoint"]))
    return {name: value for name, value in found.items() if value}
