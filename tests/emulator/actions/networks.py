# SPDX-License-Identifier: GPL-3.0-or-later
"""DescribeVxnets, DescribeVxnetInstances, DescribeRouters, DeleteVxnets, LeaveRouter."""

from __future__ import annotations

from tests.emulator import jobs, views
from tests.emulator.actions.call import Call
from tests.emulator.errors import denied, not_found
from tests.emulator.faults import JOB_FAILED, JOB_STUCK
from tests.emulator.models import BASE_NETWORK, IN_USE, MANAGED, SELF_MANAGED
from tests.emulator.nics import owned_vxnet
from tests.emulator.views import Item

ROUTER_STATUSES = ("pending", "active", "poweroffed", "suspended", "deleted", "ceased")


def describe_vxnets(call: Call) -> Item:
    """Base networks are returned only to those who ask for vxnet_type 2."""
    params, cloud = call.params, call.cloud
    mine = call.mine(cloud.vxnets.values())
    types = params.numbers("vxnet_type")
    call.legal("vxnet_type", types, (SELF_MANAGED, MANAGED, BASE_NETWORK))
    found = [vxnet for vxnet in mine if vxnet.vxnet_type in (types or (SELF_MANAGED, MANAGED))]
    wanted = params.items("vxnets")
    if wanted:
        call.known(wanted, {vxnet.vxnet_id for vxnet in mine}, cloud.settings.unknown_vxnet)
        found = [vxnet for vxnet in found if vxnet.vxnet_id in wanted]
    word = params.text("search_word")
    if word:
        found = [vxnet for vxnet in found if word in vxnet.vxnet_id or word in vxnet.vxnet_name]
    verbose = bool(params.flag("verbose", 0))
    return call.answer(
        "vxnet_set",
        found,
        lambda vxnet: vxnet.vxnet_id,
        lambda vxnet: views.vxnet_item(cloud, vxnet, verbose),
        len(mine),
    )


def describe_vxnet_instances(call: Call) -> Item:
    """One item for each attached NIC in the vxnet, since items carry nic_id and sequence."""
    params, cloud = call.params, call.cloud
    vxnet = owned_vxnet(cloud, call.zone_id, call.owner, params.required("vxnet"))
    here = [nic for nic in cloud.nics.values() if nic.vxnet_id == vxnet.vxnet_id and nic.status == IN_USE]
    found = [(cloud.instances[nic.instance_id], nic) for nic in here]
    wanted = params.items("instances")
    if wanted:
        call.known(wanted, cloud.instances, cloud.settings.unknown_instance)
        found = [pair for pair in found if pair[0].instance_id in wanted]
    for name in ("status", "instance_type"):
        values = params.items(name)
        if values:
            found = [pair for pair in found if getattr(pair[0], name) in values]
    return call.answer(
        "instance_set",
        found,
        lambda pair: pair[0].instance_id,
        lambda pair: views.instance_on_vxnet_item(cloud, *pair),
        len(here),
    )


def describe_routers(call: Call) -> Item:
    params, cloud = call.params, call.cloud
    mine = call.mine(cloud.routers.values())
    found = mine
    wanted = params.items("routers")
    if wanted:
        call.known(wanted, {router.router_id for router in mine}, cloud.settings.unknown_router)
        found = [router for router in found if router.router_id in wanted]
    statuses = params.items("status")
    if statuses:
        call.legal("status", statuses, ROUTER_STATUSES)
        found = [router for router in found if router.status in statuses]
    vxnet_id = params.text("vxnet")
    if vxnet_id:
        vxnet = cloud.vxnets.get(vxnet_id)
        found = [router for router in found if vxnet and vxnet.router_id == router.router_id]
    word = params.text("search_word")
    if word:
        found = [router for router in found if word in router.router_id or word in router.router_name]
    verbose = bool(params.flag("verbose", 0))
    return call.answer(
        "router_set",
        found,
        lambda router: router.router_id,
        lambda router: views.router_item(cloud, router, verbose),
        len(mine),
    )


def delete_vxnets(call: Call) -> Item:
    """Refused while instances are in one of them; free NICs go with it where they do not stop it."""
    cloud = call.cloud
    wanted = [owned_vxnet(cloud, call.zone_id, call.owner, each) for each in call.params.required_items("vxnets")]
    for vxnet in wanted:
        here = [nic for nic in cloud.nics.values() if nic.vxnet_id == vxnet.vxnet_id]
        if vxnet.router_id is not None:
            raise denied(f"vxnet [{vxnet.vxnet_id}] is joined to [{vxnet.router_id}]")
        if any(nic.instance_id for nic in here) or (here and cloud.settings.delete_vxnet_with_nics == "refuse"):
            raise denied(f"vxnet [{vxnet.vxnet_id}] still has nics")
    for vxnet in wanted:
        for nic in [nic for nic in cloud.nics.values() if nic.vxnet_id == vxnet.vxnet_id]:
            del cloud.nics[nic.nic_id]
        del cloud.vxnets[vxnet.vxnet_id]
        cloud.addresses.pop(vxnet.vxnet_id, None)
    return {"vxnets": [vxnet.vxnet_id for vxnet in wanted]}


def leave_router(call: Call) -> Item:
    cloud = call.cloud
    router_id = call.params.required("router")
    if router_id not in cloud.routers:
        raise not_found(router_id)
    wanted = [owned_vxnet(cloud, call.zone_id, call.owner, each) for each in call.params.required_items("vxnets")]
    for vxnet in wanted:
        jobs.refuse_if_busy(cloud, vxnet.vxnet_id)
        if vxnet.router_id != router_id:
            raise denied(f"vxnet [{vxnet.vxnet_id}] is not joined to [{router_id}]")
        here = any(nic.vxnet_id == vxnet.vxnet_id for nic in cloud.nics.values())
        if here and cloud.settings.leave_router_with_nics == "refuse":
            raise denied(f"vxnet [{vxnet.vxnet_id}] still has nics")
    ids = [vxnet.vxnet_id for vxnet in wanted]
    job = jobs.submit(
        cloud,
        jobs.LEAVE_ROUTER,
        zone_id=call.zone_id,
        owner=call.owner,
        instance_ids=(router_id, *ids),
        nic_ids=(),
        directive=call.params.directive(),
        stuck=call.faults.take("LeaveRouter", JOB_STUCK) is not None,
        works_for=0 if call.faults.take("LeaveRouter", JOB_FAILED) else None,
    )
    return {"router_id": router_id, "vxnets": ids, "job_id": job.job_id}
