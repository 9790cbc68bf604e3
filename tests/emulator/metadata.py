# SPDX-License-Identifier: GPL-3.0-or-later
"""The instance metadata service: temporary credentials of the instance's role."""

from __future__ import annotations

import base64
import json
import typing as t

from tests.emulator.cloud import Cloud
from tests.emulator.http import Reply, Request
from tests.emulator.models import AccessKey, Instance

PATH = "/latest/meta-data/security-credentials"
_RENEW_BEFORE = 300.0


class Metadata:
    """Knows an instance by its address; on loopback, the only instance with a role is meant."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._issued: dict[str, AccessKey] = {}

    def answer(self, request: Request) -> Reply | None:
        if request.path.rstrip("/") != PATH or request.method != "GET":
            return Reply(b"", 404, "text/plain")
        with self._cloud.lock:
            instance = self._instance(request.peer)
            settings = self._cloud.settings
            if instance is None or instance.role is None:
                return Reply(settings.metadata_404_body.encode(), 404, "text/plain")
            text = json.dumps(self._credential(instance))
        asked = "application/json" in request.headers.get("accept", "")
        double = asked if settings.metadata_body == "by_accept" else settings.metadata_body == "double"
        return Reply((json.dumps(text) if double else text).encode())

    def _instance(self, peer: str) -> Instance | None:
        for nic in self._cloud.nics.values():
            if nic.private_ip == peer and nic.instance_id:
                return self._cloud.instances[nic.instance_id]
        with_role = [one for one in self._cloud.instances.values() if one.role is not None]
        return with_role[0] if len(with_role) == 1 and peer.startswith("127.") else None

    def _credential(self, instance: Instance) -> dict[str, t.Any]:
        """The same one until it has five minutes (or a tenth of its life) left."""
        role, now = instance.role, self._cloud.clock.now()
        if role is None:
            raise LookupError(instance.instance_id)
        key = self._issued.get(instance.instance_id)
        left = (key.expires or 0.0) - now if key else 0.0
        if key is None or left <= min(_RENEW_BEFORE, role.lifetime / 10):
            key = self._issue(role.owner, role.role, now, role.lifetime)
            self._issued[instance.instance_id] = key
        return {
            "jti": key.access_key_id,
            "id_token": key.token,
            "access_key": key.access_key_id,
            "secret_key": key.secret_access_key,
            "expiration": int(key.expires or 0),
        }

    def _issue(self, owner: str, role: str, now: float, lifetime: float) -> AccessKey:
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        jti = "".join(self._cloud.random.choices(letters, k=20))
        secret = "".join(self._cloud.random.choices(letters + letters.lower() + "0123456789", k=40))
        parts: tuple[t.Mapping[str, t.Any], ...] = (
            {"alg": "RS256", "typ": "JWT"},
            {"jti": jti, "role": role, "owner": owner, "iat": int(now), "exp": int(now + lifetime)},
            {"not": "a real signature"},
        )
        token = ".".join(_base64url(part) for part in parts)
        key = AccessKey(jti, secret, owner, now, token, float(int(now + lifetime)))
        self._cloud.access_keys[jti] = key
        return key


def _base64url(part: t.Mapping[str, t.Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode("ascii")
