# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a NIC outside jobs: made, named, changed, deleted. The caller holds the cloud's lock."""

from __future__ import annotations

import typing as t

from tests.emulator.cloud import Cloud
from tests.emulator.errors import ApiError, bad_format, denied, not_found
from tests.emulator.models import AVAILABLE, BASE_NETWORK, IN_USE, Nic, Vxnet

COUNT_MAX = 252


def owned_vxnet(cloud: Cloud, zone_id: str, owner: str, vxnet_id: str) -> Vxnet:
    vxnet = cloud.vxnets.get(vxnet_id)
    if vxnet is None or vxnet.zone_id != zone_id:
        raise not_found(vxnet_id)
    if vxnet.owner != owner:
        raise denied(f"you are not the owner of [{vxnet_id}]")
    return vxnet


def owned_nic(cloud: Cloud, zone_id: str, owner: str, nic_id: str) -> Nic:
    nic = cloud.nics.get(normal_id(cloud, nic_id))
    if nic is None or nic.zone_id != zone_id:
        raise not_found(nic_id)
    if nic.owner != owner:
        raise denied(f"you are not the owner of [{nic_id}]")
    return nic


def normal_id(cloud: Cloud, nic_id: str) -> str:
    return nic_id.lower() if cloud.settings.nic_id_case == "any" else nic_id


def check_name(cloud: Cloud, name: str) -> str:
    longest = cloud.settings.nic_name_max
    if not longest or len(name) <= longest:
        return name
    if cloud.settings.nic_name_too_long == "truncate":
        return name[:longest]
    raise bad_format(f"nic_name is longer than {longest} characters")


def create(
    cloud: Cloud,
    vxnet: Vxnet,
    *,
    name: str,
    count: int,
    private_ips: t.Sequence[str],
    disable_ip: bool,
    lag: float,
) -> list[Nic]:
    """All of them or none; each has an address unless ``disable_ip`` or the vxnet has no network."""
    settings, now = cloud.settings, cloud.clock.now()
    name = check_name(cloud, name)
    if vxnet.vxnet_type == BASE_NETWORK and settings.base_network_nics == "refuse":
        raise denied(f"nics can not be created in base network [{vxnet.vxnet_id}]")
    count = _count(cloud, count, private_ips)
    _check_account(cloud, vxnet.owner, count)
    book = None if disable_ip else cloud.network_of(vxnet)
    if book is None and not disable_ip and settings.create_without_router == "refuse":
        raise denied(f"vxnet [{vxnet.vxnet_id}] is not joined to a router")
    wanted: list[str | None] = [None] * count
    if book is not None:
        wanted[: len(private_ips)] = private_ips[:count]
        book.check([address for address in wanted if address], settings)
        if book.left(settings, now) < count:
            raise ApiError(settings.vxnet_full_code, f"not enough private ips left in [{vxnet.vxnet_id}]")
    made: list[Nic] = []
    for address in wanted:  # those that were asked for come first, so the others cannot take them
        nic = Nic(
            cloud.new_mac(),
            vxnet.zone_id,
            vxnet.owner,
            vxnet.vxnet_id,
            book.take(address, settings, now) if book else None,
            now,
            now,
            visible_from=now + max(lag, settings.describe_lag),
            nic_name=name,
            security_group=settings.secondary_security_group,
        )
        cloud.nics[nic.nic_id] = nic
        made.append(nic)
    return made


def delete(cloud: Cloud, nics: t.Sequence[Nic]) -> None:
    """The NICs are available: the caller has looked."""
    for nic in nics:
        _give_back(cloud, nic)
        del cloud.nics[nic.nic_id]
        if cloud.settings.delete_lag:
            cloud.ghosts.append((cloud.clock.now() + cloud.settings.delete_lag, nic))
        for tag in cloud.tags_of("nic", nic.nic_id):
            tag.pairs.discard(("nic", nic.nic_id))


def why_not_deletable(cloud: Cloud, nic: Nic) -> str | None:
    if nic.status == IN_USE:
        return f"nic [{nic.nic_id}] is attached to [{nic.instance_id}], detach it first"
    if any(nic.nic_id in job.nic_ids for job in cloud.live_jobs()):
        return f"nic [{nic.nic_id}] has a job that is not over"
    return None


def change_address(cloud: Cloud, nic: Nic, private_ip: str) -> None:
    book = cloud.network_of(cloud.vxnets[nic.vxnet_id])
    if book is None:
        raise denied(f"vxnet [{nic.vxnet_id}] is not joined to a router")
    if nic.private_ip == private_ip:
        return
    _check_changeable(cloud, nic)
    address = book.take(private_ip, cloud.settings, cloud.clock.now())
    _give_back(cloud, nic)
    nic.private_ip = address


def change_vxnet(cloud: Cloud, nic: Nic, vxnet: Vxnet, private_ip: str | None) -> None:
    if nic.status != AVAILABLE:
        raise denied(f"nic [{nic.nic_id}] is attached, its vxnet can not be changed")
    book = cloud.network_of(vxnet)
    address = book.take(private_ip, cloud.settings, cloud.clock.now()) if book else None
    _give_back(cloud, nic)
    nic.vxnet_id, nic.private_ip = vxnet.vxnet_id, address


def set_attached(cloud: Cloud, nic: Nic, instance_id: str, moment: float) -> None:
    """Flip to in-use with the lowest free number from 1, or the next one where numbers are not reused."""
    if nic.status == IN_USE:
        return
    taken = {other.sequence for other in cloud.nics_of(instance_id)}
    number = 1 if cloud.settings.sequence_reuse else cloud.last_sequence.get(instance_id, 0) + 1
    while number in taken:
        number += 1
    cloud.last_sequence[instance_id] = max(number, cloud.last_sequence.get(instance_id, 0))
    nic.status, nic.instance_id, nic.sequence, nic.status_time = IN_USE, instance_id, number, moment


def set_detached(nic: Nic, moment: float) -> None:
    nic.status, nic.instance_id, nic.sequence, nic.status_time = AVAILABLE, "", 0, moment


def _check_changeable(cloud: Cloud, nic: Nic) -> None:
    if nic.status != AVAILABLE and cloud.settings.modify_attached_address == "refuse":
        raise denied(f"nic [{nic.nic_id}] is attached, its private ip can not be changed")


def _give_back(cloud: Cloud, nic: Nic) -> None:
    book = cloud.addresses.get(nic.vxnet_id)
    if book is not None:
        book.give_back(nic.private_ip, cloud.settings, cloud.clock.now())


def _count(cloud: Cloud, count: int, private_ips: t.Sequence[str]) -> int:
    if private_ips and len(private_ips) != count:
        rule = cloud.settings.private_ips_mismatch
        if rule == "error":
            raise bad_format(f"count [{count}] does not match {len(private_ips)} private ips")
        count = len(private_ips) if rule == "ips" else count
    if not 1 <= count <= COUNT_MAX:
        raise ApiError(cloud.settings.illegal_value_code, f"count [{count}] is not within 1..{COUNT_MAX}")
    return count


def _check_account(cloud: Cloud, owner: str, count: int) -> None:
    most = cloud.settings.nics_per_account
    have = sum(1 for nic in cloud.nics.values() if nic.owner == owner)
    if most and have + count > most:
        raise ApiError(2500, f"you can only have [{most}] nics at most")
