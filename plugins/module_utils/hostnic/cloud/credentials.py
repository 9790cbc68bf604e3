# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the API is and with which key to call it: the access file `client.yaml`, read and checked.

The keys are the Go SDK's (its docs/configuration.md); `ca_file` is ours, for private clouds with their own CA.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import stat
import typing as t
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from .. import guarded, redact
from ..errors import InvalidConfig

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment]

log = logging.getLogger("hostnic.cloud")

DEFAULT_PATH: t.Final = "/etc/qingcloud/client.yaml"
METADATA_URL: t.Final = "http://169.254.169.254:80/latest/meta-data/security-credentials"

_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:]+")
_WORD = re.compile(r"\S+")
_ZONE = re.compile(r"[a-z0-9][a-z0-9-]*")
_PROXY = tuple(f"credential_proxy_{part}" for part in ("protocol", "host", "port", "uri"))
KEYS: t.Final = (
    *("qy_access_key_id", "qy_secret_access_key", "zone", "host", "port", "protocol", "uri", "ca_file"),
    *("connection_retries", "connection_timeout", "log_level", *_PROXY),
)


@dataclass(frozen=True)
class Key:
    """What a call is signed with. `token` and `expires` (Unix seconds) belong to a role's temporary key."""

    access_key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    expires: t.Optional[float] = None

    def __post_init__(self) -> None:
        """Whatever is said from now on is said without them."""
        redact.learn(self.access_key_id, redact.key_id(self.access_key_id))
        redact.learn(self.secret)
        redact.learn(self.token)

    def __repr__(self) -> str:
        return f"Key({redact.key_id(self.access_key_id)})"


@dataclass(frozen=True)
class Access:
    """A checked access file. `key` is None where the instance's IAM role is to be used; `source` is for sentences."""

    key: t.Optional[Key] = None
    zone: str = ""
    host: str = "api.qingcloud.com"
    port: int = 443
    protocol: str = "https"
    uri: str = "/iaas/"
    ca_file: str = ""
    retries: int = 3
    timeout: float = 10.0  # the Go SDK's 30 s would hold a pod back longer than a kubelet waits
    metadata_url: str = METADATA_URL
    source: str = DEFAULT_PATH


def read_access(path: str = DEFAULT_PATH, overrides: t.Optional[t.Mapping[str, t.Any]] = None) -> Access:
    """The access file at `path` with `overrides` (keys as in the file, None means not given) laid over it.

    A missing file is an empty one: overrides or the IAM role may do. Raises `InvalidConfig`.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    content = _content(path)
    if content is None and not given:
        log.info("%s does not exist: using the IAM role of this instance", path)
    _check_names(path, {**(content or {}), **given})
    values = {name: value for name, value in {**(content or {}), **given}.items() if value is not None}
    key = _key(path, values)
    overridden = "qy_access_key_id" in given and key is not None
    access = Access(key=key, source="the access key that was given" if overridden else path)
    changes: dict[str, t.Any] = {
        name: check(path, name, values[name]) for name, check in _CHECKS.items() if name in values
    }
    changes["retries"] = changes.pop("connection_retries", access.retries)
    changes["timeout"] = changes.pop("connection_timeout", access.timeout)
    if key is None:
        changes["source"] = "the IAM role of this instance"
    return replace(access, metadata_url=_metadata_url(path, values), **changes)


def from_environ(environ: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Overrides from the variables that QingCloud's Terraform provider reads; QINGCLOUD_ENDPOINT is a URL."""
    names = {
        "QINGCLOUD_ACCESS_KEY": "qy_access_key_id",
        "QINGCLOUD_SECRET_KEY": "qy_secret_access_key",
        "QINGCLOUD_ZONE": "zone",
    }
    found: dict[str, t.Any] = {key: environ[name] for name, key in names.items() if environ.get(name)}
    if environ.get("QINGCLOUD_ENDPOINT"):
        found.update(endpoint(environ["QINGCLOUD_ENDPOINT"], "QINGCLOUD_ENDPOINT"))
    return found


