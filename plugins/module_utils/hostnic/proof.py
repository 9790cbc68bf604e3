# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this machine is the instance that it says it is: the instance's primary NIC is a link of this machine."""

from __future__ import annotations

import typing as t

from .model import CloudNic


def primary_of(attached: t.Iterable[CloudNic]) -> t.Optional[CloudNic]:
    return next((nic for nic in attached if nic.role == 1), None)


def doubt(instance_id: str, attached: t.Sequence[CloudNic], macs: t.Container[str]) -> str:
    """Why it need not be; "" where it is proven. `attached`: the instance's NICs, `macs`: those of this machine."""
    primary = primary_of(attached)
    if primary is None:
        return f"the cloud shows no primary NIC of {instance_id}"
    if primary.nic_id not in macs:
        return f"{instance_id} is another machine: its primary NIC {primary.nic_id} is no link of this machine"
    return ""
