# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runtime asks for one container: an address, a MAC, name servers.

An address comes as the capability `ips`, as the pod's annotation, or as IP in CNI_ARGS, in this order. Source:
containernetworking/cni CONVENTIONS.md; containerd hands annotations on as io.kubernetes.cri.pod-annotations.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass

from ..config.values import duration
from ..errors import InvalidConfig

ANNOTATIONS: t.Final = "io.kubernetes.cri.pod-annotations"
ADDRESS_ANNOTATION: t.Final = "qingcloud.cni/ip"
KEEP_ANNOTATION: t.Final = "qingcloud.cni/keep"
# Capabilities that a configuration may declare for qingcni; portMappings and bandwidth are other plugins'.
CAPABILITIES: t.Final = ("ips", "mac", "dns", ANNOTATIONS)

_MAC: t.Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True)
class Wishes:
    """`address` and `mac` empty where any will do; `keep`: seconds after DEL, None where the pod does not say."""

    address: str = ""
    mac: str = ""
    keep: t.Optional[float] = None
    dns: t.Optional[t.Mapping[str, t.Any]] = None


def wishes(config: t.Mapping[str, t.Any], args: t.Mapping[str, str]) -> Wishes:
    """Raises `InvalidConfig`, which names where the wish stands and what to write instead."""
    runtime = _object(config.get("runtimeConfig"), "runtimeConfig")
    annotations = _object(runtime.get(ANNOTATIONS), f"runtimeConfig.{ANNOTATIONS}")
    return Wishes(_address(runtime, annotations, args), _mac(runtime, args), _keep(annotations), _dns(runtime))


def seconds(value: t.Any, where: str) -> float:
    """A duration such as 10m. Raises `InvalidConfig`."""
    found = duration(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidConfig(f'{where}: a duration such as "10m" is wanted, "0" for none, not {ascii(value)[:60]}')
    return found


def _address(runtime: t.Mapping[str, t.Any], annotations: t.Mapping[str, t.Any], args: t.Mapping[str, str]) -> str:
    ips = runtime.get("ips") or []
    if not isinstance(ips, list):
        raise InvalidConfig(f"runtimeConfig.ips: a list of addresses is wanted, not {ascii(ips)[:60]}")
    if len(ips) > 1:
        raise InvalidConfig(f"runtimeConfig.ips: a NIC has one address, not {len(ips)}: ask for one")
    asked = {
        "runtimeConfig.ips": ips[0] if ips else None,
        f"annotation {ADDRESS_ANNOTATION}": annotations.get(ADDRESS_ANNOTATION),
        "CNI_ARGS: IP": args.get("IP"),
    }
    return next((_ipv4(value, where) for where, value in asked.items() if value), "")


def _ipv4(value: t.Any, where: str) -> str:
    """With or without a prefix length: it is the vxnet's in any case."""
    text = value.strip() if isinstance(value, str) else ""
    if ":" in text:
        raise InvalidConfig(f"{where}: {ascii(value)[:60]} is IPv6, which QingCloud vxnets do not carry: ask for IPv4")
    try:
        return str(ipaddress.IPv4Interface(text).ip)
    except ValueError:
        raise InvalidConfig(f"{where}: an address of the pod's vxnet is wanted, not {ascii(value)[:60]}") from None


def _mac(runtime: t.Mapping[str, t.Any], args: t.Mapping[str, str]) -> str:
    asked = {"runtimeConfig.mac": runtime.get("mac"), "CNI_ARGS: MAC": args.get("MAC")}
    for where, value in asked.items():
        if not value:
            continue
        mac = value.strip().lower() if isinstance(value, str) else ""
        if not _MAC.fullmatch(mac):
            raise InvalidConfig(f"{where}: a MAC such as 52:54:00:aa:bb:01 is wanted, not {ascii(value)[:60]}")
        return mac
    return ""


def _keep(annotations: t.Mapping[str, t.Any]) -> t.Optional[float]:
    value = annotations.get(KEEP_ANNOTATION)
    return None if value is None else seconds(value, f"annotation {KEEP_ANNOTATION}")


def _dns(runtime: t.Mapping[str, t.Any]) -> t.Optional[t.Mapping[str, t.Any]]:
    """The capability's names are others than the result's."""
    asked = _object(runtime.get("dns"), "runtimeConfig.dns")
    names = {"servers": "nameservers", "searches": "search", "options": "options"}
    found = {ours: asked.get(theirs) or [] for theirs, ours in names.items()}
    for theirs, ours in names.items():
        if not isinstance(found[ours], list) or not all(isinstance(item, str) for item in found[ours]):
            raise InvalidConfig(f"runtimeConfig.dns.{theirs}: a list of texts is wanted")
    return {name: value for name, value in found.items() if value} or None


def _object(value: t.Any, where: str) -> t.Mapping[str, t.Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidConfig(f"{where}: an object is wanted, not {ascii(value)[:60]}")
    return value
