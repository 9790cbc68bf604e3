# SPDX-License-Identifier: GPL-3.0-or-later
"""Items of Describe answers, with the fields that the documentation and the Go SDK's types name."""

from __future__ import annotations

import typing as t
from collections import Counter

from tests.emulator.clock import rfc3339
from tests.emulator.cloud import Cloud
from tests.emulator.models import Instance, Job, Nic, Router, Tag, Vxnet

Item = dict[str, t.Any]


def nic_item(cloud: Cloud, nic: Nic) -> Item:
    item: Item = {
        "nic_id": nic.nic_id,
        "nic_name": nic.nic_name,
        "status": nic.status,
        "instance_id": nic.instance_id,
        "vxnet_id": nic.vxnet_id,
        "role": nic.role,
        "sequence": nic.sequence,
        "security_group": nic.security_group,
        "eip": None,
        "tags": [tag_item(tag, verbose=False) for tag in cloud.tags_of("nic", nic.nic_id)],
        "owner": nic.owner,
        "root_user_id": nic.owner,
        "create_time": rfc3339(nic.created),
        "status_time": rfc3339(nic.status_time),
    }
    item.update(private_ip_of(cloud, nic))
    if cloud.settings.aspoof_shown:
        item["enable_aspoof"] = nic.enable_aspoof
    return item


def private_ip_of(cloud: Cloud, nic: Nic) -> Item:
    """``private_ip``, or what stands for the lack of one."""
    if nic.private_ip is not None:
        return {"private_ip": nic.private_ip}
    absent: dict[str, Item] = {"null": {"private_ip": None}, "empty": {"private_ip": ""}, "absent": {}}
    return absent[cloud.settings.missing_private_ip]


def tag_item(tag: Tag, verbose: bool) -> Item:
    counts = Counter(kind for kind, __ in tag.pairs)
    item: Item = {
        "tag_id": tag.tag_id,
        "tag_name": tag.tag_name,
        "description": None,
        "color": tag.color,
        "owner": tag.owner,
        "resource_count": len(tag.pairs),
        "resource_type_count": [{"resource_type": kind, "count": count} for kind, count in sorted(counts.items())],
        "create_time": rfc3339(tag.created),
    }
    if verbose:
        item["resource_tag_pairs"] = [
            {"tag_id": tag.tag_id, "resource_type": kind, "resource_id": resource_id}
            for kind, resource_id in sorted(tag.pairs)
        ]
    return item


def vxnet_item(cloud: Cloud, vxnet: Vxnet, verbose: bool) -> Item:
    settings, book = cloud.settings, cloud.network_of(vxnet)
    left = book.available_ip_count(settings, cloud.clock.now()) if book else 0
    item: Item = {
        "vxnet_id": vxnet.vxnet_id,
        "vxnet_name": vxnet.vxnet_name,
        "vxnet_type": vxnet.vxnet_type,
        "description": None,
        "create_time": rfc3339(vxnet.created),
        "owner": vxnet.owner,
        "zone_id": vxnet.zone_id,
        "tags": [tag_item(tag, verbose=False) for tag in cloud.tags_of("vxnet", vxnet.vxnet_id)],
        "vpc_router_id": vxnet.router_id or "",
        "available_ip_count": left,
        "tunnel_type": vxnet.tunnel_type or settings.tunnel_type,
        "router": router_of_vxnet(cloud, vxnet),
    }
    if verbose:
        here = [nic for nic in cloud.nics.values() if nic.vxnet_id == vxnet.vxnet_id and nic.instance_id]
        item["instance_ids"] = sorted({nic.instance_id for nic in here})
    return item


