# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is calling: common parameters, keys and tokens, the clock window, the signature; in this order."""

from __future__ import annotations

import time
import typing as t
from datetime import datetime, timedelta, timezone

from tests.emulator import signature
from tests.emulator.cloud import Cloud
from tests.emulator.errors import AUTH_FAILED, EXPIRED, ApiError, bad_format, denied
from tests.emulator.models import AccessKey

COMMON: t.Final = ("action", "access_key_id", "time_stamp", "signature_method", "signature_version", "signature")
WINDOW_SECONDS: t.Final = 60.0
_STAMP = "%Y-%m-%dT%H:%M:%SZ"


class Authenticator:
    """Holds the signatures that were seen, for clouds that refuse a replay."""

    def __init__(self, cloud: Cloud, wall: t.Callable[[], float] = time.time) -> None:
        self._cloud = cloud
        self._wall = wall
        self._seen: dict[str, float] = {}

    def check(self, method: str, path: str, values: t.Mapping[str, str]) -> AccessKey:
        """The key of a well-signed request. The path is the one requested, slash or none."""
        for name in COMMON:
            if not values.get(name):
                raise bad_format(f"parameter [{name}] is missing")
        if values["signature_method"] not in signature.DIGESTS:
            raise bad_format(f"signature_method [{values['signature_method']}] is not supported")
        if values["signature_version"] not in ("1", "2"):
            raise bad_format(f"signature_version [{values['signature_version']}] is not supported")
        if values.get("version", "1") != "1":
            raise bad_format(f"version [{values['version']}] is not supported")
        stamp = _moment(values, "time_stamp")
        key = self._key(path, values)
        self._check_window(stamp, values)
        if not signature.matches(method, path, values, key.secret_access_key):
            raise ApiError(AUTH_FAILED, "signature does not match")
        self._check_replay(values["signature"])
        return key

    def _key(self, path: str, values: t.Mapping[str, str]) -> AccessKey:
        key = self._cloud.access_keys.get(values["access_key_id"])
        temporary = path.rstrip("/") == "/iam"
        if key is None or (key.token is not None) != temporary:
            raise ApiError(AUTH_FAILED, f"access_key_id [{values['access_key_id']}] is not known")
        if not temporary:
            return key
        if not values.get("token"):
            raise bad_format("parameter [token] is missing")
        if self._cloud.settings.iam_signature_version == "2" and values["signature_version"] != "2":
            raise bad_format("signature_version must be 2")
        if values["token"] != key.token:
            raise ApiError(AUTH_FAILED, "token is not valid")
        if key.expires is not None and self._cloud.clock.now() >= key.expires:
            raise ApiError(AUTH_FAILED, "token has expired")
        return key

    def _check_window(self, stamp: float, values: t.Mapping[str, str]) -> None:
        settings, now = self._cloud.settings, self._wall() + self._cloud.settings.wall_ahead
        last = stamp + WINDOW_SECONDS
        if settings.expires_widens_window and "expires" in values:
            last = max(last, _moment(values, "expires"))
        # Stamps have whole seconds, so a client may be up to one late without being slow.
        if now >= last + 1 or stamp > now + settings.future_stamp_seconds:
            raise ApiError(EXPIRED, f"time_stamp [{values['time_stamp']}] is not within the allowed window")

    def _check_replay(self, seen: str) -> None:
        if self._cloud.settings.replay == "allow":
            return
        now = self._wall()
        self._seen = {old: moment for old, moment in self._seen.items() if now - moment < 2 * WINDOW_SECONDS}
        if seen in self._seen:
            raise denied("this request was made before")
        self._seen[seen] = now


def _moment(values: t.Mapping[str, str], name: str) -> float:
    try:
        parsed = datetime.strptime(values[name], _STAMP).replace(tzinfo=timezone.utc)
    except ValueError:
        raise bad_format(f"parameter [{name}] must look like YYYY-MM-DDThh:mm:ssZ") from None
    return (parsed - datetime(1970, 1, 1, tzinfo=timezone.utc)) / timedelta(seconds=1)
