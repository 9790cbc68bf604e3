# SPDX-License-Identifier: GPL-3.0-or-later
"""Items of the API's answers as `model` nouns. Any field may be null or absent."""

from __future__ import annotations

import ipaddress
import logging
import typing as t

from ..model import CloudNic, Vxnet

log = logging.getLogger("hostnic.cloud")

Item = t.Mapping[str, t.Any]


def nic(item: Item) -> t.Optional[CloudNic]:
    """Of DescribeNics; None for an item without an id, which nothing could be done with."""
    nic_id = mac(text(item, "nic_id"))
    if not nic_id:
        return None
    return CloudNic(
        nic_id=nic_id,
        nic_name=text(item, "nic_name"),
        vxnet_id=text(item, "vxnet_id"),
        private_ip=text(item, "private_ip"),
        status=text(item, "status"),
        instance_id=text(item, "instance_id"),
        role=number(item, "role") or 0,
    )


def vxnet(item: Item) -> t.Optional[Vxnet]:
    """Of DescribeVxnets. A network or gateway that is no address counts as none."""
    vxnet_id = text(item, "vxnet_id")
    if not vxnet_id:
        return None
    router = item.get("router")
    router = router if isinstance(router, dict) else {}
    network, gateway = _network(text(router, "ip_network")), text(router, "manager_ip")
    if not network or not _is_address(gateway):
        network = gateway = ""
    return Vxnet(
        vxnet_id=vxnet_id,
        network=network,
        gateway=gateway,
        router_id=text(router, "router_id") or text(item, "vpc_router_id"),
        available=number(item, "available_ip_count"),
    )


def rows(answer: Item, name: str) -> list[dict[str, t.Any]]:
    """The list of objects under `name`; null and absent are empty."""
    found = answer.get(name)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def text(item: Item, name: str) -> str:
    value = item.get(name)
    return value.strip() if isinstance(value, str) else ""


def number(item: Item, name: str) -> t.Optional[int]:
    try:
        return int(item[name])
    except (KeyError, TypeError, ValueError):
        return None


def mac(nic_id: str) -> str:
    """The one spelling that ids are compared in."""
    return nic_id.strip().lower()


def _network(cidr: str) -> str:
    try:
        return str(ipaddress.IPv4Network(cidr, strict=False)) if "/" in cidr else ""
    except ValueError:
        log.warning("a vxnet's network %r is not a network", cidr)
        return ""


def _is_address(value: str) -> bool:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return True
