# SPDX-License-Identifier: GPL-3.0-or-later
"""ret_code and message ► error. Messages as seen in the wild, plausible ones where nobody has seen any."""

from __future__ import annotations

import typing as t

import pytest

from hostnic import errors
from hostnic.cloud import replies

CASES: t.Final = [
    (1100, "parameter [count] is missing", errors.Denied),
    (1101, "", errors.Denied),
    (1200, "AuthFailure, signature does not match", errors.AuthFailed),
    (1300, "RequestHasExpired", errors.AuthFailed),
    (1400, "PermissionDenied, can't handle this request", errors.Denied),
    (1400, "PermissionDenied, instance [i-0a1b2c3d] is not running, can not be stopped", errors.Denied),
    (1400, "PermissionDenied, you can only attach [64] nics to one instance at most", errors.QuotaExceeded),
    (1400, "PermissionDenied, you can only attach [10] volumes to one instance at most", errors.Denied),
    (1400, "PermissionDenied, private ip [192.168.1.9] is already in use", errors.Denied),
    (1400, "PermissionDenied, no permission to use ip [192.168.1.9]", errors.Denied),
    (1400, "PermissionDenied, not enough private ips left in [vxnet-0a1b2c3]", errors.VxnetFull),
    (1400, "too many nics in vxnet [vxnet-0a1b2c3]", errors.VxnetFull),
    (2100, "ResourceNotFound, resource [i-1] not found", errors.NotFound),
    (1400, "ResourceNotFound, nic [52:54:00:00:00:01]", errors.NotFound),
    (2400, "balance", errors.Denied),
    (2500, "QuotasExceeded, access too frequently, your requests will be rejected for a period of time",
     errors.RateLimited),
    (2500, "QuotasExceeded, you can only have [10] nics at most", errors.QuotaExceeded),
    (2500, "QuotasExceeded, you can only call the API [9] times a day", errors.QuotaExceeded),
    (2500, "QuotasExceeded, no free private ip left in network [192.168.1.0/24]", errors.VxnetFull),
    (2500, "QuotasExceeded, private ips of [vxnet-0a1b2c3] are used up", errors.VxnetFull),
    (2500, "QuotasExceeded, vxnet [vxnet-0a1b2c3] is full", errors.VxnetFull),
    (2500, "QuotasExceeded, available ip addresses exhausted", errors.VxnetFull),
    (5000, "InternalError", errors.Busy),
    (5100, "ServerBusy", errors.Busy),
    (5200, "InsufficientResource, not enough ip addresses", errors.VxnetFull),
    (5300, "ServiceUpdating", errors.Busy),
    (5400, "DependencyExists", errors.Denied),
    (9999, "", errors.Denied),
]  # fmt: skip


@pytest.mark.parametrize(("code", "message", "expected"), CASES)
def test_what_each_refusal_is(code: int, message: str, expected: type[errors.HostnicError]) -> None:
    error = replies.failure("AttachNics", code, message)
    assert error.__class__ is expected
    assert error.details["action"] == "AttachNics"
    assert error.details["ret_code"] == code
    assert error.details["message"] == message
    assert error.message.startswith("QingCloud refused AttachNics: ")
    assert f"(ret_code {code})" in error.message


@pytest.mark.parametrize(
    ("message", "scope"),
    [
        ("you can only call the API [9] times a day", "day"),
        ("you can only have [10] nics at most", "account"),
        ("you can only attach [64] nics to one instance at most", "instance"),
    ],
)
def test_which_quota(message: str, scope: str) -> None:
    assert replies.failure("CreateNics", 2500, message).details["scope"] == scope


@pytest.mark.parametrize(
    ("code", "ambiguous"), [(5000, True), (5100, True), (5300, False), (1400, False), (2500, False)]
)
def test_what_may_have_been_carried_out_all_the_same(code: int, ambiguous: bool) -> None:
    assert replies.failure("CreateNics", code, "").ambiguous is ambiguous


@pytest.mark.parametrize(
    ("action", "code", "message", "subject"),
    [
        ("CreateNics", 1400, "PermissionDenied, private ip [192.168.1.9] is already in use", "address"),
        ("CreateNics", 1400, "PermissionDenied, no permission to use ip [192.168.1.9]", "address"),
        ("CreateNics", 1100, "InvalidRequestFormat, private_ips is badly formed", "address"),
        ("CreateNics", 1101, "illegal IP address", "address"),
        ("CreateNics", 2110, "ResourceExists, 192.168.1.9", "address"),
        ("CreateNics", 1400, "PermissionDenied, can't handle this request", None),
        ("CreateNics", 1100, "parameter [count] is missing", None),
        ("CreateNics", 2400, "the balance of private ips", None),
        ("AttachNics", 1400, "PermissionDenied, private ip [192.168.1.9] is already in use", None),
    ],
)
def test_refusals_that_are_about_an_address(action: str, code: int, message: str, subject: t.Optional[str]) -> None:
    error = replies.failure(action, code, message)
    assert error.__class__ is errors.Denied
    assert error.details.get("subject") == subject
    assert ("defect" in error.message) is (code in (1100, 1101) and subject is None)


def test_no_resources_is_about_the_vxnet_only_when_creating() -> None:
    assert isinstance(replies.failure("CreateNics", 5200, "InsufficientResource"), errors.VxnetFull)
    assert isinstance(replies.failure("AttachNics", 5200, "InsufficientResource"), errors.Busy)


def test_text_from_outside_is_one_readable_line() -> None:
    error = replies.failure("CreateNics", 1400, "a\r\nb\x1b[31mc\u202e" + "x" * 2000)
    assert "\n" not in error.message
    assert "\x1b" not in error.message
    assert "\u202e" not in error.message
    assert len(error.message) < 600
