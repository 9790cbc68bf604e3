# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything about the cloud that no source says, each with the default that the emulator takes.

The number in front of a group is its number in the list of unknowns; ``probe.json`` (a flat object of these
names, measured on a real account) replaces the defaults. Code settings are ``ret_code`` values.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing as t
from dataclasses import dataclass
from pathlib import Path

from tests.emulator.errors import EmulatorError


@dataclass(frozen=True)
class Settings:
    """Seconds, counts and ret_codes; 0 means "no limit" where a limit is named ``*_max`` or ``*_per_*``."""

    # 1: NICs on one instance, the primary included; by instance type where that differs
    nics_per_instance: int = 64
    nics_per_instance_type: t.Mapping[str, int] = dataclasses.field(default_factory=dict)
    nic_limit_code: int = 1400
    nic_limit_first: bool = False  # a list longer than the limit is refused for that, before its NICs are looked at

    # 2: length of nics.n
    attach_list_max: int = 0
    detach_list_max: int = 0
    delete_list_max: int = 0
    list_too_long_code: int = 1100

    # 3: a list with one NIC that cannot be attached or detached; what a job that did half of it says
    attach_all_or_nothing: bool = True
    detach_all_or_nothing: bool = True
    delete_all_or_nothing: bool = True
    partial_job_status: t.Literal["done with failure", "failed", "successful"] = "done with failure"
    error_codes_format: t.Literal["codes", "json", "empty"] = "codes"

    # 4: when DescribeNics shows a change that a job makes; whether a number is used again after a detach
    nic_status_flip: t.Literal["end", "start"] = "end"
    sequence_reuse: bool = True

    # 5: a call on a NIC or an instance that already has a live job
    parallel_jobs_per_instance: t.Literal["allow", "refuse", "queue"] = "allow"
    parallel_jobs_per_nic: t.Literal["refuse", "queue", "allow"] = "refuse"
    busy_code: int = 1400

    # 6: instances that do not run
    attach_stopped_code: int = 1400
    nics_on_stop: t.Literal["keep", "free"] = "keep"
    nics_on_restart: t.Literal["keep", "free"] = "keep"
    nics_on_terminate: t.Literal["keep", "free", "delete"] = "free"
    nics_on_cease: t.Literal["free", "delete"] = "free"

    # 7: addresses of a vxnet
    address_order: t.Literal["lowest", "highest", "next", "random"] = "lowest"
    address_reuse_delay: float = 0.0
    reserved_addresses: int = 1
    bad_private_ip_code: int = 1100
    duplicate_private_ip_code: int = 1400
    private_ips_mismatch: t.Literal["error", "ips", "count"] = "error"
    vxnet_full_code: int = 2500
    nics_per_account: int = 0

    # 8: CreateNics in a vxnet that no router gives a network to
    create_without_router: t.Literal["no_address", "refuse"] = "no_address"
    missing_private_ip: t.Literal["null", "empty", "absent"] = "null"

    # 9: CreateNics and AttachNics in a base network
    base_network_nics: t.Literal["refuse", "allow"] = "refuse"

    # 10: nic_name as a filter, and how long a name may be
    nic_name_match: t.Literal["exact", "prefix", "substring"] = "exact"
    nic_name_max: int = 0
    nic_name_too_long: t.Literal["refuse", "truncate"] = "refuse"

    # 11: paging
    limit_overflow: t.Literal["clamp", "error"] = "clamp"
    limit_invalid: t.Literal["default", "error"] = "default"
    describe_order: t.Literal["created", "newest", "id", "random"] = "created"
    total_count: t.Literal["filtered", "all"] = "filtered"

    # 12: ids that do not exist (or are another account's)
    unknown_nic: t.Literal["omit", "2100"] = "omit"
    unknown_vxnet: t.Literal["omit", "2100"] = "omit"
    unknown_instance: t.Literal["omit", "2100"] = "omit"
    unknown_router: t.Literal["2100", "omit"] = "2100"
    unknown_job: t.Literal["2100", "omit"] = "2100"
    illegal_value_code: int = 1100

    # 13
    unknown_action_code: int = 1400

    # 14: how far ahead a stamp may be; whether `expires` widens the window; the same request twice
    future_stamp_seconds: float = 60.0
    expires_widens_window: bool = False
    replay: t.Literal["allow", "refuse"] = "allow"
    req_id_deduplicates: bool = False

    # 15: calls a second in bursts of so many, then refusal for the penalty; calls a day from 00:00 at the offset
    rate_per_second: float = 0.0
    rate_burst: int = 20
    rate_penalty: float = 30.0
    rate_scope: t.Literal["key", "account"] = "key"
    calls_per_day: int = 0
    day_utc_offset_hours: int = 8

    # 16
    missing_zone_code: int = 1100
    unknown_zone_code: int = 1400

    # 17: seconds that a job waits, works (and works for each NIC), and stays listed when it is over
    job_pending_seconds: float = 0.5
    job_working_seconds: float = 3.0
    job_seconds_per_nic: float = 0.0
    router_job_working_seconds: float = 20.0
    job_retention_seconds: float = 86400.0

    # 18: networks that still hold NICs
    delete_vxnet_with_nics: t.Literal["refuse", "allow"] = "refuse"
    leave_router_with_nics: t.Literal["refuse", "allow"] = "refuse"

    # 19: how long a created NIC is not seen by DescribeNics, and a deleted one still is
    describe_lag: float = 0.0
    delete_lag: float = 0.0

    # 20: what DescribeVxnets says
    available_ip_count: t.Literal["allocatable", "dhcp_range"] = "allocatable"
    router_mode: int = 1
    tunnel_type: str = "vxlan"

    # 21: metadata and role credentials
    metadata_body: t.Literal["by_accept", "double", "plain"] = "by_accept"
    metadata_404_body: str = ""
    iam_signature_version: t.Literal["any", "2"] = "any"

    # 22: tags on NICs, and tags.n on DescribeNics
    nic_tags: t.Literal["refuse", "allow"] = "refuse"
    nic_tag_filter: t.Literal["ignore", "filter"] = "ignore"

    # 23: the security group that a secondary NIC shows
    secondary_security_group: str = ""

    # 24: HTTP status of requests that cannot be read; longest request line; POST for every action
    malformed_status: int = 200
    url_max: int = 0
    url_too_long_status: int = 414
    post: t.Literal["allow", "refuse"] = "allow"

    # 25: upper-case hex digits in nics.n
    nic_id_case: t.Literal["any", "lower"] = "any"

    # 26
    mac_prefix: str = "52:54"

    # In the Go SDK alone: whether ModifyNicAttributes takes enable_aspoof, the code that refuses it, and whether
    # DescribeNics shows it
    aspoof_change: t.Literal["accept", "refuse"] = "accept"
    aspoof_refused_code: int = 1100
    aspoof_shown: bool = False

    # Not unknown but a property of the place: what the fabric checks of NICs with enable_aspoof=1, how long
    # a call takes, how many seconds the cloud's clock is ahead of this machine's, and whether an attached NIC's
    # address may be changed.
    port_security: t.Literal["off", "mac", "mac+ip"] = "mac+ip"
    api_latency: float = 0.0
    wall_ahead: float = 0.0
    modify_attached_address: t.Literal["refuse", "allow"] = "refuse"

    @classmethod
    def load(cls, path: Path) -> Settings:
        """The defaults with what the JSON file says; raises EmulatorError for a key or value that is none."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise EmulatorError(f"{path}: not JSON: {error}") from error
        if not isinstance(content, dict):
            raise EmulatorError(f"{path}: not an object of setting names")
        return cls().changed(content)

    def changed(self, changes: t.Mapping[str, t.Any]) -> Settings:
        """A copy with the named settings replaced, each checked against its type."""
        hints = t.get_type_hints(type(self))
        values: dict[str, t.Any] = {}
        for name, value in changes.items():
            if name not in hints:
                nearest = difflib.get_close_matches(name, hints, n=1, cutoff=0.0)
                raise EmulatorError(f"unknown setting {name!r}, the nearest valid one is {nearest[0]!r}")
            values[name] = _checked(name, value, hints[name])
        return dataclasses.replace(self, **values)

    def to_dict(self) -> dict[str, t.Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def _checked(name: str, value: t.Any, wanted: t.Any) -> t.Any:
    if t.get_origin(wanted) is t.Literal:
        choices = t.get_args(wanted)
        value = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if value in choices:
            return value
        raise EmulatorError(f"setting {name!r}: {value!r} is none of {', '.join(choices)}")
    if wanted is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if wanted is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if wanted in (bool, str) and isinstance(value, wanted):
        return value
    if t.get_origin(wanted) is not None and isinstance(value, dict):
        if all(isinstance(key, str) and number.__class__ is int for key, number in value.items()):
            return dict(value)
        raise EmulatorError(f"setting {name!r}: {value!r} is not an object of whole numbers")
    raise EmulatorError(f"setting {name!r}: {value!r} is no {getattr(wanted, '__name__', wanted)}")
