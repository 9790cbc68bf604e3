# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent: signed, encoded, and exactly once."""

from __future__ import annotations

import email.utils
import re
import time
import typing as t
from http.server import BaseHTTPRequestHandler

import pytest

from hostnic import errors
from hostnic.cloud.credentials import Key
from tests.emulator import signature
from tests.support.scripted_api import KEY, OK, ScriptedApi, connection, failing


@pytest.fixture
def api() -> t.Iterator[ScriptedApi]:
    server = ScriptedApi()
    yield server
    server.close()


def test_signature_of_the_documentation(api: ScriptedApi) -> None:
    params = {
        "count": 1, "image_id": "centos64x86a", "instance_name": "demo", "instance_type": "small_b",
        "login_mode": "passwd", "login_passwd": "QingCloud20130712", "vxnets": ["vxnet-0"],
    }  # fmt: skip
    connection(api.port).call("RunInstances", params)
    method, path, sent = api.asked[0]
    assert sent["signature"] == signature.sign(method, path, sent, KEY.secret)
    known = {**sent, "time_stamp": "2013-08-27T14:30:10Z"}
    known.pop("req_id")
    assert signature.sign(method, path, known, KEY.secret) == "byjccvWIvAftaq+oublemagH3bYAlDWxxLFAzAsyslw="


def test_path_of_the_file_is_requested_and_signed(api: ScriptedApi) -> None:
    connection(api.port, uri="/cloud/iaas").call("DescribeZones", {})
    method, path, sent = api.asked[0]
    assert path == "/cloud/iaas"
    assert sent["signature"] == signature.sign("GET", "/cloud/iaas", sent, KEY.secret)


def test_odd_characters_and_lists(api: ScriptedApi) -> None:
    params = {
        "nic_name": "a b/~*中:|+&=",
        "nics": ("52:54:00:00:00:01", "52:54:00:00:00:02"),
        "offset": 0,
        "owner": None,
    }
    connection(api.port).call("DescribeNics", params)
    method, path, sent = api.asked[0]
    assert sent["nic_name"] == params["nic_name"]
    assert (sent["nics.1"], sent["nics.2"], sent["offset"]) == ("52:54:00:00:00:01", "52:54:00:00:00:02", "0")
    assert "owner" not in sent
    assert sent["signature"] == signature.sign(method, path, sent, KEY.secret)
    assert sent["zone"] == "pek3a"


def test_long_requests_are_posted(api: ScriptedApi) -> None:
    nics = [f"52:54:00:00:00:{number:02x}" for number in range(100)]
    connection(api.port).call("DescribeNics", {"nics": nics})
    method, path, sent = api.asked[0]
    assert method == "POST"
    assert sent["nics.100"] == nics[99]
    assert sent["signature"] == signature.sign("POST", path, sent, KEY.secret)
    connection(api.port).call("DescribeNics", {"nics": nics[:60]})
    assert api.asked[1][0] == "GET"


def test_caller_keeps_its_dict(api: ScriptedApi) -> None:
    params: dict[str, t.Any] = {"nics": ["52:54:00:00:00:01"]}
    link = connection(api.port)
    link.call("DescribeNics", params)
    link.call("DescribeVxnets", params)
    assert params == {"nics": ["52:54:00:00:00:01"]}
    assert [sent["action"] for __, __, sent in api.asked] == ["DescribeNics", "DescribeVxnets"]


def test_empty_list_is_never_sent(api: ScriptedApi) -> None:
    with pytest.raises(errors.HostnicError, match="empty list of nics"):
        connection(api.port).call("DeleteNics", {"nics": []})
    assert api.asked == []


def test_role_key_goes_to_its_own_path_with_its_token(api: ScriptedApi) -> None:
    role = Key("J1", "S1", "h.p.s", time.time() + 1000)
    connection(api.port, key=role, uri="/iaas").call("DescribeZones", {})
    method, path, sent = api.asked[0]
    assert (path, sent["token"], sent["access_key_id"], sent["signature_version"]) == ("/iam/", "h.p.s", "J1", "2")
    assert sent["signature"] == signature.sign(method, path, sent, "S1")


# -- exactly once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["hang_up", b'{"ret_code":5000,"message":"InternalError"}', b'{"ret_code":5100}', b""])
def test_a_call_is_never_repeated_by_itself(api: ScriptedApi, line: t.Any) -> None:
    api.script = [getattr(api, line) if isinstance(line, str) else line]
    failing(connection(api.port))
    assert len(api.asked) == 1


def test_expired_stamp_is_stamped_again_once(api: ScriptedApi) -> None:
    expired = b'{"ret_code":1300,"message":"RequestHasExpired, too old"}'
    api.script = [expired, OK]
    assert connection(api.port).call("CreateNics", {})["answer"] == 42
    assert api.asked[0][2]["req_id"] != api.asked[1][2]["req_id"]

    api.script = [expired]
    api.asked.clear()
    error = failing(connection(api.port))
    assert isinstance(error, errors.AuthFailed)
    assert len(api.asked) == 2
    assert "clock" in error.message
    assert "chrony" in error.message


@pytest.mark.parametrize(("behind", "said"), [(300, "ahead of"), (-300, "behind")])
def test_a_clock_that_is_off_is_measured(api: ScriptedApi, behind: int, said: str) -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        body = b'{"ret_code":1300,"message":"RequestHasExpired"}'
        handler.send_response_only(200)
        handler.send_header("Date", email.utils.formatdate(time.time() - behind, usegmt=True))
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    api.script = [reply]
    assert re.search(f"this machine's clock is (299|300|301) s {said} the API's", failing(connection(api.port)).message)


def test_unknown_key_names_the_file(api: ScriptedApi) -> None:
    api.script = [b'{"ret_code":1200,"message":"AuthFailure, access_key_id is not known"}']
    error = failing(connection(api.port, source="/etc/qingcloud/client.yaml"))
    assert isinstance(error, errors.AuthFailed)
    assert error.message == (
        "QingCloud refused CreateNics: AuthFailure, access_key_id is not known (ret_code 1200): "
        "check qy_access_key_id in /etc/qingcloud/client.yaml"
    )
    assert len(api.asked) == 1
