# SPDX-License-Identifier: GPL-3.0-or-later
"""DescribeZones, DescribeAccessKeys, GetQuotaLeft."""

from __future__ import annotations

from tests.emulator.actions.call import Call
from tests.emulator.clock import rfc3339
from tests.emulator.cloud import QUOTAS
from tests.emulator.views import Item


def describe_zones(call: Call) -> Item:
    wanted, statuses = call.params.items("zones"), call.params.items("status")
    found = [
        zone
        for zone in call.cloud.zones.values()
        if (not wanted or zone.zone_id in wanted) and (not statuses or zone.status in statuses)
    ]
    items = [{"zone_id": zone.zone_id, "status": zone.status} for zone in found]
    return {"total_count": len(items), "zone_set": items}


def describe_access_keys(call: Call) -> Item:
    wanted = call.params.items("access_keys")
    mine = [key for key in call.cloud.access_keys.values() if key.owner == call.owner and key.token is None]
    found = [key for key in mine if not wanted or key.access_key_id in wanted]
    return call.answer(
        "access_key_set",
        found,
        lambda key: key.access_key_id,
        lambda key: {
            "access_key_id": key.access_key_id,
            "access_key_name": "",
            "owner": key.owner,
            "status": "active",
            "create_time": rfc3339(key.created),
        },
        len(mine),
    )


def get_quota_left(call: Call) -> Item:
    """Types that have no quota (``nic`` is one) are left out of the answer."""
    used = {
        "instance": len(call.mine(call.cloud.instances.values())),
        "router": len(call.mine(call.cloud.routers.values())),
        "vxnet": len(call.mine(call.cloud.vxnets.values())),
        "tag": len(call.mine(call.cloud.tags.values())),
    }
    wanted = call.params.items("resource_types") or list(QUOTAS)
    left = [{"resource_type": kind, "left": QUOTAS[kind] - used.get(kind, 0)} for kind in wanted if kind in QUOTAS]
    return {"quota_left_set": left}
