# SPDX-License-Identifier: GPL-3.0-or-later
"""A world as a JSON object: what ``--world`` and the control API take."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from tests.emulator.cloud import Cloud
from tests.emulator.errors import EmulatorError

_KEYS: t.Final[t.Mapping[str, tuple[str, ...]]] = {
    "world": ("zone", "zones", "access_keys", "routers", "vxnets", "instances", "tags"),
    "access key": ("access_key_id", "secret_access_key", "owner"),
    "router": ("router_id", "vpc_network", "router_name", "owner", "zone"),
    "vxnet": (
        "vxnet_id",
        "vxnet_name",
        "ip_network",
        "manager_ip",
        "router_id",
        "vxnet_type",
        "tunnel_type",
        "dhcp",
        "owner",
        "zone",
    ),
    "instance": (
        "instance_id",
        "instance_name",
        "instance_type",
        "status",
        "netns",
        "eip",
        "primary",
        "role",
        "owner",
        "zone",
    ),
    "primary": ("vxnet_id", "private_ip", "nic_id"),
    "tag": ("tag_id", "tag_name", "resources", "color", "owner", "zone"),
}


def load(cloud: Cloud, path: Path) -> None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EmulatorError(f"world {path}: {error}") from error
    build(cloud, content)


def build(cloud: Cloud, world: t.Any) -> None:
    """Add all of it; raises EmulatorError for a key that means nothing or a name that is not there."""
    _check("world", world)
    zone = world.get("zone")
    if not isinstance(zone, str):
        raise EmulatorError("a world needs a zone")
    for zone_id in (zone, *world.get("zones", [])):
        cloud.add_zone(zone_id)
    for kind, add in (
        ("access_keys", add_access_key),
        ("routers", add_router),
        ("vxnets", add_vxnet),
        ("instances", add_instance),
        ("tags", add_tag),
    ):
        for item in world.get(kind, []):
            add(cloud, item)


def add_access_key(cloud: Cloud, item: t.Any) -> str:
    _check("access key", item, "access_key_id", "secret_access_key")
    owner = item.get("owner", "usr-00000000")
    return cloud.add_access_key(item["access_key_id"], item["secret_access_key"], owner).access_key_id


def add_router(cloud: Cloud, item: t.Any) -> str:
    _check("router", item, "router_id")
    return cloud.add_router(**item).router_id


def add_vxnet(cloud: Cloud, item: t.Any) -> str:
    _check("vxnet", item, "vxnet_id")
    return cloud.add_vxnet(**item).vxnet_id


def add_instance(cloud: Cloud, item: t.Any) -> str:
    _check("instance", item, "instance_id")
    rest = dict(item)
    primary = rest.pop("primary", None) or {}
    role = rest.pop("role", None)
    _check("primary", primary)
    instance = cloud.add_instance(
        rest.pop("instance_id"),
        primary.get("vxnet_id"),
        private_ip=primary.get("private_ip"),
        nic_id=primary.get("nic_id"),
        **rest,
    )
    if role:
        cloud.set_role(instance.instance_id, role)
    return instance.instance_id


def add_tag(cloud: Cloud, item: t.Any) -> str:
    """``resources``: type ► ids."""
    _check("tag", item, "tag_id", "tag_name")
    rest = dict(item)
    resources = rest.pop("resources", {})
    pairs = [(kind, resource_id) for kind, ids in resources.items() for resource_id in ids]
    return cloud.add_tag(rest.pop("tag_id"), rest.pop("tag_name"), pairs, **rest).tag_id


def _check(kind: str, item: t.Any, *required: str) -> None:
    if not isinstance(item, dict):
        raise EmulatorError(f"a {kind} is an object, not {item!r}")
    unknown = sorted(set(item) - set(_KEYS[kind]))
    if unknown:
        raise EmulatorError(f"{kind}: unknown key {unknown[0]!r}, valid are {', '.join(sorted(_KEYS[kind]))}")
    for name in required:
        if not isinstance(item.get(name), str):
            raise EmulatorError(f"{kind}: {name} is missing")
