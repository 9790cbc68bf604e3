# SPDX-License-Identifier: GPL-3.0-or-later
"""The things of the cloud. Times are Unix seconds; ids are shaped as in the documentation's samples."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

AVAILABLE: t.Final = "available"
IN_USE: t.Final = "in-use"

SELF_MANAGED, MANAGED, BASE_NETWORK = 0, 1, 2
SECONDARY, PRIMARY = 0, 1

PENDING: t.Final = "pending"
WORKING: t.Final = "working"
SUCCESSFUL: t.Final = "successful"
FAILED: t.Final = "failed"
DONE_WITH_FAILURE: t.Final = "done with failure"
JOB_STATUSES: t.Final = (PENDING, WORKING, SUCCESSFUL, FAILED, DONE_WITH_FAILURE)


@dataclass
class Zone:
    zone_id: str
    status: str = "active"


@dataclass
class AccessKey:
    """An API key, or (with ``token``) the temporary credential of a role."""

    access_key_id: str
    secret_access_key: str
    owner: str
    created: float
    token: str | None = None
    expires: float | None = None


@dataclass
class Role:
    """An IAM role attached to an instance."""

    role: str
    owner: str
    lifetime: float = 3600.0


@dataclass
class Router:
    router_id: str
    zone_id: str
    owner: str
    created: float
    vpc_network: str | None = None
    router_name: str = ""
    status: str = "active"


@dataclass
class Vxnet:
    vxnet_id: str
    zone_id: str
    owner: str
    created: float
    vxnet_name: str = ""
    vxnet_type: int = MANAGED
    ip_network: str | None = None
    manager_ip: str | None = None
    router_id: str | None = None
    tunnel_type: str | None = None
    dhcp: bool = True


@dataclass
class Instance:
    instance_id: str
    zone_id: str
    owner: str
    created: float
    status_time: float
    instance_name: str = ""
    instance_type: str = "c1m1"
    status: str = "running"
    transition_status: str = ""
    netns: str | None = None
    eip: str | None = None
    role: Role | None = None


@dataclass
class Nic:
    """A network card; its id is its MAC address."""

    nic_id: str
    zone_id: str
    owner: str
    vxnet_id: str
    private_ip: str | None
    created: float
    status_time: float
    visible_from: float
    nic_name: str = ""
    status: str = AVAILABLE
    instance_id: str = ""
    role: int = SECONDARY
    sequence: int = 0
    enable_aspoof: int = 1
    security_group: str = ""


@dataclass
class Tag:
    """``pairs``: (resource_type, resource_id)."""

    tag_id: str
    zone_id: str
    owner: str
    created: float
    tag_name: str
    color: str = ""
    pairs: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class Job:
    """An AttachNics or DetachNics under way or done, or a LeaveRouter (``instance_ids``: router and vxnets).

    ``starts`` is None while the job waits behind others; ``ends`` is infinite for a job that is stuck.
    ``works_for`` of the job's NICs succeed (all of them when None); ``forced_status`` overrides the outcome;
    ``before`` keeps (instance, sequence) of NICs whose status was changed when the job was taken on.
    """

    job_id: str
    action: str
    zone_id: str
    owner: str
    instance_ids: tuple[str, ...]
    nic_ids: tuple[str, ...]
    directive: str
    created: float
    status_time: float
    status: str = PENDING
    starts: float | None = None
    ends: float | None = None
    stuck: bool = False
    works_for: int | None = None
    forced_status: str | None = None
    error_codes: str = ""
    before: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        return self.status in (PENDING, WORKING)
