# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of a pod: default by the VPC router, service networks by the host."""

from __future__ import annotations

import ipaddress
import typing as t

from ..errors import InvalidConfig
from ..model import KnownVxnet, Route
from .netconf import EVERYWHERE, GATEWAY, NONE, NetConf


def needs_gateway(conf: NetConf) -> bool:
    """Whether any route goes through the host's gateway NIC, which may have to be made first."""
    return conf.is_gateway or conf.default_route == GATEWAY or any(route.via_host for route in conf.routes)


def of_pod(conf: NetConf, vxnet: KnownVxnet, gateway: str, host: str) -> tuple[Route, ...]:
    """Routes in the order in which they are set; `gateway` is "" unless `needs_gateway`, `host` "" if unknown.

    A route without gw goes by the gateway NIC where isGateway is set, else where CNI says: by the default gateway.
    Raises `InvalidConfig` for a gw that the pod cannot reach.
    """
    default = gateway if conf.default_route == GATEWAY else vxnet.gateway
    routes: dict[str, str] = {}
    if conf.default_route != NONE and all(route.dst != EVERYWHERE for route in conf.routes):
        routes[EVERYWHERE] = default
    for route in conf.routes:
        if route.via_host or (conf.is_gateway and not route.gw):
            routes[route.dst] = gateway
        elif route.gw and not _inside(route.gw, vxnet):
            raise InvalidConfig(
                f"ipam.routes: gw {route.gw} of {route.dst} is outside of the pod's vxnet {vxnet.vxnet_id} "
                f"({vxnet.network}): leave gw out, or name the vxnet that it belongs to as vxnet"
            )
        else:
            routes[route.dst] = route.gw or default
    if conf.is_gateway and host and not _inside(host, vxnet):
        routes.setdefault(f"{host}/32", gateway)
    return tuple(Route(dst, via) for dst, via in routes.items())


def _inside(address: str, vxnet: KnownVxnet) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(vxnet.network)


def default_gateway(routes: t.Iterable[Route]) -> str:
    """The `gateway` of the address in a result."""
    return next((route.via for route in routes if route.dst == EVERYWHERE), "")
