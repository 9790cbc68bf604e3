# SPDX-License-Identifier: GPL-3.0-or-later
"""What is drawn once a run: what the cloud is like, and the agent's settings. The first of each is the simplest."""

from __future__ import annotations

import dataclasses
import typing as t

from hostnic.config import Settings
from tests.model.cloudside import NARROW, WIDE

Choices = t.Mapping[str, tuple[t.Any, ...]]

# What nobody knows about the cloud, see the emulator's README.
CLOUD: t.Final[Choices] = {
    "parallel_jobs_per_instance": ("allow", "refuse", "queue"),
    "parallel_jobs_per_nic": ("refuse", "queue"),
    "nic_status_flip": ("end", "start"),
    "attach_all_or_nothing": (True, False),
    "detach_all_or_nothing": (True, False),
    "delete_all_or_nothing": (True, False),
    "partial_job_status": ("done with failure", "failed", "successful"),
    "error_codes_format": ("codes", "empty"),
    "nic_name_match": ("exact", "prefix", "substring"),
    "describe_order": ("created", "newest", "id", "random"),
    "total_count": ("filtered", "all"),
    "unknown_nic": ("omit", "2100"),
    "unknown_job": ("2100", "omit"),
    "job_retention_seconds": (86400.0, 5.0),
    "job_working_seconds": (3.0, 12.0, 40.0),
    "nics_per_instance": (64, 12, 7),
    "nic_limit_code": (1400, 2500),
    "vxnet_full_code": (2500, 1400),
    "busy_code": (1400, 5100),
    "address_order": ("lowest", "next"),
    "address_reuse_delay": (0.0, 60.0),
    "sequence_reuse": (True, False),
    "describe_lag": (0.0, 3.0),
    "api_latency": (0.0, 0.1),
    "rate_per_second": (0.0, 3.0),
    "nics_on_restart": ("keep", "free"),
}
_AGENT: t.Final[Choices] = {
    "vxnet": ((WIDE,), (WIDE, NARROW), (NARROW,)),
    "policy": ("FailRotate", "RoundRotate", "Random"),
    "pool_low": (2, 1, 3, 0),
    "pool_high": (3, 5),
    "max_nics": (60, 6),
    "quarantine": (60.0, 15.0),
    "idle_ttl": (30.0, 120.0),
    "prewarm_ttl": (60.0, 86400.0),
    "attach_chunk": (10, 2),
    "api_rate": (5.0, 2.0),
}
_OF_SOME: t.Final[Choices] = {"degradation": ("", "", "", "", "L1", "L0")}  # of pools that have such settings


class Drawn(dict[str, t.Any]):
    """Settings that show only where they are not the simplest."""

    def __repr__(self) -> str:
        return repr({name: value for name, value in self.items() if value != SIMPLEST[name]})


def with_simplest(choices: Choices, chosen: t.Mapping[str, t.Any]) -> Drawn:
    """All settings, the simplest where nothing was chosen."""
    return Drawn({**{name: values[0] for name, values in choices.items()}, **chosen})


_known = {field.name for field in dataclasses.fields(Settings)}
AGENT: t.Final[Choices] = {**_AGENT, **{name: values for name, values in _OF_SOME.items() if name in _known}}
SIMPLEST: t.Final = {name: values[0] for name, values in {**CLOUD, **AGENT}.items()}
