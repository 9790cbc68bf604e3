# SPDX-License-Identifier: GPL-3.0-or-later
"""Items of the API's answers as `model` nouns. Any field may be null or absent."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import typing as t

from ..model import CloudNic, Instance, InstanceNic, Vxnet

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
        created=moment(item, "create_time"),
        changed=moment(item, "status_time"),
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
        name=text(item, "vxnet_name"),
    )


def instance(item: Item) -> t.Optional[Instance]:
    """Of DescribeInstances; None for an item without an id."""
    instance_id = text(item, "instance_id")
    if not instance_id:
        return None
    image, eip = item.get("image"), item.get("eip")
    nics = (
        InstanceNic(mac(text(row, "nic_id")), text(row, "vxnet_id"), text(row, "private_ip"), number(row, "role") or 0)
        for row in rows(item, "vxnets")
    )
    return Instance(
        instance_id=instance_id,
        name=text(item, "instance_name"),
        status=text(item, "status"),
        transition=text(item, "transition_status"),
        instance_type=text(item, "instance_type"),
        zone=text(item, "zone_id"),
        image_id=text(image, "image_id") if isinstance(image, dict) else "",
        eip=text(eip, "eip_addr") if isinstance(eip, dict) else "",
        nics=tuple(nic for nic in nics if nic.vxnet_id),
        tags=tuple((text(row, "tag_id"), text(row, "tag_name")) for row in rows(item, "tags") if text(row, "tag_id")),
        created=moment(item, "create_time"),
        changed=moment(item, "status_time"),
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


def moment(item: Item, name: str) -> float:
    """Unix seconds of a time like 2024-05-01T08:00:00Z; 0 where it is none. A missing Z is a slip of some answers."""
    try:
        parsed = datetime.datetime.strptime(text(item, name).rstrip("Z"), "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return 0.0
    return parsed.replace(tzinfo=datetime.timezone.utc).timestamp()


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
