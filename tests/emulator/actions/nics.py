# SPDX-License-Identifier: GPL-3.0-or-later
"""CreateNics, DescribeNics, ModifyNicAttributes, DeleteNics."""

from __future__ import annotations

from tests.emulator import nics as rules
from tests.emulator import views
from tests.emulator.actions.call import Call
from tests.emulator.errors import ApiError, denied
from tests.emulator.faults import DESCRIBE_LAG
from tests.emulator.models import AVAILABLE, BASE_NETWORK, IN_USE, MANAGED, SELF_MANAGED, Nic
from tests.emulator.views import Item


def create(call: Call) -> Item:
    params, cloud = call.params, call.cloud
    vxnet = rules.owned_vxnet(cloud, call.zone_id, call.owner, params.required("vxnet"))
    private_ips = params.items("private_ips")
    lag = call.faults.take("CreateNics", DESCRIBE_LAG)
    made = rules.create(
        cloud,
        vxnet,
        name=params.text("nic_name") or "",
        count=params.number("count", 1),
        private_ips=private_ips,
        disable_ip=bool(params.flag("disable_ip", 0)),
        lag=lag.seconds if lag else 0.0,
    )
    return {"nics": [{"nic_id": nic.nic_id, **views.private_ip_of(cloud, nic)} for nic in made]}


def describe(call: Call) -> Item:
    params, cloud = call.params, call.cloud
    mine = call.mine(cloud.visible_nics())
    found = mine
    wanted = [rules.normal_id(cloud, nic_id) for nic_id in params.items("nics")]
    if wanted:
        call.known(wanted, {nic.nic_id for nic in mine}, cloud.settings.unknown_nic)
        found = [nic for nic in found if nic.nic_id in wanted]
    name = params.text("nic_name")
    if name:
        found = [nic for nic in found if _named(call, nic, name)]
    status = params.text("status")
    if status:
        call.legal("status", [status], (AVAILABLE, IN_USE))
        found = [nic for nic in found if nic.status == status]
    vxnets = params.items("vxnets")
    if vxnets:
        found = [nic for nic in found if nic.vxnet_id in vxnets]
    types = params.numbers("vxnet_type")
    if types:
        call.legal("vxnet_type", types, (SELF_MANAGED, MANAGED, BASE_NETWORK))
        found = [nic for nic in found if cloud.vxnets[nic.vxnet_id].vxnet_type in types]
    instances = params.items("instances")
    if instances:
        found = [nic for nic in found if nic.instance_id in instances]
    tags = params.items("tags")
    if tags and cloud.settings.nic_tag_filter == "filter":
        found = [nic for nic in found if any(tag.tag_id in tags for tag in cloud.tags_of("nic", nic.nic_id))]
    return call.answer("nic_set", found, lambda nic: nic.nic_id, lambda nic: views.nic_item(cloud, nic), len(mine))


def modify(call: Call) -> Item:
    params, cloud = call.params, call.cloud
    nic = rules.owned_nic(cloud, call.zone_id, call.owner, params.required("nic"))
    name, address, vxnet_id = params.text("nic_name"), params.text("private_ip"), params.text("vxnet")
    aspoof = params.flag("enable_aspoof", nic.enable_aspoof)
    if params.text("enable_aspoof") is not None and cloud.settings.aspoof_change == "refuse":
        raise ApiError(cloud.settings.aspoof_refused_code, "parameter [enable_aspoof] can not be changed")
    if name is not None:
        name = rules.check_name(cloud, name)
    if vxnet_id and vxnet_id != nic.vxnet_id:
        vxnet = rules.owned_vxnet(cloud, call.zone_id, call.owner, vxnet_id)
        rules.change_vxnet(cloud, nic, vxnet, address)
    elif address:
        rules.change_address(cloud, nic, address)
    if name is not None:
        nic.nic_name = name
    nic.enable_aspoof = aspoof
    port = cloud.port_of(nic)
    if port is not None:
        cloud.dataplane.guard(port)
    return {}


def delete(call: Call) -> Item:
    params, cloud = call.params, call.cloud
    wanted = params.required_items("nics")
    most = cloud.settings.delete_list_max
    if most and len(wanted) > most:
        code = cloud.settings.list_too_long_code
        raise ApiError(code, f"nics has {len(wanted)} items, {most} are allowed")
    good: dict[str, Nic] = {}
    first: ApiError | None = None
    for nic_id in wanted:
        try:
            nic = rules.owned_nic(cloud, call.zone_id, call.owner, nic_id)
            reason = rules.why_not_deletable(cloud, nic)
            if reason is not None:
                raise denied(reason)
        except ApiError as error:
            if cloud.settings.delete_all_or_nothing:
                raise
            first = first or error
        else:
            good[nic.nic_id] = nic
    if first is not None and not good:
        raise first
    rules.delete(cloud, list(good.values()))
    return {}


def _named(call: Call, nic: Nic, name: str) -> bool:
    rule = call.cloud.settings.nic_name_match
    if rule == "exact":
        return nic.nic_name == name
    return nic.nic_name.startswith(name) if rule == "prefix" else name in nic.nic_name
