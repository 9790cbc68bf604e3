# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs: taken on, run in the order of their times, forgotten. Pure bookkeeping; ``runner`` gives it time."""

from __future__ import annotations

import json
import logging
import math
import typing as t

from tests.emulator import nics as nic_rules
from tests.emulator.attachment import ATTACH, DETACH, waits, why_not_now
from tests.emulator.cloud import Cloud
from tests.emulator.dataplane.base import DataPlaneError
from tests.emulator.errors import ApiError
from tests.emulator.models import FAILED, PENDING, SUCCESSFUL, WORKING, Job

LEAVE_ROUTER = "LeaveRouter"
_log = logging.getLogger(__name__)


def submit(
    cloud: Cloud,
    action: str,
    *,
    zone_id: str,
    owner: str,
    instance_ids: t.Sequence[str],
    nic_ids: t.Sequence[str],
    directive: str,
    stuck: bool = False,
    works_for: int | None = None,
    forced_status: str | None = None,
) -> Job:
    """Under the cloud's lock. The job starts ``job_pending_seconds`` after nothing stands before it."""
    now = cloud.clock.now()
    job = Job(
        cloud.new_id("j"), action, zone_id, owner, tuple(instance_ids), tuple(nic_ids), directive, now, now,
        stuck=stuck, works_for=works_for, forced_status=forced_status,
    )  # fmt: skip
    cloud.jobs[job.job_id] = job
    _time_queue(cloud, now)
    if cloud.settings.nic_status_flip == "start":
        for nic_id in nic_ids:
            if why_not_now(cloud, job, nic_id) is None:
                _flip(cloud, job, nic_id, now)
    return job


def next_event(cloud: Cloud) -> tuple[float, Job] | None:
    """When the next job changes its state, by itself; None when none will."""
    coming: list[tuple[float, Job]] = []
    for job in cloud.live_jobs():
        moment = job.starts if job.status == PENDING else job.ends
        if moment is not None and moment < math.inf:
            coming.append((moment, job))
    return min(coming, key=lambda event: event[0], default=None)


def run_next(cloud: Cloud, now: float) -> bool:
    """Take the next change that is due; False when there is none. Not under the cloud's lock."""
    with cloud.lock:
        event = next_event(cloud)
        if event is None or event[0] > now:
            return False
        moment, job = event
        if job.status == PENDING:
            _start(cloud, job, moment)
            return True
        todo, errors = _plan(cloud, job)
        left = _leave(cloud, job)
    for vxnet_id in left:
        cloud.dataplane.remove_leg(vxnet_id)
    refused = _act(cloud, job, todo)
    errors.update(dict.fromkeys(refused, 5000))
    done = [nic_id for nic_id in todo if nic_id not in refused]
    with cloud.lock:
        for nic_id in done:
            _flip(cloud, job, nic_id, moment)
        for nic_id in errors:
            _undo(cloud, job, nic_id)
        _close(cloud, job, len(done), errors, moment)
        _time_queue(cloud, moment)
    return True


def release(cloud: Cloud) -> list[str]:
    """Let stuck jobs end now; their ids."""
    with cloud.lock:
        freed = [job for job in cloud.live_jobs() if job.stuck]
        for job in freed:
            job.stuck = False
            if job.status == WORKING:
                job.ends = cloud.clock.now()
        return [job.job_id for job in freed]


def forget_old(cloud: Cloud) -> None:
    """Drop finished jobs that are past their retention. Under the cloud's lock."""
    oldest = cloud.clock.now() - cloud.settings.job_retention_seconds
    for job in [job for job in cloud.jobs.values() if not job.live and job.status_time < oldest]:
        del cloud.jobs[job.job_id]


def _time_queue(cloud: Cloud, moment: float) -> None:
    for job in cloud.live_jobs():
        if job.starts is None and not waits(cloud, job):
            job.starts = moment + cloud.settings.job_pending_seconds


def _start(cloud: Cloud, job: Job, moment: float) -> None:
    settings = cloud.settings
    base = settings.job_working_seconds if job.action in (ATTACH, DETACH) else settings.router_job_working_seconds
    seconds = base + settings.job_seconds_per_nic * len(job.nic_ids)
    job.status, job.status_time = WORKING, moment
    job.ends = math.inf if job.stuck else moment + seconds


def _plan(cloud: Cloud, job: Job) -> tuple[list[str], dict[str, int]]:
    """(NICs to act on, ret_code of each that cannot be)."""
    todo: list[str] = []
    errors: dict[str, int] = {}
    for nic_id in job.nic_ids:
        reason = why_not_now(cloud, job, nic_id)
        if reason is not None:
            errors[nic_id] = reason.ret_code
        elif job.works_for is not None and len(todo) >= job.works_for:
            errors[nic_id] = 5000
        else:
            todo.append(nic_id)
    return todo, errors


def _leave(cloud: Cloud, job: Job) -> list[str]:
    """The vxnets that a LeaveRouter took from their router."""
    if job.action != LEAVE_ROUTER or job.works_for == 0:
        return []
    left = [vxnet_id for vxnet_id in job.instance_ids[1:] if vxnet_id in cloud.vxnets]
    for vxnet_id in left:
        cloud.vxnets[vxnet_id].router_id = None
    return left


def _act(cloud: Cloud, job: Job, todo: t.Sequence[str]) -> set[str]:
    """The NICs that the data plane refused."""
    try:
        if job.action == DETACH:
            cloud.dataplane.unplug(todo)
            return set()
        with cloud.lock:
            ports = [cloud.port_of(cloud.nics[nic_id], job.instance_ids[0]) for nic_id in todo]
        return cloud.dataplane.plug([port for port in ports if port is not None])
    except DataPlaneError:
        _log.exception("job %s", job.job_id)
        return set(todo)


def _flip(cloud: Cloud, job: Job, nic_id: str, moment: float) -> None:
    nic = cloud.nics.get(nic_id)
    if nic is None or nic_id in job.before:
        return
    job.before[nic_id] = (nic.instance_id, nic.sequence)
    if job.action == ATTACH:
        nic_rules.set_attached(cloud, nic, job.instance_ids[0], moment)
    else:
        nic_rules.set_detached(nic, moment)


def _undo(cloud: Cloud, job: Job, nic_id: str) -> None:
    nic = cloud.nics.get(nic_id)
    if nic is None or nic_id not in job.before:
        return
    instance_id, sequence = job.before[nic_id]
    nic.status = "in-use" if instance_id else "available"
    nic.instance_id, nic.sequence = instance_id, sequence


def _close(cloud: Cloud, job: Job, done: int, errors: dict[str, int], moment: float) -> None:
    if job.forced_status is not None:
        job.status = job.forced_status
    elif not errors and (job.nic_ids or job.works_for is None):
        job.status = SUCCESSFUL
    else:
        job.status = cloud.settings.partial_job_status if done else FAILED
    job.status_time = moment
    if errors and cloud.settings.error_codes_format == "codes":
        job.error_codes = " ".join(str(code) for code in sorted(set(errors.values())))
    elif errors and cloud.settings.error_codes_format == "json":
        job.error_codes = json.dumps(errors)


def refuse_if_busy(cloud: Cloud, resource_id: str) -> None:
    """For actions on networks: one job at a time on each."""
    if any(resource_id in job.instance_ids for job in cloud.live_jobs()):
        raise ApiError(cloud.settings.busy_code, f"[{resource_id}] has a job that is not over")
