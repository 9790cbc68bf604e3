# SPDX-License-Identifier: GPL-3.0-or-later
"""How NICs are told in results and in diffs."""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from ..hostnic.model import CloudNic


def facts(nic: CloudNic) -> dict[str, t.Any]:
    """Of one NIC."""
    told = asdict(nic)
    told["primary"] = told.pop("role") == 1
    told.pop("changed")
    told["created"] = int(told["created"])
    return told


def picture(nics: t.Iterable[CloudNic]) -> str:
    """For diff mode: a line a NIC."""
    lines = []
    for nic in nics:
        where = f"attached to {nic.instance_id}" if nic.attached else "free"
        lines.append(f"{nic.nic_id or 'a new NIC'} {nic.private_ip or '-'} {nic.vxnet_id} {nic.nic_name} {where}")
    return "".join(f"{line}\n" for line in sorted(lines))
