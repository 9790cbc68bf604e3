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

from ..errors import InvalidConfig
from .fields import Json, excerpt, get, seconds, texts

ANNOTATIONS: t.Final = "io.kubernetes.cri.pod-annotations"
ADDRESS_ANNOTATION: t.Final = "qingcloud.cni/ip"
KEEP_ANNOTATION: t.Final = "qingcloud.cni/keep"
# Capabilities that a configuration may declare for qingcni; portMappings and bandwidth are other plugins'.
CAPABILITIES: t.Final = ("ips", "mac", "dns", ANNOTATIONS)

# Of CNI_ARGS
ARGS: t.Final = ("IP", "MAC")

_MAC: t.Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True)
class Wishes:
    """`address` and `mac` empty where any will do; `keep`: seconds after DEL, None where the pod does not say."""

    address: str = ""
    mac: str = ""
    keep: t.Optional[float] = None
    dns: t.Optional[Json] = None


def wishes(config: Json, args: t.Mapping[str, str]) -> Wishes:
    """Raises `InvalidConfig`, which names where the wish stands and what to write instead."""
    runtime: Json = get(config, "runtimeConfig", dict, {})
    annotations: Json = get(runtime, ANNOTATIONS, dict, {}, "runtimeConfig.")
    return Wishes(_address(runtime, annotations, args), _mac(runtime, args), _keep(annotations), _dns(runtime))


def _address(runtime: Json, annotations: Json, args: t.Mapping[str, str]) -> str:
    ips = get(runtime, "ips", list, [], "runtimeConfig.")
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
        raise InvalidConfig(f"{where}: {excerpt(value)} is IPv6, which QingCloud vxnets do not carry: ask for IPv4")
    try:
        return str(ipaddress.IPv4Interface(text).ip)
    except ValueError:
        raise InvalidConfig(f"{where}: an address of the pod's vxnet is wanted, not {excerpt(value)}") from None


def _mac(runtime: Json, args: t.Mapping[str, str]) -> str:
    asked = {"runtimeConfig.mac": runtime.get("mac"), "CNI_ARGS: MAC": args.get("MAC")}
    for where, value in asked.items():
        if not value:
            continue
        mac = value.strip().lower() if isinstance(value, str) else ""
        if not _MAC.fullmatch(mac):
            raise InvalidConfig(f"{where}: a MAC such as 52:54:00:aa:bb:01 is wanted, not {excerpt(value)}")
        return mac
    return ""


def _keep(annotations: Json) -> t.Optional[float]:
    value = annotations.get(KEEP_ANNOTATION)
    return None if value is None else seconds(value, f"annotation {KEEP_ANNOTATION}")


def _dns(runtime: Json) -> t.Optional[Json]:
    """The capability's names are others than the result's."""
    asked: Json = get(runtime, "dns", dict, {}, "runtimeConfig.")
    names = {"servers": "nameservers", "searches": "search", "options": "options"}
    found = {ours: list(texts(asked, theirs, "runtimeConfig.dns.")) for theirs, ours in names.items()}
    return {name: value for name, value in found.items() if value} or None
