# SPDX-License-Identifier: GPL-3.0-or-later
"""What a probe has measured of this cloud (docs/probe.md): where the agent begins before it has learned for itself."""

from __future__ import annotations

import json
import logging
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from . import guarded
from .config import Settings
from .demand import USUAL_LEAD
from .errors import InvalidConfig

log = logging.getLogger("hostnic.probed")

NIC_LIMIT: t.Final = 64  # NICs that QingCloud attaches to an instance, the primary included
_LISTS: t.Final = ("attach_list_max", "detach_list_max", "delete_list_max")


@dataclass(frozen=True)
class Probed:
    """`serial`: one attach job at a time; `list_max`: ids in one call, 0 where no limit showed."""

    nic_limit: int = NIC_LIMIT
    serial: bool = False
    list_max: int = 0
    lead_time: float = USUAL_LEAD

    def fitted(self, settings: Settings, origins: t.Mapping[str, str]) -> Settings:
        """With lists that are no longer than the cloud takes, unless somebody has set how long they are."""
        if not self.list_max or origins.get("attach-chunk", "default") != "default":
            return settings
        return replace(settings, attach_chunk=min(settings.attach_chunk, self.list_max))


def read(path: Path) -> Probed:
    """Never raises: what is empty, not there or cannot be used is as if it had not been measured, and the log tells."""
    try:
        content = json.loads(guarded.read(path))
    except FileNotFoundError:
        return Probed()
    except InvalidConfig as error:
        log.warning("%s; going on as if nothing had been measured", error.message)
        return Probed()
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        log.warning("%s holds nothing that was measured: write it anew with the playbook probe", path)
        return Probed()
    found = _found(content)
    if content:
        log.info("measured of this cloud: %s", found)
    return found


def _found(content: t.Mapping[str, t.Any]) -> Probed:
    lists = [length for length in (_number(content, name) for name in _LISTS) if length]
    limit = _number(content, "nics_per_instance")
    latency, each = _number(content, "api_latency") or 0.0, _number(content, "job_seconds_per_nic") or 0.0
    pending, working = _number(content, "job_pending_seconds"), _number(content, "job_working_seconds")
    known = pending is not None and working is not None
    return Probed(
        nic_limit=int(limit) if limit else NIC_LIMIT,
        serial=content.get("parallel_jobs_per_instance") in ("refuse", "queue"),
        list_max=int(min(lists, default=0)),
        lead_time=round(2 * latency + (pending or 0.0) + (working or 0.0) + each, 3) if known else USUAL_LEAD,
    )


def _number(content: t.Mapping[str, t.Any], name: str) -> t.Optional[float]:
    value = content.get(name)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 else None