def endpoint(url: str, name: str = "endpoint") -> dict[str, t.Any]:
    """`https://host:port/path` as overrides; port and path may be absent. Raises `InvalidConfig` naming `name`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidConfig(f"{name}: {url!r} is not a URL: write it like https://api.qingcloud.com:443/iaas") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise InvalidConfig(f"{name} is not a URL like https://api.qingcloud.com:443/iaas")
    usual = 443 if parts.scheme == "https" else 80
    return {"protocol": parts.scheme, "host": parts.hostname, "port": port or usual, "uri": parts.path or "/iaas/"}


def _content(path: str) -> t.Optional[dict[str, t.Any]]:
    """None where there is no such file. Mode and content come from one descriptor, so nobody swaps it between."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            text = file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InvalidConfig(f"cannot read {path}: {why}", path=path) from error
    if yaml is None:
        raise InvalidConfig(f"{path} is YAML, and the Python package PyYAML is missing: install it", library="PyYAML")
    redact.learn_from(text)  # before anything is said about a file that may be damaged
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # The parser's own message quotes the line, which may be the one with the secret.
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise InvalidConfig(f"{path}{where}: not valid YAML", path=path) from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InvalidConfig(f"{path} must hold lines like qy_access_key_id: '…'", path=path)
    mode = stat.S_IMODE(status.st_mode)
    if content.get("qy_secret_access_key") and mode & 0o077:
        raise InvalidConfig(f"{path} is open to others (mode {mode:04o})", remedy=f"run chmod 0600 {path}", path=path)
    guarded.owned(path, status)
    return content


def _check_names(path: str, values: t.Mapping[str, t.Any]) -> None:
    for name in values:
        if name in KEYS:
            continue
        nearest = difflib.get_close_matches(name, KEYS, n=1, cutoff=0.8)
        if nearest and nearest[0] not in values:
            raise InvalidConfig(f"{path}: unknown key {name!r}, did you mean {nearest[0]!r}?", path=path, key=name)
        log.warning("%s: unknown key %r is ignored", path, name)


def _key(path: str, values: t.Mapping[str, t.Any]) -> t.Optional[Key]:
    names = ("qy_access_key_id", "qy_secret_access_key")
    for name in names:
        value = values.get(name, "")
        if not isinstance(value, str) or (value and not _WORD.fullmatch(value)):
            raise InvalidConfig(f"{path}: {name} must be text without blanks: write it in quotes", path=path, key=name)
    access_key_id, secret = (values.get(name, "") for name in names)
    if bool(access_key_id) != bool(secret):
        lacking = names[1] if access_key_id else names[0]
        raise InvalidConfig(f"{path}: {lacking} is missing: add it, or leave both out for the IAM role", key=lacking)
    return Key(access_key_id, secret) if access_key_id else None


def _text(pattern: t.Pattern[str], example: str) -> t.Callable[[str, str, t.Any], str]:
    def check(path: str, name: str, value: t.Any) -> str:
        if isinstance(value, str) and pattern.fullmatch(value):
            return value
        raise InvalidConfig(f"{path}: {name} {value!r} does not look like {example}", path=path, key=name)

    return check


def _number(low: float, high: float, whole: bool = True) -> t.Callable[[str, str, t.Any], t.Any]:
    def check(path: str, name: str, value: t.Any) -> t.Any:
        try:
            number = None if isinstance(value, bool) else (int if whole else float)(str(value))
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            kind = "a whole number" if whole else "a number"
            raise InvalidConfig(f"{path}: {name} {value!r} must be {kind} from {low:g} to {high:g}", key=name)
        return number

    return check


def _ca_file(path: str, name: str, value: t.Any) -> str:
    if value == "" or (isinstance(value, str) and Path(value).is_file()):
        return str(value)
    raise InvalidConfig(f"{path}: {name} {value!r} is not a file: name the PEM file of the cloud's CA", key=name)


_protocol = _text(re.compile("https?"), "http or https")
_port = _number(1, 65535)
_CHECKS: t.Final[t.Mapping[str, t.Callable[[str, str, t.Any], t.Any]]] = {
    "zone": _text(_ZONE, "pek3a"),
    "host": _text(_HOST, "api.qingcloud.com (no protocol, port or path in it)"),
    "port": _port,
    "protocol": _protocol,
    "uri": _text(_PATH, "/iaas"),
    "ca_file": _ca_file,
    "connection_retries": _number(0, 100),
    "connection_timeout": _number(0.1, 600, whole=False),
}


def _metadata_url(path: str, values: t.Mapping[str, t.Any]) -> str:
    parts = urlsplit(METADATA_URL)
    usual = {"protocol": parts.scheme, "host": parts.hostname, "port": parts.port, "uri": parts.path}
    checks: dict[str, t.Callable[[str, str, t.Any], t.Any]] = {
        part: _CHECKS[part] for part in ("protocol", "host", "port", "uri")
    }
    named = {part: f"credential_proxy_{part}" for part in checks}
    chosen = {part: check(path, named[part], values.get(named[part], usual[part])) for part, check in checks.items()}
    host = f"[{chosen['host']}]" if ":" in chosen["host"] else chosen["host"]
    return f"{chosen['protocol']}://{host}:{chosen['port']}{chosen['uri']}"
