# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error type of the models, and the prefixes that its messages start with."""

from __future__ import annotations

# Observed on the real service: PermissionDenied, ResourceNotFound, QuotasExceeded. The others are composed.
_PREFIXES = {
    1100: "InvalidRequestFormat",
    1101: "InvalidRequestMethod",
    1200: "AuthFailure",
    1300: "RequestHasExpired",
    1400: "PermissionDenied",
    2100: "ResourceNotFound",
    2110: "ResourceAlreadyExists",
    2500: "QuotasExceeded",
    5000: "InternalError",
    5100: "ServerBusy",
    5200: "InsufficientResource",
    5300: "ServiceUpdating",
    5400: "DependencyExists",
}

BAD_FORMAT = 1100
AUTH_FAILED = 1200
EXPIRED = 1300
DENIED = 1400
NOT_FOUND = 2100
OVER_QUOTA = 2500


class ApiError(Exception):
    """A call that is answered with ``{"message": "<Prefix>, <text>", "ret_code": n}``."""

    def __init__(self, ret_code: int, text: str) -> None:
        prefix = _PREFIXES.get(ret_code)
        self.ret_code = ret_code
        self.message = f"{prefix}, {text}" if prefix else text
        super().__init__(f"{ret_code}: {self.message}")


class EmulatorError(Exception):
    """The emulator was asked for something that cannot be: a bad world, a bad setting, a bad control call."""


def bad_format(text: str) -> ApiError:
    return ApiError(BAD_FORMAT, text)


def denied(text: str) -> ApiError:
    return ApiError(DENIED, text)


def not_found(resource_id: str) -> ApiError:
    return ApiError(NOT_FOUND, f"resource [{resource_id}] not found")
