# SPDX-License-Identifier: GPL-3.0-or-later
"""What the upstream skeleton checks before a plugin's own code runs, in its order and with its codes.

Source: containernetworking/cni pkg/skel/skel.go, pkg/utils/utils.go, pkg/types/args.go. Stricter: an interface name
with `%` is refused (the kernel would number it), and CNI_NETNS is compared with the host's before anything is touched.
"""

from __future__ import annotations

import functools
import json
import re
import typing as t
from dataclasses import dataclass, field
from types import MappingProxyType

from ..model import LeaseKey
from . import spec
from .spec import CniError

VERSION: t.Final = "VERSION"
# Configurations that are kept as they were read: nearly all pods of a network come with the very same text.
KEPT: t.Final = 32
# Verbs, beside VERSION, with the first configuration version that allows them.
ALLOWED_FROM: t.Final = {"ADD": (), "DEL": (), "CHECK": (0, 4, 0), "GC": (1, 1, 0), "STATUS": (1, 1, 0)}

# How deep Python reads JSON differs from release to release; what is written from it has to be told of again.
_DEEPEST: t.Final = 500
_ID: t.Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_KNOWN_ARGS: t.Final = frozenset(
    ("IgnoreUnknown", "IP", "MAC", "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID")
)


@dataclass(frozen=True)
class Invocation:
    """A validated call. `config` is the network configuration as it came; `args` are CNI_ARGS."""

    verb: str
    version: str
    network: str
    container_id: str = ""
    ifname: str = ""
    netns: str = ""
    config: t.Mapping[str, t.Any] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> LeaseKey:
        return LeaseKey(self.network, self.container_id, self.ifname)


def validate(env: t.Mapping[str, str], stdin: str) -> Invocation:
    """Raises `CniError` with code 1, 4, 6 or 7. Not for VERSION, which reads no configuration."""
    verb = env.get("CNI_COMMAND", "")
    _check_environment(env, verb)
    config, network, version = configuration(stdin)
    if verb not in ALLOWED_FROM:
        raise CniError(spec.BAD_ENVIRONMENT, f"unknown CNI_COMMAND: {ascii(verb)[1:-1]}")
    if _numbers(version) < ALLOWED_FROM[verb]:
        raise CniError(spec.INCOMPATIBLE_VERSION, f"config version does not allow {verb}", version=version)
    if version not in spec.SUPPORTED:
        supported = " ".join(spec.SUPPORTED)
        raise CniError(
            spec.INCOMPATIBLE_VERSION, "incompatible CNI versions", config=version, plugin_supports=supported
        )
    return Invocation(
        verb=verb,
        version=version,
        network=network,
        container_id=env.get("CNI_CONTAINERID", ""),
        ifname=env.get("CNI_IFNAME", ""),
        netns=env.get("CNI_NETNS", ""),
        config=config,
        args=_args(env.get("CNI_ARGS", "")) if verb == "ADD" else {},  # nothing of it may keep a DEL from working
    )


# -- environment ------------------------------------------------------------------------------------------------------


def _check_container_id(value: str) -> t.Optional[str]:
    return None if _ID.fullmatch(value) else "letters, digits, '_', '.' and '-' are allowed, a letter or digit first"


def _check_ifname(value: str) -> t.Optional[str]:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "interface name is not UTF-8"
    if size > 15:
        return "interface name is too long: 15 bytes are allowed"
    if value in (".", ".."):
        return "interface name is . or .."
    if any(sign in "/:\0" or sign.isspace() for sign in value):
        return "interface name contains / or : or whitespace characters"
    if "%" in value:
        return "interface name contains %, which the kernel would replace by a number"
    return None


_Check = t.Callable[[str], t.Optional[str]]
_ATTACHMENT: t.Final = frozenset(("ADD", "DEL", "CHECK"))
# Variable, verbs that require it, its check. A variable is checked only where it is required and not empty.
_ENVIRONMENT: t.Final[tuple[tuple[str, frozenset[str], t.Optional[_Check]], ...]] = (
    ("CNI_CONTAINERID", _ATTACHMENT, _check_container_id),
    ("CNI_NETNS", frozenset(("ADD", "CHECK")), None),
    ("CNI_IFNAME", _ATTACHMENT, _check_ifname),
    ("CNI_ARGS", frozenset(), None),
    ("CNI_PATH", frozenset(("ADD", "DEL", "CHECK", "GC", "STATUS")), None),
)


