# SPDX-License-Identifier: GPL-3.0-or-later
"""AttachNics and DetachNics: checked at once, done by a job."""

from __future__ import annotations

import typing as t

from tests.emulator import attachment, jobs
from tests.emulator import nics as rules
from tests.emulator.actions.call import Call
from tests.emulator.attachment import ATTACH, DETACH
from tests.emulator.faults import JOB_FAILED, JOB_PARTIAL, JOB_STUCK
from tests.emulator.models import FAILED
from tests.emulator.views import Item


def attach(call: Call) -> Item:
    nic_ids = _nic_ids(call)
    instance_id = call.params.required("instance")
    instance = attachment.owned_instance(call.cloud, call.zone_id, call.owner, instance_id)
    attachment.check_attach(call.cloud, call.zone_id, call.owner, instance, nic_ids)
    return _submit(call, ATTACH, (instance_id,), nic_ids)


def detach(call: Call) -> Item:
    nic_ids = _nic_ids(call)
    instance_ids = attachment.check_detach(call.cloud, call.zone_id, call.owner, nic_ids)
    return _submit(call, DETACH, instance_ids, nic_ids)


def _nic_ids(call: Call) -> list[str]:
    named = call.params.required_items("nics")
    return list(dict.fromkeys(rules.normal_id(call.cloud, nic_id) for nic_id in named))


def _submit(call: Call, action: str, instance_ids: t.Sequence[str], nic_ids: t.Sequence[str]) -> Item:
    stuck = call.faults.take(action, JOB_STUCK)
    failed = call.faults.take(action, JOB_FAILED)
    partial = None if failed else call.faults.take(action, JOB_PARTIAL)
    works_for = 0 if failed else partial.done if partial else None
    forced = FAILED if failed else partial.job_status if partial else None
    job = jobs.submit(
        call.cloud,
        action,
        zone_id=call.zone_id,
        owner=call.owner,
        instance_ids=instance_ids,
        nic_ids=nic_ids,
        directive=call.params.directive(),
        stuck=stuck is not None,
        works_for=works_for,
        forced_status=forced,
    )
    return {"job_id": job.job_id}
