# SPDX-License-Identifier: GPL-3.0-or-later
"""Which key signs the next call: the fixed one of the access file, or the instance role's, renewed in time."""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
import typing as t
from urllib.parse import urlsplit

from ..errors import AuthFailed, HostnicError, Unreachable
from .credentials import Access, Key

log = logging.getLogger("hostnic.cloud")

# Seconds before its end from which a temporary key is replaced; the API gives them for about an hour.
_EARLY = 300.0
# Between two tries to replace a key that is still good: the service may be away, or give the same key until its end.
_PAUSE = 15.0
_LARGEST = 1 << 20


class Keys(t.Protocol):
    """Safe for several threads."""

    def current(self) -> Key:
        """The key to sign with now."""

    def renew(self, refused: Key) -> bool:
        """The API does not know `refused`; whether the next `current()` may be another one."""


class FixedKeys:
    """The access file's key."""

    def __init__(self, key: Key) -> None:
        self._key = key

    def current(self) -> Key:
        return self._key

    def renew(self, refused: Key) -> bool:
        return False


class RoleKeys:
    """Temporary keys of the instance's IAM role, from the metadata service.

    `wall` gives Unix seconds, which the service's `expiration` is in. Raises `AuthFailed` where there is no role,
    `Unreachable` where the service does not answer as documented.
    """

    def __init__(self, url: str, *, timeout: float = 5.0, wall: t.Callable[[], float] = time.time) -> None:
        self._url = url
        self._timeout = timeout
        self._wall = wall
        self._lock = threading.Lock()
        self._key: t.Optional[Key] = None
        self._not_before = 0.0

    def current(self) -> Key:
        with self._lock:
            now = self._wall()
            left = self._left(now)
            if self._key is not None and (left > _EARLY or (left > 0 and now < self._not_before)):
                return self._key
            self._not_before = now + _PAUSE
            try:
                self._key = self._fetch()
            except HostnicError as error:
                if self._key is None or left <= 0:
                    raise
                log.warning("%s; the key in use is good for another %.0f s", error.message, left)
            return self._key

    def renew(self, refused: Key) -> bool:
        with self._lock:
            if self._key == refused:
                self._key = None
        return True

    def _left(self, now: float) -> float:
        return self._key.expires - now if self._key is not None and self._key.expires is not None else 0.0

    def _fetch(self) -> Key:
        status, body = self._get()
        if status == 404:
            raise AuthFailed(
                "there is no access key, and this instance has no IAM role: put qy_access_key_id and "
                "qy_secret_access_key into the access file, or attach a role to the instance"
            )
        if status != 200:
            raise Unreachable(f"the metadata service at {self._url} answered with HTTP status {status}", status=status)
        key = _parsed(body, self._url)
        if self._wall() >= (key.expires or 0.0):
            raise AuthFailed("the metadata service gave an access key that is past its end: check this machine's clock")
        return key

    def _get(self) -> tuple[int, bytes]:
        parts = urlsplit(self._url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self._timeout)
        try:
            connection.request("GET", parts.path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read(_LARGEST)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"there is no access key, and the metadata service at {self._url} does not answer "
                f"({type(error).__name__}): put qy_access_key_id and qy_secret_access_key into the access file"
            ) from error
        finally:
            connection.close()


def keys_for(access: Access, *, wall: t.Callable[[], float] = time.time) -> Keys:
    """The access file's key, else the role's."""
    if access.key is not None:
        return FixedKeys(access.key)
    return RoleKeys(access.metadata_url, timeout=min(access.timeout, 5.0), wall=wall)


def _parsed(body: bytes, url: str) -> Key:
    """The body is an object or, asked with an Accept header, a JSON string that holds one."""
    try:
        content = json.loads(body)
        if isinstance(content, str):
            content = json.loads(content)
        names = ("access_key", "secret_key", "id_token")
        access_key, secret, token = (content[name] for name in names)
        expires = float(content["expiration"])
        if not all(isinstance(value, str) and value for value in (access_key, secret, token)):
            raise ValueError("not text")
    except (ValueError, TypeError, KeyError):
        # No chain: the parser's message may quote the body, which is the secret.
        raise Unreachable(f"the metadata service at {url} gave something that is no access key") from None
    return Key(access_key, secret, token, expires)