def router_of_vxnet(cloud: Cloud, vxnet: Vxnet) -> Item | None:
    """The vxnet's network; None when it is not joined to a router (never an empty object)."""
    if vxnet.router_id is None:
        return None
    router, book = cloud.routers[vxnet.router_id], cloud.addresses[vxnet.vxnet_id]
    return {
        "router_id": router.router_id,
        "router_name": router.router_name,
        "mode": cloud.settings.router_mode,
        "ip_network": str(book.network),
        "manager_ip": str(book.manager),
        "dyn_ip_start": str(book.dyn_start) if vxnet.dhcp else "",
        "dyn_ip_end": str(book.dyn_end) if vxnet.dhcp else "",
    }


def router_item(cloud: Cloud, router: Router, verbose: bool) -> Item:
    item: Item = {
        "router_id": router.router_id,
        "router_name": router.router_name,
        "description": "",
        "router_type": 1,
        "private_ip": "",
        "is_applied": 1,
        "status": router.status,
        "transition_status": "",
        "create_time": rfc3339(router.created),
        "status_time": rfc3339(router.created),
        "security_group_id": "",
        "eip": None,
        "vpc_network": router.vpc_network or "",
        "mode": cloud.settings.router_mode,
        "owner": router.owner,
        "tags": [],
        "sub_code": 0,
    }
    if verbose:
        joined = [vxnet for vxnet in cloud.vxnets.values() if vxnet.router_id == router.router_id]
        item["vxnets"] = [{"vxnet_id": vxnet.vxnet_id, "nic_id": ""} for vxnet in joined]
    return item


def instance_item(cloud: Cloud, instance: Instance, verbose: bool) -> Item:
    item: Item = {
        "instance_id": instance.instance_id,
        "instance_name": instance.instance_name,
        "instance_type": instance.instance_type,
        "description": None,
        "status": instance.status,
        "transition_status": instance.transition_status,
        "vcpus_current": 1,
        "memory_current": 1024,
        "image": {"image_id": "img-00000000"},
        "eip": {"eip_id": f"eip-{instance.instance_id[2:]}", "eip_addr": instance.eip} if instance.eip else None,
        "security_group": None,
        "vxnets": [_vxnet_of_instance(cloud, nic) for nic in cloud.nics_of(instance.instance_id)],
        "owner": instance.owner,
        "zone_id": instance.zone_id,
        "tags": [tag_item(tag, verbose=False) for tag in cloud.tags_of("instance", instance.instance_id)],
        "sub_code": 0,
        "create_time": rfc3339(instance.created),
        "status_time": rfc3339(instance.status_time),
    }
    if verbose:
        item.update(volume_ids=[], keypair_ids=[])
    return item


def instance_on_vxnet_item(cloud: Cloud, instance: Instance, nic: Nic) -> Item:
    whole = instance_item(cloud, instance, verbose=False)
    names = (
        "instance_id instance_name instance_type description status transition_status vcpus_current "
        "memory_current sub_code create_time status_time"
    )
    item: Item = {name: whole[name] for name in names.split()}
    item.update(vxnet_id=nic.vxnet_id, nic_id=nic.nic_id, sequence=nic.sequence, image_id="img-00000000")
    item.update(private_ip_of(cloud, nic))
    item["dhcp_options"] = None
    return item


def job_item(job: Job) -> Item:
    return {
        "job_id": job.job_id,
        "job_action": job.action,
        "status": job.status,
        "resource_ids": " ".join((*job.instance_ids, *job.nic_ids)),
        "owner": job.owner,
        "create_time": rfc3339(job.created),
        "status_time": rfc3339(job.status_time),
        "error_codes": job.error_codes,
        "directive": job.directive,
    }


def _vxnet_of_instance(cloud: Cloud, nic: Nic) -> Item:
    vxnet = cloud.vxnets[nic.vxnet_id]
    return {
        "vxnet_id": vxnet.vxnet_id,
        "vxnet_name": vxnet.vxnet_name,
        "vxnet_type": vxnet.vxnet_type,
        "nic_id": nic.nic_id,
        "role": nic.role,
        **private_ip_of(cloud, nic),
    }
