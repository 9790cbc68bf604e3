# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of a network configuration: the specification's, the original's, ours. Others pass, misspelt ones do not.

Source: containernetworking/cni SPEC.md section 1 and CONVENTIONS.md.
"""

from __future__ import annotations

import difflib
import typing as t

from ..errors import InvalidConfig

OURS: t.Final = frozenset(
    ("isGateway", "ipMasq", "ipam", "vxnet", "vxnets", "policy", "mtu", "defaultRoute", "keepAddress", "logLevel")
)
_SPECIFIED: t.Final = frozenset(
    ("cniVersion", "cniVersions", "name", "type", "args", "dns", "capabilities", "runtimeConfig", "prevResult")
    + ("disableCheck", "disableGC", "loadOnlyInlinedPlugins", "plugins")
)
_IPAM: t.Final = frozenset(("routes", "type"))
_SIMILAR: t.Final = 0.8  # difflib's ratio; "vxnet" and "vxlan" have 0.6, "ipmask" and "ipmasq" 0.83
_LONGEST: t.Final = 40  # signs of a key that may be a misspelling of one of ours
MOST_TOLD: t.Final = 20


def unknown(config: t.Mapping[str, t.Any]) -> list[str]:
    """The keys that mean nothing here, the first `MOST_TOLD` of them.

    Raises `InvalidConfig` for one that looks like a misspelling of ours.
    """
    ipam = config.get("ipam")
    found = _strange(config, OURS, _SPECIFIED, "")
    found += _strange(ipam, _IPAM, frozenset(), "ipam.") if isinstance(ipam, dict) else []
    return found[:MOST_TOLD]


def _strange(config: t.Mapping[str, t.Any], ours: frozenset[str], others: frozenset[str], prefix: str) -> list[str]:
    strange = [key for key in config if key not in ours | others and "/" not in key][:MOST_TOLD]
    for key in strange:
        meant = _meant(key, ours)
        if meant:
            raise InvalidConfig(f"{prefix}{ascii(key)[1:-1]}: no such key; {prefix}{meant} is meant, or remove it")
    return [f"{prefix}{key}" for key in strange]


def _meant(key: str, ours: frozenset[str]) -> str:
    """Our key that this one was to be, "" for none."""
    if len(key) > _LONGEST:
        return ""
    meant = _bare(key)
    bare = {_bare(own): own for own in sorted(ours) if abs(len(_bare(own)) - len(meant)) <= 1}
    similar = difflib.get_close_matches(meant, bare, 1, _SIMILAR)
    return bare[similar[0]] if similar else ""


def _bare(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")
