# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that stay, and the role's keys and their end."""

from __future__ import annotations

import json
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from hostnic import errors
from hostnic.cloud.credentials import Key
from hostnic.cloud.keys import FixedKeys, RoleKeys


class Metadata:
    """The metadata service: `body` and `status` are what the next answers are made of."""

    def __init__(self) -> None:
        self.body: t.Union[str, bytes] = b""
        self.status = 200
        self.asked: list[tuple[str, str]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                service.asked.append((self.path, self.headers.get("Accept", "")))
                body = service.body if isinstance(service.body, bytes) else service.body.encode()
                self.send_response(service.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: t.Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/latest/meta-data/security-credentials"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def give(self, name: str, expires: float, double: bool = True) -> None:
        text = json.dumps(
            {"jti": name, "id_token": f"t-{name}", "access_key": name, "secret_key": f"s-{name}", "expiration": expires}
        )
        self.body = json.dumps(text) if double else text


@pytest.fixture
def metadata() -> t.Iterator[Metadata]:
    service = Metadata()
    yield service
    service.server.shutdown()
    service.server.server_close()


class Wall:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("double", [True, False])
def test_role_key_in_either_encoding(metadata: Metadata, double: bool) -> None:
    wall = Wall()
    metadata.give("J1", wall.now + 3600, double)
    key = RoleKeys(metadata.url, wall=wall).current()
    assert (key.access_key_id, key.secret, key.token, key.expires) == ("J1", "s-J1", "t-J1", wall.now + 3600)
    assert metadata.asked == [("/latest/meta-data/security-credentials", "application/json")]


def test_role_key_is_kept_and_renewed_before_its_end(metadata: Metadata) -> None:
    wall = Wall()
    metadata.give("J1", wall.now + 3600)
    keys = RoleKeys(metadata.url, wall=wall)
    keys.current()
    wall.now += 3200
    metadata.give("J2", wall.now + 3600)
    assert keys.current().access_key_id == "J1"
    assert len(metadata.asked) == 1
    wall.now += 200
    assert keys.current().access_key_id == "J2"


def test_failed_renewal_is_survived_until_the_end(metadata: Metadata, caplog: pytest.LogCaptureFixture) -> None:
    wall = Wall()
    metadata.give("J1", wall.now + 3600)
    keys = RoleKeys(metadata.url, wall=wall)
    keys.current()
    metadata.status = 500
    wall.now += 3400
    assert keys.current().access_key_id == "J1"
    assert keys.current().access_key_id == "J1"
    assert len(metadata.asked) == 2
    assert "good for another 200 s" in caplog.text
    wall.now += 200
    with pytest.raises(errors.Unreachable, match="HTTP status 500"):
        keys.current()


def test_service_that_gives_the_same_key_is_not_pestered(metadata: Metadata) -> None:
    wall = Wall()
    metadata.give("J1", wall.now + 100)
    keys = RoleKeys(metadata.url, wall=wall)
    for __ in range(5):
        keys.current()
    assert len(metadata.asked) == 1


def test_refused_key_is_fetched_anew(metadata: Metadata) -> None:
    wall = Wall()
    metadata.give("J1", wall.now + 3600)
    keys = RoleKeys(metadata.url, wall=wall)
    refused = keys.current()
    metadata.give("J2", wall.now + 3600)
    assert keys.renew(refused)
    assert keys.current().access_key_id == "J2"
    assert keys.renew(refused)
    assert keys.current().access_key_id == "J2"
    assert len(metadata.asked) == 2


def test_no_role(metadata: Metadata) -> None:
    metadata.status = 404
    with pytest.raises(errors.AuthFailed, match="no IAM role: put qy_access_key_id"):
        RoleKeys(metadata.url).current()


def test_key_that_is_over_when_it_comes(metadata: Metadata) -> None:
    wall = Wall()
    metadata.give("J1", wall.now - 1)
    with pytest.raises(errors.AuthFailed, match="check this machine's clock"):
        RoleKeys(metadata.url, wall=wall).current()


@pytest.mark.parametrize(
    "body",
    ["", "<html>", "[]", '"text"', "{}", '{"access_key":"A","secret_key":"hidden","id_token":null,"expiration":9}'],
)
def test_service_that_talks_nonsense(metadata: Metadata, body: str) -> None:
    metadata.body = body
    with pytest.raises(errors.Unreachable, match="no access key") as caught:
        RoleKeys(metadata.url).current()
    assert "hidden" not in str(caught.value)


def test_reply_is_never_evaluated(metadata: Metadata, tmp_path: Path) -> None:
    metadata.body = f"open({str(tmp_path / 'pwned')!r}, 'w').write('x') and '{{}}'"
    with pytest.raises(errors.Unreachable):
        RoleKeys(metadata.url).current()
    assert not (tmp_path / "pwned").exists()


def test_no_service(metadata: Metadata) -> None:
    metadata.server.server_close()
    with pytest.raises(errors.Unreachable, match="put qy_access_key_id"):
        RoleKeys(metadata.url, timeout=0.5).current()


def test_fixed_keys() -> None:
    keys = FixedKeys(Key("A", "S"))
    assert keys.current() == Key("A", "S")
    assert not keys.renew(Key("A", "S"))
