# SPDX-License-Identifier: GPL-3.0-or-later
"""NICs that agents made and nobody will take away any more, since their instance is gone."""

from __future__ import annotations

import logging
import typing as t
from dataclasses import dataclass

from .errors import Denied
from .model import CloudNic, Instance
from .nics import owner_of
from .ports import Cloud

log = logging.getLogger("hostnic.strays")

CHUNK: t.Final = 10  # NICs in one DeleteNics, each batch looked at just before


@dataclass(frozen=True)
class Stray:
    """`since`: Unix seconds from which it is known to be one, None where the cloud does not tell."""

    nic: CloudNic
    instance_id: str
    reason: str
    since: t.Optional[float]

    def over(self, grace: float, now: float) -> bool:
        """Whether it has been one for so long. What nobody knows is never long enough."""
        return not self.nic.attached and self.since is not None and now - self.since >= grace


def find(cloud: Cloud, gatewayns: str) -> list[Stray]:
    """All of the account in the zone, by address. Raises `Denied` where this key is not shown every instance."""
    return judge(cloud.all_nics(), cloud.describe_instances(), gatewayns)


def judge(nics: t.Sequence[CloudNic], instances: t.Sequence[Instance], gatewayns: str) -> list[Stray]:
    """Pure. An instance that has its primary NIC is not gone: whoever does not show it shows too little to judge by."""
    known = {instance.instance_id: instance for instance in instances}
    hidden = sorted({nic.instance_id for nic in nics if nic.role == 1 and nic.attached} - known.keys())
    if hidden:
        raise Denied(
            f"DescribeInstances does not show {', '.join(hidden[:3])}, whose primary NIC is there: use an access key"
            " that is shown all instances, or no NIC can be told a stray"
        )
    found = []
    for nic in nics:
        instance_id = owner_of(nic.nic_name, gatewayns)
        instance = known.get(instance_id)
        elsewhere = nic.attached and nic.instance_id != instance_id
        if not instance_id or nic.role == 1 or elsewhere or (instance is not None and not instance.gone):
            continue
        reason = f"{instance_id} is {instance.status}" if instance else f"the cloud has no {instance_id}"
        found.append(Stray(nic, instance_id, reason, _since(nic, instance)))
    return sorted(found, key=lambda stray: stray.nic.nic_id)


def _since(nic: CloudNic, instance: t.Optional[Instance]) -> t.Optional[float]:
    """The last thing that is known to have happened to the NIC or to its instance."""
    times = [nic.created, nic.changed, *([instance.changed] if instance else [])]
    return max(times) if all(times) else None


def delete(cloud: Cloud, strays: t.Sequence[Stray], gatewayns: str) -> list[str]:
    """Those that are strays at the last look still, unchanged; returns their ids. An error has `deleted` in details."""
    gone: list[str] = []
    for start in range(0, len(strays), CHUNK):
        batch = strays[start : start + CHUNK]
        nics = cloud.describe_nics(nic_ids=[stray.nic.nic_id for stray in batch])
        instances = cloud.describe_instances([stray.instance_id for stray in batch])
        still = judge(nics, instances, gatewayns)
        ids = [stray.nic.nic_id for stray in still if stray in batch and not stray.nic.attached]
        cloud.delete_nics(ids)
        gone += ids
    return gone
