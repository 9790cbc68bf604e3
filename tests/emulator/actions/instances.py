# SPDX-License-Identifier: GPL-3.0-or-later
"""DescribeInstances and DescribeJobs."""

from __future__ import annotations

from tests.emulator import jobs, views
from tests.emulator.actions.call import Call
from tests.emulator.models import JOB_STATUSES
from tests.emulator.views import Item

INSTANCE_STATUSES = ("pending", "running", "stopped", "suspended", "terminated", "ceased")


def describe_instances(call: Call) -> Item:
    params, cloud = call.params, call.cloud
    mine = call.mine(cloud.instances.values())
    found = mine
    wanted = params.items("instances")
    if wanted:
        call.known(wanted, {one.instance_id for one in mine}, cloud.settings.unknown_instance)
        found = [one for one in found if one.instance_id in wanted]
    statuses = params.items("status")
    if statuses:
        call.legal("status", statuses, INSTANCE_STATUSES)
        found = [one for one in found if one.status in statuses]
    types = params.items("instance_type")
    if types:
        found = [one for one in found if one.instance_type in types]
    tags = params.items("tags")
    if tags:
        found = [one for one in found if any(tag.tag_id in tags for tag in cloud.tags_of("instance", one.instance_id))]
    word = params.text("search_word")
    if word:
        found = [one for one in found if word in one.instance_id or word in one.instance_name]
    verbose = bool(params.flag("verbose", 0))
    return call.answer(
        "instance_set",
        found,
        lambda one: one.instance_id,
        lambda one: views.instance_item(cloud, one, verbose),
        len(mine),
    )


def describe_jobs(call: Call) -> Item:
    params, cloud = call.params, call.cloud
    jobs.forget_old(cloud)
    mine = call.mine(cloud.jobs.values())
    found = mine
    wanted = params.items("jobs")
    if wanted:
        call.known(wanted, {job.job_id for job in mine}, cloud.settings.unknown_job)
        found = [job for job in found if job.job_id in wanted]
    statuses = params.items("status")
    if statuses:
        call.legal("status", statuses, JOB_STATUSES)
        found = [job for job in found if job.status in statuses]
    actions = params.items("job_action")
    if actions:
        found = [job for job in found if job.action in actions]
    return call.answer("job_set", found, lambda job: job.job_id, views.job_item, len(mine))
