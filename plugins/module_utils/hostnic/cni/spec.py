# SPDX-License-Identifier: GPL-3.0-or-later
"""The CNI specification as tables: versions, the shape of their results, error codes and the error object.

Source: containernetworking/cni SPEC.md at 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0; pkg/types for code 8.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ..errors import HostnicError
from ..model import Route

# -- results ----------------------------------------------------------------------------------------------------------

Json = dict[str, t.Any]


@dataclass(frozen=True)
class Attached:
    """What an ADD made, in no version's words. `address` carries the prefix; `sandbox` is the value of CNI_NETNS.

    `mtu` 0 and `pci_id` empty where they are not known.
    """

    ifname: str
    mac: str
    sandbox: str
    address: str
    gateway: str
    routes: tuple[Route, ...] = ()
    dns: t.Mapping[str, t.Any] = field(default_factory=dict)
    mtu: int = 0
    pci_id: str = ""


@dataclass(frozen=True)
class Shape:
    """How a version writes a result."""

    interfaces: bool = True  # a list of interfaces, and of addresses that point into it; else one address a family
    ip_family: bool = False  # `version: "4"` with each address
    hardware: bool = False  # an interface's mtu and pciID


_SHAPES: t.Final[dict[str, Shape]] = {
    "0.1.0": Shape(interfaces=False),
    "0.2.0": Shape(interfaces=False),
    "0.3.0": Shape(ip_family=True),
    "0.3.1": Shape(ip_family=True),
    "0.4.0": Shape(ip_family=True),
    "1.0.0": Shape(),
    "1.1.0": Shape(hardware=True),
}
SUPPORTED: t.Final = tuple(_SHAPES)
NEWEST: t.Final = SUPPORTED[-1]


def result(version: str, attached: Attached, previous: t.Optional[Json] = None) -> Json:
    """The result object of a supported version; what an earlier plugin of the chain made stays in front."""
    shape, before = _SHAPES[version], previous or {}
    after = {**before, "cniVersion": version}
    after.update(_listed(shape, attached, before) if shape.interfaces else _by_family(attached, before))
    dns = attached.dns or before.get("dns")
    if dns:
        after["dns"] = dict(dns)
    return after


def _listed(shape: Shape, attached: Attached, before: Json) -> Json:
    interfaces = list(before.get("interfaces") or ())
    interface: Json = {"name": attached.ifname, "mac": attached.mac, "sandbox": attached.sandbox}
    if shape.hardware:
        known = {"mtu": attached.mtu, "pciID": attached.pci_id}
        interface.update({key: value for key, value in known.items() if value})
    address: Json = {"address": attached.address, **_gateway(attached), "interface": len(interfaces)}
    if shape.ip_family:
        address["version"] = "4"
    return {
        "interfaces": [*interfaces, interface],
        "ips": [*(before.get("ips") or ()), address],
        "routes": [*(before.get("routes") or ()), *map(_route, attached.routes)],
    }


def _by_family(attached: Attached, before: Json) -> Json:
    """Before 0.3.0 there is one address a family: the first plugin's stays."""
    if before.get("ip4"):
        return {}
    routes = [_route(route) for route in attached.routes]
    return {"ip4": {"ip": attached.address, **_gateway(attached), "routes": routes}}


def _gateway(attached: Attached) -> Json:
    return {"gateway": attached.gateway} if attached.gateway else {}


def _route(route: Route) -> Json:
    return {"dst": route.dst, "gw": route.via} if route.via else {"dst": route.dst}


# -- errors -----------------------------------------------------------------------------------------------------------

INCOMPATIBLE_VERSION: t.Final = 1
UNSUPPORTED_FIELD: t.Final = 2
BAD_ENVIRONMENT: t.Final = 4
IO_FAILURE: t.Final = 5
NOT_JSON: t.Final = 6
BAD_CONFIG: t.Final = 7
BAD_NETNS: t.Final = 8
TRY_AGAIN: t.Final = 11
NOT_AVAILABLE: t.Final = 50
# -- ours, from 100 as the specification has it; docs/wire.md tells users what to do --
NO_AGENT: t.Final = 100
PROTOCOL_MISMATCH: t.Final = 101
INTERNAL: t.Final = 102
LINK_FAILED: t.Final = 111
VXNET_FULL: t.Final = 112
QUOTA_EXCEEDED: t.Final = 113
AUTH_FAILED: t.Final = 114
DENIED: t.Final = 115
NOT_FOUND: t.Final = 116
HELD_ELSEWHERE: t.Final = 117
DIFFERS: t.Final = 118

# A kind that is not here and not transient is a defect of ours.
CODES: t.Final[dict[str, int]] = {
    "InvalidConfig": BAD_CONFIG,
    "QuotaExceeded": QUOTA_EXCEEDED,
    "VxnetFull": VXNET_FULL,
    "Denied": DENIED,
    "AuthFailed": AUTH_FAILED,
    "NotFound": NOT_FOUND,
    "LinkFailed": LINK_FAILED,
    "StoreFailed": IO_FAILURE,
    "ProtocolMismatch": PROTOCOL_MISMATCH,
    "WireError": PROTOCOL_MISMATCH,
}


class CniError(HostnicError):
    """An error whose code the specification fixes."""

    def __init__(self, code: int, message: str, **details: t.Any) -> None:
        super().__init__(message, **details)
        self.code = code


def code_of(error: HostnicError) -> int:
    """The one mapping from our errors to CNI codes: what passes by itself is 11, the rest says what it is."""
    if isinstance(error, CniError):
        return error.code
    if error.transient:
        return TRY_AGAIN
    return CODES.get(error.kind, INTERNAL)


def error_object(error: HostnicError, version: str = NEWEST) -> Json:
    """What goes to stdout when a verb fails; `details` names the kind and the facts, for people who search logs."""
    facts = [f"{key}={value}" for key, value in sorted(error.details.items())]
    kind = [] if isinstance(error, CniError) else [error.kind]
    return {
        "cniVersion": version,
        "code": code_of(error),
        "msg": error.message,
        "details": "; ".join([*kind, *facts]),
    }
