# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case behind `hostnic_sweep`: what is found, what may go, what is told of it."""

from __future__ import annotations

import time
import typing as t

from ..hostnic import strays
from ..hostnic.configuration import values
from ..hostnic.ports import Cloud
from .nic_facts import facts, picture


def sweep(
    options: t.Mapping[str, t.Any], cloud: Cloud, check: bool, wall: t.Callable[[], float] = time.time
) -> dict[str, t.Any]:
    """The module's result. `wall` gives Unix seconds, as the cloud's times are. Raises `HostnicError`."""
    grace = values.parse("duration", options["grace"], "grace")
    found = strays.find(cloud, options["gatewayns"])
    now = wall()
    doomed = [stray for stray in found if stray.over(grace, now)]
    told = [
        {
            **facts(stray.nic),
            "owner": stray.instance_id,
            "reason": stray.reason,
            "since": None if stray.since is None else int(stray.since),
            "deletable": stray in doomed,
        }
        for stray in found
    ]
    if options["state"] == "reported":
        return {"changed": False, "strays": told, "deleted": [], "diff": _diff(found, ())}
    deleted = [stray.nic.nic_id for stray in doomed]
    if doomed and not check:
        deleted = strays.delete(cloud, doomed, options["gatewayns"])
    return {"changed": bool(deleted), "strays": told, "deleted": deleted, "diff": _diff(found, deleted)}


def _diff(found: t.Sequence[strays.Stray], deleted: t.Container[str]) -> dict[str, str]:
    nics = [stray.nic for stray in found]
    return {"before": picture(nics), "after": picture(nic for nic in nics if nic.nic_id not in deleted)}
