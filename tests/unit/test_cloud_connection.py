# SPDX-License-Identifier: GPL-3.0-or-later
"""What a connection does besides: sockets, threads, turns, observers, secrets; and what the SDK must not do."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from hostnic import errors
from hostnic.cloud import sdk
from hostnic.cloud.breaker import Breaker
from hostnic.cloud.connection import Connection
from hostnic.cloud.credentials import Access, Key
from hostnic.cloud.keys import FixedKeys
from hostnic.cloud.limiter import RateLimiter
from tests.support.scripted_api import KEY, OK, ScriptedApi, Time, connection, failing


@pytest.fixture
def api() -> t.Iterator[ScriptedApi]:
    server = ScriptedApi()
    yield server
    server.close()


def test_nothing_is_printed(api: ScriptedApi, capfd: pytest.CaptureFixture[str]) -> None:
    api.script = [OK, b'{"ret_code":1400,"message":"no"}', b"junk", api.hang_up]
    connection(api.port).call("DescribeZones", {})
    for __ in range(3):
        failing(connection(api.port))
    assert capfd.readouterr() == ("", "")


def test_sockets_do_not_pile_up(api: ScriptedApi) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    api.script = [lambda handler: api.reply(handler, b"no", 404)]
    link = connection(api.port, breaker=Breaker(1000))
    failing(link)
    before = descriptors()
    for __ in range(20):
        failing(link)
    # The server's side of the last ones may still be closing in its threads.
    deadline = time.monotonic() + 5
    while descriptors() > before + 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert descriptors() <= before + 2
    assert len(api.asked) == 21


def test_threads_get_their_own_answers(api: ScriptedApi) -> None:
    def echo(handler: BaseHTTPRequestHandler) -> None:
        query = dict(parse_qsl(handler.path.partition("?")[2]))
        api.reply(handler, json.dumps({"ret_code": 0, "echo": query["word"]}).encode())

    api.script = [echo]
    link = connection(api.port)
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(10):
            word = f"{number}-{turn}"
            if link.call("DescribeNics", {"word": word})["echo"] != word:
                wrong.append(word)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert len(api.asked) == 60


def test_observer_is_told_of_every_request(api: ScriptedApi) -> None:
    told: list[tuple[str, str]] = []
    link = Connection(
        Access(host="127.0.0.1", protocol="http", port=api.port, key=KEY),
        FixedKeys(KEY),
        RateLimiter(1e6, 10),
        zone="pek3a",
        observe=lambda action, seconds, outcome: told.append((action, outcome)),
    )
    link.call("DescribeZones", {})
    api.script = [b'{"ret_code":1400,"message":"no"}']
    failing(link)
    assert told == [("DescribeZones", "ok"), ("CreateNics", "Denied")]


def test_every_request_takes_its_turn(api: ScriptedApi) -> None:
    time = Time()
    limiter = RateLimiter(1, 1, time, time.sleep)
    api.script = [b'{"ret_code":1300}', OK]
    connection(api.port, limiter=limiter).call("DescribeZones", {})
    assert time.slept == [1.0]
    assert limiter.state()["actions"]["DescribeZones"]["calls"] == 2


TOO_OFTEN = b'{"ret_code":2500,"message":"QuotasExceeded, access too frequently, wait"}'


def test_after_too_often_nothing_at_all_is_sent(api: ScriptedApi) -> None:
    time = Time()
    limiter = RateLimiter(1, 10, time, time.sleep, rng=lambda: 1.0, longest=4.0)
    api.script = [TOO_OFTEN, OK]
    link = connection(api.port, limiter=limiter)
    first = failing(link)
    assert isinstance(first, errors.RateLimited)
    assert first.details["retry_in"] == 5.0
    held = failing(link, "DescribeNics")
    assert isinstance(held, errors.RateLimited)
    assert not held.ambiguous
    assert (held.details["ret_code"], held.details["retry_in"]) == (None, 6.0)
    assert len(api.asked) == 1
    time.now += 6
    link.call("DescribeNics", {})
    assert len(api.asked) == 2


def test_only_successes_make_an_action_faster(api: ScriptedApi) -> None:
    time = Time()
    limiter = RateLimiter(1, 10, time, time.sleep, rng=lambda: 1.0)
    link = connection(api.port, limiter=limiter)
    api.script = [TOO_OFTEN]
    failing(link, "CreateNics")

    def rate() -> float:
        return float(link.state()["limiter"]["actions"]["CreateNics"]["rate"])

    time.now += 60
    for script, expected in ((b'{"ret_code":1400}', 0.5), (b'{"ret_code":5300}', 0.5), (api.hang_up, 0.5), (OK, 0.55)):
        time.now += 60
        api.script = [script]
        with contextlib.suppress(errors.HostnicError):
            link.call("CreateNics", {"count": 1})
        assert rate() == expected


def test_an_api_that_is_away_is_left_alone(api: ScriptedApi) -> None:
    time = Time()
    link = connection(api.port, breaker=Breaker(2, clock=time, rng=lambda: 1.0))
    api.script = [api.hang_up]
    failing(link)
    failing(link, "AttachNics")
    time.now += 0.25
    error = failing(link, "DescribeNics")
    assert isinstance(error, errors.Unreachable)
    assert not error.ambiguous
    assert error.details["retry_in"] == 0.75
    assert "DescribeNics was not sent" in error.message
    assert "last: AttachNics failed on the way to 127.0.0.1" in error.message
    assert len(api.asked) == 2
    assert link.state()["limiter"]["calls"] == 2  # what is not sent needs no turn
    time.now += 0.75
    api.script = [b'{"ret_code":2100,"message":"ResourceNotFound"}']
    assert isinstance(failing(link), errors.NotFound)
    assert link.state()["breaker"]["state"] == "CLOSED"


def test_a_try_that_gets_no_turn_leaves_it_to_the_next_call(api: ScriptedApi) -> None:
    time = Time()
    limiter = RateLimiter(1, 3, time, time.sleep, rng=lambda: 1.0, longest=4.0)
    link = connection(api.port, limiter=limiter, breaker=Breaker(1, clock=time, rng=lambda: 1.0))
    api.script = [api.hang_up]
    failing(link)
    time.now += 1
    limiter.refused()
    assert isinstance(failing(link), errors.RateLimited)
    assert link.state()["breaker"] == {**link.state()["breaker"], "state": "OPEN", "failures": 1, "retry_in": 0.0}
    time.now += 6
    api.script = [OK]
    link.call("DescribeZones", {})
    assert link.state()["breaker"]["state"] == "CLOSED"


def test_nothing_is_sent_when_its_time_is_over(api: ScriptedApi) -> None:
    time = Time()

    class SlowKeys(FixedKeys):
        def current(self) -> Key:
            time.now += 3
            return KEY

    access = Access(host="127.0.0.1", protocol="http", port=api.port, key=KEY)
    link = Connection(access, SlowKeys(KEY), RateLimiter(1, 1, time, time.sleep), zone="pek3a", clock=time)
    with pytest.raises(errors.Timeout, match="was not sent") as caught:
        link.call("DescribeZones", {}, within=2.0)
    assert not caught.value.ambiguous
    assert api.asked == []
    api.script = [b'{"ret_code":1300}', OK]
    with pytest.raises(errors.AuthFailed):
        link.call("DescribeZones", {}, within=3.0)
    assert len(api.asked) == 1


def test_without_the_sdk_there_is_a_sentence(api: ScriptedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "MISSING", ImportError("No module named 'qingcloud'"))
    with pytest.raises(errors.HostnicError, match="qingcloud-sdk is missing") as caught:
        connection(api.port).call("DescribeZones", {})
    assert caught.value.details["library"] == "qingcloud-sdk"


def test_import_without_third_parties() -> None:
    program = """
import sys
sys.modules.update(qingcloud=None, yaml=None)
sys.path[:0] = sys.argv[1:]
from hostnic import config, errors
from hostnic.cloud import build, sdk, credentials
try:
    sdk.Exchange(sdk.Route("127.0.0.1", 1, 1.0, None), credentials.Key("a", "b"), "pek3a")
except errors.HostnicError as error:
    print(error.message)
"""
    run = subprocess.run(
        [sys.executable, "-c", program, *sys.path], capture_output=True, text=True, check=True, timeout=30
    )
    assert run.stdout.startswith("the Python package qingcloud-sdk is missing")


def test_secrets_stay_out_of_sight(api: ScriptedApi) -> None:
    link = connection(api.port, key=Key("AKAKAKAK", "topsecret", "tokentoken"))
    assert "topsecret" not in repr(link) + repr(Key("AKAKAKAK", "topsecret", "tokentoken"))
    assert "tokentoken" not in repr(Key("AKAKAKAK", "topsecret", "tokentoken"))
    assert "topsecret" not in repr(Access(key=Key("AKAKAKAK", "topsecret")))
