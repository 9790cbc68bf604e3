# SPDX-License-Identifier: GPL-3.0-or-later
"""Which NICs may go on or come off an instance: the rules that AttachNics and DetachNics start from.

The caller holds the cloud's lock.
"""

from __future__ import annotations

import typing as t

from tests.emulator import nics as nic_rules
from tests.emulator.cloud import Cloud
from tests.emulator.errors import ApiError, denied, not_found
from tests.emulator.models import AVAILABLE, BASE_NETWORK, IN_USE, PRIMARY, Instance, Job, Nic

ATTACH, DETACH = "AttachNics", "DetachNics"


def owned_instance(cloud: Cloud, zone_id: str, owner: str, instance_id: str) -> Instance:
    instance = cloud.instances.get(instance_id)
    if instance is None or instance.zone_id != zone_id:
        raise not_found(instance_id)
    if instance.owner != owner:
        raise denied(f"you are not the owner of [{instance_id}]")
    return instance


def check_attach(cloud: Cloud, zone_id: str, owner: str, instance: Instance, nic_ids: t.Sequence[str]) -> None:
    """Raise when the call is refused. With partial attach, only when no NIC of the list can be attached."""
    settings = cloud.settings
    _check_length(cloud, nic_ids, settings.attach_list_max)
    if instance.status != "running" or instance.transition_status:
        text = f"instance [{instance.instance_id}] is not running, nics can not be attached"
        raise ApiError(settings.attach_stopped_code, text)
    _check_instance_busy(cloud, instance.instance_id)
    if settings.nic_limit_first:
        check_limit(cloud, instance, nic_ids)

    def fits(nic_id: str) -> None:
        nic = nic_rules.owned_nic(cloud, zone_id, owner, nic_id)
        _check_nic_busy(cloud, nic)
        if nic.status != AVAILABLE and not _has_queued_job(cloud, nic, DETACH):
            raise denied(f"nic [{nic_id}] is not available, it can not be attached")
        if cloud.vxnets[nic.vxnet_id].vxnet_type == BASE_NETWORK and settings.base_network_nics == "refuse":
            raise denied(f"nic [{nic_id}] lies in a base network, it can not be attached")

    good = _check_each(nic_ids, fits, settings.attach_all_or_nothing)
    check_limit(cloud, instance, good)


def check_detach(cloud: Cloud, zone_id: str, owner: str, nic_ids: t.Sequence[str]) -> tuple[str, ...]:
    """The instances that the NICs are on; raises when the call is refused."""
    settings = cloud.settings
    _check_length(cloud, nic_ids, settings.detach_list_max)

    def fits(nic_id: str) -> None:
        nic = nic_rules.owned_nic(cloud, zone_id, owner, nic_id)
        _check_nic_busy(cloud, nic)
        if nic.status != IN_USE and not _has_queued_job(cloud, nic, ATTACH):
            raise denied(f"nic [{nic_id}] is not in use, it can not be detached")
        if nic.role == PRIMARY:
            raise denied(f"nic [{nic_id}] is the primary nic, it can not be detached")

    good = _check_each(nic_ids, fits, settings.detach_all_or_nothing)
    found: dict[str, None] = {}
    for nic_id in good:
        nic = nic_rules.owned_nic(cloud, zone_id, owner, nic_id)
        queued = [job for job in cloud.live_jobs() if nic.nic_id in job.nic_ids]
        found.update(dict.fromkeys([nic.instance_id] if nic.instance_id else queued[-1].instance_ids))
    for instance_id in found:
        _check_instance_busy(cloud, instance_id)
    return tuple(found)


def check_limit(cloud: Cloud, instance: Instance, adding: t.Iterable[str]) -> None:
    """NICs of live attach jobs count as attached."""
    most = limit_of(cloud, instance)
    have = {nic.nic_id for nic in cloud.nics_of(instance.instance_id)} | set(adding)
    for job in cloud.live_jobs():
        if job.action == ATTACH and instance.instance_id in job.instance_ids:
            have.update(job.nic_ids)
    if most and len(have) > most:
        text = f"you can only attach [{most}] nics to one instance at most"
        raise ApiError(cloud.settings.nic_limit_code, text)


def limit_of(cloud: Cloud, instance: Instance) -> int:
    by_type = cloud.settings.nics_per_instance_type
    return by_type.get(instance.instance_type, cloud.settings.nics_per_instance)


def waits(cloud: Cloud, job: Job) -> bool:
    """An earlier live job stands before this one in a queue."""
    settings = cloud.settings
    for other in cloud.live_jobs():
        if other.job_id == job.job_id:
            return False
        if settings.parallel_jobs_per_nic == "queue" and set(other.nic_ids) & set(job.nic_ids):
            return True
        same_instance = set(other.instance_ids) & set(job.instance_ids)
        if settings.parallel_jobs_per_instance == "queue" and same_instance:
            return True
    return False


def why_not_now(cloud: Cloud, job: Job, nic_id: str) -> ApiError | None:
    """What, when the job comes to act, stands against one of its NICs."""
    nic: Nic | None = cloud.nics.get(nic_id)
    if nic is None:
        return not_found(nic_id)
    flipped = cloud.settings.nic_status_flip == "start"
    if job.action == DETACH:
        return None if flipped or nic.status == IN_USE else denied(f"nic [{nic_id}] is not in use")
    instance = cloud.instances[job.instance_ids[0]]
    if instance.status != "running":
        return denied(f"instance [{instance.instance_id}] is not running")
    if nic.status != AVAILABLE and not (flipped and nic.instance_id == instance.instance_id):
        return denied(f"nic [{nic_id}] is not available")
    return None


def _check_each(nic_ids: t.Sequence[str], check: t.Callable[[str], None], all_or_nothing: bool) -> list[str]:
    good: list[str] = []
    first: ApiError | None = None
    for nic_id in nic_ids:
        try:
            check(nic_id)
        except ApiError as error:
            if all_or_nothing:
                raise
            first = first or error
        else:
            good.append(nic_id)
    if first is not None and not good:
        raise first
    return good


def _check_length(cloud: Cloud, nic_ids: t.Sequence[str], most: int) -> None:
    if most and len(nic_ids) > most:
        raise ApiError(cloud.settings.list_too_long_code, f"nics has {len(nic_ids)} items, {most} are allowed")


def _check_nic_busy(cloud: Cloud, nic: Nic) -> None:
    if cloud.settings.parallel_jobs_per_nic != "refuse":
        return
    if any(nic.nic_id in job.nic_ids for job in cloud.live_jobs()):
        raise ApiError(cloud.settings.busy_code, f"nic [{nic.nic_id}] has a job that is not over")


def _check_instance_busy(cloud: Cloud, instance_id: str) -> None:
    if cloud.settings.parallel_jobs_per_instance != "refuse":
        return
    if any(instance_id in job.instance_ids for job in cloud.live_jobs()):
        raise ApiError(cloud.settings.busy_code, f"instance [{instance_id}] has a job that is not over")


def _has_queued_job(cloud: Cloud, nic: Nic, action: str) -> bool:
    queue = cloud.settings.parallel_jobs_per_nic == "queue"
    return queue and any(nic.nic_id in job.nic_ids and job.action == action for job in cloud.live_jobs())
