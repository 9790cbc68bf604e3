# SPDX-License-Identifier: GPL-3.0-or-later
"""From an HTTP request to an envelope: the one place that makes answers and checks in the documented order."""

from __future__ import annotations

import json
import logging
import threading
import typing as t
from dataclasses import replace
from urllib.parse import parse_qsl

from tests.emulator.actions import ACTIONS, ZONELESS, Call
from tests.emulator.auth import Authenticator
from tests.emulator.cloud import Cloud
from tests.emulator.counters import Counters
from tests.emulator.errors import ApiError, bad_format, denied
from tests.emulator.faults import DELAY, DROP_REPLY, HTTP_STATUS, RET_CODE, FaultBook
from tests.emulator.http import Reply, Request
from tests.emulator.models import AccessKey
from tests.emulator.params import Params
from tests.emulator.throttle import Throttle
from tests.emulator.views import Item

_log = logging.getLogger(__name__)
PATHS: t.Final = frozenset({"/iaas", "/iaas/", "/iam", "/iam/"})


class Api:
    """``answer`` serves one request; ``poke`` is called after each, since it may have made a job."""

    def __init__(self, cloud: Cloud, faults: FaultBook, counters: Counters, poke: t.Callable[[], None]) -> None:
        self._cloud = cloud
        self._faults = faults
        self._counters = counters
        self._poke = poke
        self._auth = Authenticator(cloud)
        self._throttle = Throttle()
        self._answered: dict[str, Item] = {}
        self.stopping = threading.Event()

    def answer(self, request: Request) -> Reply | None:
        """None hangs up."""
        reply = self._reply(request)
        return replace(reply, ahead=self._cloud.settings.wall_ahead) if reply else None

    def _reply(self, request: Request) -> Reply | None:
        if request.path not in PATHS:
            return Reply(b'{"message": "not found"}', 404)
        settings = self._cloud.settings
        line = len(request.path) + 1 + len(request.query)
        if settings.url_max and line > settings.url_max:
            return Reply(b"", settings.url_too_long_status, "text/plain")
        try:
            values = _values(request)
        except ApiError as error:
            return _envelope(_failure(error), settings.malformed_status)
        action = values.get("action", "")
        self._wait(action, self._cloud.settings.api_latency, after=False)
        broken = self._broken(action, after=False)
        if broken is not None:
            return broken.reply
        body = self._process(request, values)
        self._poke()
        self._wait(action, 0.0, after=True)
        broken = self._broken(action, after=True)
        if broken is not None:
            return broken.reply
        self._counters.count(action, body["ret_code"])
        return _envelope(body, 200)

    def _wait(self, action: str, seconds: float, *, after: bool) -> None:
        fault = self._faults.take(action, DELAY, after=after)
        seconds += fault.seconds if fault else 0.0
        if seconds > 0:
            self._cloud.clock.sleep(seconds, self.stopping)

    def _broken(self, action: str, *, after: bool) -> _Broken | None:
        if self._faults.take(action, DROP_REPLY, after=after):
            self._counters.count(action, None)
            return _Broken(None)
        fault = self._faults.take(action, HTTP_STATUS, after=after)
        if fault is None:
            return None
        self._counters.count(action, None)
        page = f"<html><body><h1>{fault.status}</h1></body></html>".encode()
        return _Broken(Reply(page, fault.status, "text/html"))

    def _process(self, request: Request, values: dict[str, str]) -> Item:
        action = values.get("action", "")
        with self._cloud.lock:
            try:
                body = self._perform(request, values)
            except ApiError as error:
                return _failure(error)
            except Exception:
                _log.exception("%s", action)
                return _failure(ApiError(5000, "internal error"))
        fault = self._faults.take(action, RET_CODE, after=True)
        return {"ret_code": fault.ret_code, "message": fault.message} if fault else body

    def _perform(self, request: Request, values: dict[str, str]) -> Item:
        settings = self._cloud.settings
        if request.method == "POST" and settings.post == "refuse":
            raise bad_format("use GET")
        key = self._auth.check(request.method, request.path, values)
        who = key.owner if settings.rate_scope == "account" else key.access_key_id
        self._throttle.admit(who, settings, self._cloud.clock.now())
        before = self._remembered(key, values)
        if before is not None:
            return before
        zone_id = self._zone(values)
        action = values["action"]
        handler = ACTIONS.get(action)
        if handler is None:
            raise ApiError(settings.unknown_action_code, "can't handle this request")
        fault = self._faults.take(action, RET_CODE, after=False)
        if fault is not None:
            return {"ret_code": fault.ret_code, "message": fault.message}
        call = Call(self._cloud, self._faults, Params(values), key, zone_id)
        body = {"action": f"{action}Response", "ret_code": 0, **handler(call)}
        self._remember(key, values, body)
        return body

    def _zone(self, values: t.Mapping[str, str]) -> str:
        settings, zone_id = self._cloud.settings, values.get("zone", "")
        if values["action"] in ZONELESS:
            return zone_id
        if not zone_id:
            raise ApiError(settings.missing_zone_code, "parameter [zone] is missing")
        if zone_id not in self._cloud.zones:
            raise ApiError(settings.unknown_zone_code, f"zone [{zone_id}] is not known")
        return zone_id

    def _remembered(self, key: AccessKey, values: t.Mapping[str, str]) -> Item | None:
        """The earlier answer to the same req_id, in a cloud that de-duplicates by it."""
        if not self._cloud.settings.req_id_deduplicates or "req_id" not in values:
            return None
        return self._answered.get(f"{key.access_key_id} {values['req_id']}")

    def _remember(self, key: AccessKey, values: t.Mapping[str, str], body: Item) -> None:
        if self._cloud.settings.req_id_deduplicates and "req_id" in values:
            self._answered[f"{key.access_key_id} {values['req_id']}"] = body


class _Broken:
    """A transport fault struck; ``reply`` None hangs up."""

    def __init__(self, reply: Reply | None) -> None:
        self.reply = reply


def _values(request: Request) -> dict[str, str]:
    """The decoded parameters: of the query, or of the form."""
    if request.method not in ("GET", "POST"):
        raise denied("can't handle this request")
    try:
        text = request.query if request.method == "GET" else request.body.decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict"))
    except ValueError as error:
        raise bad_format(f"the request can not be read: {error}") from error


def _failure(error: ApiError) -> Item:
    return {"message": error.message, "ret_code": error.ret_code}


def _envelope(body: Item, status: int) -> Reply:
    return Reply(json.dumps(body).encode(), status)
