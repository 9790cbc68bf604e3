# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of actions."""

from __future__ import annotations

import typing as t

from tests.emulator.actions import account, attach, instances, networks, nics, tags
from tests.emulator.actions.call import Call, Handler

ACTIONS: t.Final[t.Mapping[str, Handler]] = {
    "AttachNics": attach.attach,
    "AttachTags": tags.attach,
    "CreateNics": nics.create,
    "CreateTag": tags.create,
    "DeleteNics": nics.delete,
    "DeleteTags": tags.delete,
    "DeleteVxnets": networks.delete_vxnets,
    "DescribeAccessKeys": account.describe_access_keys,
    "DescribeInstances": instances.describe_instances,
    "DescribeJobs": instances.describe_jobs,
    "DescribeNics": nics.describe,
    "DescribeRouters": networks.describe_routers,
    "DescribeTags": tags.describe,
    "DescribeVxnetInstances": networks.describe_vxnet_instances,
    "DescribeVxnets": networks.describe_vxnets,
    "DescribeZones": account.describe_zones,
    "DetachNics": attach.detach,
    "DetachTags": tags.detach,
    "GetQuotaLeft": account.get_quota_left,
    "LeaveRouter": networks.leave_router,
    "ModifyNicAttributes": nics.modify,
}

ZONELESS: t.Final = frozenset({"DescribeAccessKeys", "DescribeZones"})

__all__ = ["ACTIONS", "ZONELESS", "Call", "Handler"]