def _check_environment(env: t.Mapping[str, str], verb: str) -> None:
    missing = [] if verb else ["CNI_COMMAND"]
    for name, verbs, check in _ENVIRONMENT:
        if verb not in verbs:
            continue
        value = env.get(name, "")
        if not value:
            missing.append(name)
            continue
        problem = check(value) if check else None
        if problem:
            raise CniError(spec.BAD_ENVIRONMENT, f"invalid {name} {ascii(value)}: {problem}")
    if missing:
        raise CniError(spec.BAD_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")


def _args(text: str) -> dict[str, str]:
    """CNI_ARGS, `K=V;K=V`, without IgnoreUnknown."""
    if not text:
        return {}
    args: dict[str, str] = {}
    for pair in text.split(";"):
        name, equals, value = pair.partition("=")
        if not equals or "=" in value:
            raise CniError(spec.BAD_ENVIRONMENT, f"CNI_ARGS: invalid pair {ascii(pair)}: NAME=VALUE is wanted")
        try:
            pair.encode()
        except UnicodeEncodeError:
            raise CniError(spec.BAD_ENVIRONMENT, f"CNI_ARGS: {ascii(pair)} is not UTF-8") from None
        args[name] = value
    unknown = sorted(args.keys() - _KNOWN_ARGS)
    if unknown and args.get("IgnoreUnknown", "").lower() not in ("1", "true"):
        raise CniError(spec.BAD_ENVIRONMENT, f"CNI_ARGS: unknown args {unknown}: add IgnoreUnknown=1 to have them kept")
    args.pop("IgnoreUnknown", None)
    return args


# -- configuration ----------------------------------------------------------------------------------------------------


@functools.lru_cache(KEPT)
def configuration(stdin: str) -> tuple[t.Mapping[str, t.Any], str, str]:
    """The object, its network and its version; to be read only. Raises `CniError` with code 6 or 7."""
    config = _config(stdin)
    return MappingProxyType(config), _network(config), _version(config)


def _config(stdin: str) -> dict[str, t.Any]:
    try:
        config = json.loads(stdin)
    except (ValueError, RecursionError) as error:
        raise CniError(spec.NOT_JSON, f"error unmarshall network config: {error}") from error
    if not isinstance(config, dict):
        raise CniError(spec.NOT_JSON, "error unmarshall network config: not a JSON object")
    if _deeper_than(_DEEPEST, config):
        raise CniError(spec.NOT_JSON, f"error unmarshall network config: nested in more than {_DEEPEST} levels")
    return config


def _deeper_than(levels: int, value: t.Any) -> bool:
    """Without recursion, which is what it protects from."""
    layer = [value]
    while levels and layer:
        levels -= 1
        layer = [inner for outer in layer for inner in _inside(outer) if isinstance(inner, (dict, list))]
    return bool(layer)


def _inside(value: t.Any) -> t.Iterable[t.Any]:
    return value.values() if isinstance(value, dict) else value


def _network(config: t.Mapping[str, t.Any]) -> str:
    name = config.get("name", "")
    if not isinstance(name, str):
        raise CniError(spec.BAD_CONFIG, 'name: text is wanted, such as "name": "pods"')
    if not name:
        raise CniError(spec.BAD_CONFIG, "missing network name")
    if not _ID.fullmatch(name):
        raise CniError(spec.BAD_CONFIG, f"invalid characters found in network name {ascii(name)}")
    return name


def _version(config: t.Mapping[str, t.Any]) -> str:
    version = config.get("cniVersion", "")
    if not isinstance(version, str):
        raise CniError(spec.BAD_CONFIG, 'cniVersion: text is wanted, such as "cniVersion": "1.0.0"')
    return version or "0.1.0"


def _numbers(version: str) -> tuple[int, ...]:
    """For comparisons; a version that is none compares lowest and is refused as unsupported."""
    parts = version.split(".")
    if len(parts) > 3 or not all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts):
        return ()
    return tuple(int(part) for part in (*parts, "0", "0")[:3])
