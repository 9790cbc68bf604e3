# SPDX-License-Identifier: GPL-3.0-or-later
"""CreateTag, AttachTags, DetachTags, DescribeTags, DeleteTags. Instances, vxnets and NICs show their tags."""

from __future__ import annotations

import typing as t

from tests.emulator import views
from tests.emulator.actions.call import Call
from tests.emulator.errors import ApiError, bad_format, denied, not_found
from tests.emulator.models import Tag
from tests.emulator.views import Item

NAME_LIMIT = 15
_PAIR_KEYS = ("tag_id", "resource_type", "resource_id")


def create(call: Call) -> Item:
    name = call.params.required("tag_name")
    if len(name) >= NAME_LIMIT:
        raise bad_format(f"tag_name has {len(name)} characters, fewer than {NAME_LIMIT} are allowed")
    if any(tag.tag_name == name for tag in _mine(call)):
        raise ApiError(2110, f"tag [{name}] exists")
    tag = Tag(
        call.cloud.new_id("tag"),
        call.zone_id,
        call.owner,
        call.cloud.clock.now(),
        name,
        call.params.text("color") or "",
    )
    call.cloud.tags[tag.tag_id] = tag
    return {"tag_id": tag.tag_id}


def attach(call: Call) -> Item:
    for tag, pair in _pairs(call):
        tag.pairs.add(pair)
    return {}


def detach(call: Call) -> Item:
    for tag, pair in _pairs(call):
        tag.pairs.discard(pair)
    return {}


def describe(call: Call) -> Item:
    mine = _mine(call)
    wanted, word = call.params.items("tags"), call.params.text("search_word")
    verbose = bool(call.params.flag("verbose", 0))
    found = [tag for tag in mine if not wanted or tag.tag_id in wanted]
    found = [tag for tag in found if not word or word in tag.tag_name or word in tag.tag_id]
    return call.answer("tag_set", found, lambda tag: tag.tag_id, lambda tag: views.tag_item(tag, verbose), len(mine))


def delete(call: Call) -> Item:
    wanted = [_tag(call, tag_id) for tag_id in call.params.required_items("tags")]
    for tag in wanted:
        call.cloud.tags.pop(tag.tag_id, None)
    return {"tags": [tag.tag_id for tag in wanted]}


def _pairs(call: Call) -> list[tuple[Tag, tuple[str, str]]]:
    """All pairs of the call, checked before any is used."""
    structures = call.params.structures("resource_tag_pairs")
    if not structures:
        raise bad_format("parameter [resource_tag_pairs] is missing")
    return [_pair(call, structure) for structure in structures]


def _pair(call: Call, structure: t.Mapping[str, str]) -> tuple[Tag, tuple[str, str]]:
    for key in _PAIR_KEYS:
        if not structure.get(key):
            raise bad_format(f"a resource_tag_pair has no {key}")
    kind, resource_id = structure["resource_type"], structure["resource_id"]
    if kind == "nic" and call.cloud.settings.nic_tags == "refuse":
        raise ApiError(call.cloud.settings.illegal_value_code, "resource_type [nic] can not have tags")
    cloud = call.cloud
    things: dict[str, t.Container[str]] = {
        "instance": cloud.instances,
        "nic": cloud.nics,
        "router": cloud.routers,
        "vxnet": cloud.vxnets,
    }
    if kind not in things:
        raise ApiError(cloud.settings.illegal_value_code, f"resource_type [{kind}] can not have tags")
    if resource_id not in things[kind]:
        raise not_found(resource_id)
    return _tag(call, structure["tag_id"]), (kind, resource_id)


def _tag(call: Call, tag_id: str) -> Tag:
    tag = call.cloud.tags.get(tag_id)
    if tag is None:
        raise not_found(tag_id)
    if tag.owner != call.owner:
        raise denied(f"you are not the owner of [{tag_id}]")
    return tag


def _mine(call: Call) -> list[Tag]:
    return call.mine(call.cloud.tags.values())
