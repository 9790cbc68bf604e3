# SPDX-License-Identifier: GPL-3.0-or-later
"""Every ret_code that the API documents on its error-code page, and what a person can do about it."""

from __future__ import annotations

import typing as t

BAD_FORMAT, BAD_METHOD, AUTH_FAILED, EXPIRED, ACCESS_DENIED = 1100, 1101, 1200, 1300, 1400
NOT_FOUND, EXISTS, OVER_QUOTA = 2100, 2110, 2500
INTERNAL, SERVER_BUSY, NO_RESOURCES, UPDATING = 5000, 5100, 5200, 5300


class Code(t.NamedTuple):
    """`remedy` begins with what to do; {action} and {thing}, what that acts on, are put in."""

    name: str
    remedy: str


_DEFECT: t.Final = "check zone and vxnet in the agent's settings; if they are right this is a defect of ours: report it"
_NO_API: t.Final = "check host, port and uri in the access file: this is no answer to an API key"
_LICENCE: t.Final = "ask whoever runs this cloud to renew its licence"
_BROKEN: t.Final = "ask whoever runs this cloud to repair its configuration"
_PASSES: t.Final = "wait, it is tried again by itself; if it lasts, ask QingCloud's support"
_BILLS: t.Final = "look at the account's bills in the console, or ask QingCloud's support"

CODES: t.Final[t.Mapping[int, Code]] = {
    BAD_FORMAT: Code("bad message format", _DEFECT),
    BAD_METHOD: Code("bad request method", _DEFECT),
    AUTH_FAILED: Code("authentication failed", "check the access key"),
    EXPIRED: Code("message expired", "set this machine's clock, for example with chrony or systemd-timesyncd"),
    ACCESS_DENIED: Code("access denied", "allow the key {action}, or see in the console what state {thing} is in"),
    1500: Code("sign-up failed", _NO_API),
    1510: Code("account exists", _NO_API),
    1520: Code("account malformed", _NO_API),
    1600: Code("login failed", _NO_API),
    1610: Code("login failed", _NO_API),
    1620: Code("login failed", _NO_API),
    1630: Code("login failed", _NO_API),
    1640: Code("login failed", _NO_API),
    1650: Code("login failed", _NO_API),
    1660: Code("login failed", _NO_API),
    1661: Code("login failed", _NO_API),
    1662: Code("login failed", _NO_API),
    2000: Code("login session expired", "renew the access key"),
    NOT_FOUND: Code("resource not found", "check zone in the agent's settings, and whose key this is"),
    EXISTS: Code("resource exists", "delete what is there already, or ask for another"),
    2200: Code("lease failed", _BILLS),
    2300: Code("un-lease failed", _BILLS),
    2400: Code("balance too low", "top up the account's balance"),
    OVER_QUOTA: Code("over quota", "ask QingCloud for a higher quota"),
    3300: Code("invalid API module", "check host and uri in the access file: this API lacks the module"),
    4000: Code("licence invalid", _LICENCE),
    4001: Code("licence expired", _LICENCE),
    4002: Code("licence duplicate", _LICENCE),
    4003: Code("licence exceeded", _LICENCE),
    4004: Code("licence not loaded", _LICENCE),
    4005: Code("licence missing", _LICENCE),
    INTERNAL: Code("internal error", _PASSES),
    SERVER_BUSY: Code("server busy", _PASSES),
    NO_RESOURCES: Code("not enough resources", "wait until the zone has room, or ask QingCloud for capacity"),
    UPDATING: Code("service updating", "wait, it is tried again by itself once the update is over"),
    5400: Code("dependency exists", "remove first what depends on {thing}"),
    5500: Code("service off", "ask QingCloud's support to switch the service on"),
    5600: Code("unsupported disk type", "check host and uri in the access file, and report it: no disk was asked for"),
    8000: Code("configuration file error", _BROKEN),
    8001: Code("configuration file error", _BROKEN),
    8002: Code("configuration file error", _BROKEN),
    8003: Code("configuration file error", _BROKEN),
    8004: Code("configuration file error", _BROKEN),
}
_UNKNOWN: t.Final = Code("", "look the code up in the API's documentation, or ask QingCloud's support")

# What an action acts on, in a remedy's words.
_THINGS: t.Final[t.Mapping[str, str]] = {
    "CreateNics": "the vxnet",
    "AttachNics": "the instance",
    "DetachNics": "the NIC",
    "DeleteNics": "the NIC",
    "ModifyNicAttributes": "the NIC",
    "DescribeVxnets": "the vxnet",
    "DescribeJobs": "the job",
}
# Where the same code asks for something else.
_PARTICULAR: t.Final[t.Mapping[tuple[int, str], str]] = {
    (NOT_FOUND, "CreateNics"): "check vxnet and zone in the agent's settings",
    (NOT_FOUND, "DescribeVxnets"): "check vxnet and zone in the agent's settings",
    (NOT_FOUND, "AttachNics"): "check the id in /etc/qingcloud/instance-id; a NIC that is gone is replaced by itself",
    (NOT_FOUND, "DetachNics"): "wait: what is gone is forgotten by itself",
    (NOT_FOUND, "DeleteNics"): "wait: what is gone is forgotten by itself",
    (NO_RESOURCES, "CreateNics"): "name another vxnet in `vxnet`, which may have room",
}


def remedy(action: str, ret_code: int) -> str:
    """What to do when this action is answered with that code."""
    found = _PARTICULAR.get((ret_code, action)) or CODES.get(ret_code, _UNKNOWN).remedy
    return found.format(action=action, thing=_THINGS.get(action, "the resource"))
