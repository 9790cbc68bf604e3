# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures over the wire, the order of checks, the clock window, and role credentials."""

from __future__ import annotations

import base64
import json
import time
import typing as t
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime

import pytest

from tests.emulator import Emulator
from tests.emulator.http import Reply, Request
from tests.emulator.metadata import Metadata
from tests.unit.emulator.rig import (
    KEY,
    NODE,
    PODS,
    SECRET,
    WORLD,
    Rig,
    SdkClient,
    UrllibClient,
    common,
    control,
    fetch,
    flat,
    now_stamp,
    send,
    signed,
)


def ask(emu: Emulator, values: t.Mapping[str, str], path: str = "/iaas/", secret: str = SECRET) -> dict[str, t.Any]:
    return send(emu.url, path, signed("GET", path, values, secret))


@pytest.mark.parametrize("path", ["/iaas", "/iaas/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_both_paths_and_methods(emu: Emulator, path: str, method: str) -> None:
    reply = UrllibClient(emu.url, path=path, method=method)(
        "CreateNics", vxnet=PODS, count=2, nic_name="a b/~*\u4e2d:|"
    )
    assert reply["ret_code"] == 0
    assert emu.control.state()["nics"][-1]["nic_name"] == "a b/~*\u4e2d:|"


def test_the_path_is_part_of_the_signature(emu: Emulator) -> None:
    request = signed("GET", "/iaas/", common("DescribeNics"), SECRET)
    assert send(emu.url, "/iaas", request)["ret_code"] == 1200


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_the_sdk_by_both_methods(emu: Emulator, verb: str) -> None:
    sdk = SdkClient(emu.url, verb=verb)
    reply = sdk("CreateNics", vxnet=PODS, count=1, nic_name="a b+c&d=e")
    assert reply["ret_code"] == 0
    assert emu.control.state()["nics"][-1]["nic_name"] == "a b+c&d=e"


def test_post_can_be_refused(raw: Rig) -> None:
    raw.set(post="refuse")
    assert UrllibClient(raw.emu.url, method="POST")("DescribeNics")["ret_code"] == 1100
    raw.ok("DescribeNics")


def test_sha1(emu: Emulator) -> None:
    assert ask(emu, common("DescribeNics", signature_method="HmacSHA1"))["ret_code"] == 0
    wrong = signed("GET", "/iaas/", common("DescribeNics"), SECRET) | {"signature_method": "HmacMD5"}
    assert send(emu.url, "/iaas/", wrong)["ret_code"] == 1100


def test_lists_have_gaps_and_any_order(emu: Emulator) -> None:
    values = common("CreateNics", vxnet=PODS, count="3") | {
        "private_ips.10": "172.16.1.30",
        "private_ips.0": "172.16.1.10",
        "private_ips.2": "172.16.1.20",
    }
    reply = ask(emu, values)
    assert [nic["private_ip"] for nic in reply["nics"]] == ["172.16.1.10", "172.16.1.20", "172.16.1.30"]


def test_the_order_of_checks(emu: Emulator) -> None:
    """Each request has all the faults that come later, too."""
    path, late = "/iaas/", now_stamp(-90)
    wrong = common("NoSuchAction", time_stamp=late, access_key_id="NOSUCHKEY", zone="nowhere")
    request = {**wrong, "signature": "bm8="}
    del request["time_stamp"]
    assert send(emu.url, path, request)["ret_code"] == 1100
    request["time_stamp"] = late
    assert send(emu.url, path, request)["ret_code"] == 1200
    request["access_key_id"] = KEY
    assert send(emu.url, path, request)["ret_code"] == 1300
    request["time_stamp"] = now_stamp()
    assert send(emu.url, path, request)["ret_code"] == 1200
    del request["signature"]
    assert ask(emu, request | {"zone": ""})["ret_code"] == 1100
    reply = ask(emu, request)
    assert (reply["ret_code"], "zone" in reply["message"]) == (1400, True)
    reply = ask(emu, request | {"zone": "lab1"})
    assert reply == {"ret_code": 1400, "message": "PermissionDenied, can't handle this request"}


@pytest.mark.parametrize("name", ["action", "access_key_id", "time_stamp", "signature_method", "signature_version"])
def test_missing_common_parameter(emu: Emulator, name: str) -> None:
    request = signed("GET", "/iaas/", common("DescribeNics"), SECRET)
    del request[name]
    reply = send(emu.url, "/iaas/", request)
    assert reply["ret_code"] == 1100
    assert name in reply["message"]


def test_version_and_req_id_are_optional(emu: Emulator) -> None:
    request = common("DescribeNics")
    del request["version"]
    assert ask(emu, request)["ret_code"] == 0
    assert ask(emu, common("DescribeNics", version="2"))["ret_code"] == 1100


@pytest.mark.parametrize(("offset", "code"), [(-50, 0), (-70, 1300), (50, 0), (70, 1300)])
def test_the_window_is_wall_time(emu: Emulator, offset: float, code: int) -> None:
    emu.advance(7 * 86400)
    assert ask(emu, common("DescribeNics", time_stamp=now_stamp(offset)))["ret_code"] == code


def test_the_clouds_clock_may_be_another(raw: Rig) -> None:
    raw.set(wall_ahead=300.0)
    assert ask(raw.emu, common("DescribeNics"))["ret_code"] == 1300
    assert ask(raw.emu, common("DescribeNics", time_stamp=now_stamp(300)))["ret_code"] == 0
    with pytest.raises(urllib.error.HTTPError) as answer:
        fetch(f"{raw.emu.url}/nowhere")
    told = parsedate_to_datetime(answer.value.headers["Date"]).timestamp()
    assert abs(told - time.time() - 300) < 30


def test_future_stamps_as_far_as_the_setting_says(raw: Rig) -> None:
    raw.set(future_stamp_seconds=3600)
    assert ask(raw.emu, common("DescribeNics", time_stamp=now_stamp(600)))["ret_code"] == 0


def test_expires_widens_the_window_if_so_set(raw: Rig) -> None:
    old = common("DescribeNics", time_stamp=now_stamp(-300), expires=now_stamp(3000))
    assert ask(raw.emu, old)["ret_code"] == 1300
    raw.set(expires_widens_window=True)
    assert ask(raw.emu, old)["ret_code"] == 0


def test_a_stamp_of_another_form(emu: Emulator) -> None:
    assert ask(emu, common("DescribeNics", time_stamp="2024-05-01 08:00:00"))["ret_code"] == 1100


def test_replay(raw: Rig) -> None:
    request = signed("GET", "/iaas/", common("DescribeNics"), SECRET)
    assert [send(raw.emu.url, "/iaas/", request)["ret_code"] for __ in range(2)] == [0, 0]
    raw.set(replay="refuse")
    assert [send(raw.emu.url, "/iaas/", request)["ret_code"] for __ in range(2)] == [0, 1400]


def test_req_id_deduplicates_if_so_set(raw: Rig) -> None:
    first, second = (raw.ok("CreateNics", vxnet=PODS, req_id="r1")["nics"] for __ in range(2))
    assert first != second
    raw.set(req_id_deduplicates=True)
    first, second = (raw.ok("CreateNics", vxnet=PODS, req_id="r2")["nics"] for __ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("setting", "zone", "code"), [("missing_zone_code", "", 1101), ("unknown_zone_code", "x", 2100)]
)
def test_zone_codes(raw: Rig, setting: str, zone: str, code: int) -> None:
    raw.set(**{setting: code})
    raw.refused(code, "DescribeNics", zone=zone)


def test_unknown_action_code(raw: Rig) -> None:
    raw.set(unknown_action_code=1101)
    raw.refused(1101, "DescribeVxNets")


def credential(emu: Emulator, accept: str | None = "application/json") -> t.Any:
    request = urllib.request.Request(f"{emu.metadata_url}/latest/meta-data/security-credentials")
    if accept:
        request.add_header("Accept", accept)
    with fetch(request, timeout=10) as answer:
        return json.loads(answer.read())


class TestRole:
    @pytest.fixture(autouse=True)
    def role(self, emu: Emulator) -> None:
        control(emu, "POST", "roles", {"instance_id": NODE, "role": "pool"})

    def asked(self, emu: Emulator, path: str, changed: t.Mapping[str, str]) -> int:
        given = json.loads(credential(emu))
        values = common("DescribeNics", given["access_key"], token=given["id_token"], signature_version="2")
        return int(ask(emu, {**values, **changed}, path, given["secret_key"])["ret_code"])

    @pytest.mark.parametrize("path", ["/iam", "/iam/"])
    def test_a_token_opens_iam(self, emu: Emulator, path: str) -> None:
        assert self.asked(emu, path, {}) == 0

    def test_but_not_iaas_nor_another_token(self, emu: Emulator) -> None:
        assert self.asked(emu, "/iaas/", {}) == 1200
        assert self.asked(emu, "/iam/", {"token": "a.b.c"}) == 1200
        assert self.asked(emu, "/iam/", {"token": ""}) == 1100

    def test_an_api_key_does_not_open_iam(self, emu: Emulator) -> None:
        assert ask(emu, common("DescribeNics", token="a.b.c"), "/iam/")["ret_code"] == 1200

    def test_expiry(self, emu: Emulator) -> None:
        given = json.loads(credential(emu))
        assert given["expiration"] - emu.clock.now() == pytest.approx(3600, abs=1)
        values = flat({**common("DescribeNics", given["access_key"]), "token": given["id_token"]})
        emu.advance(3500)
        assert ask(emu, values, "/iam/", given["secret_key"])["ret_code"] == 0
        emu.advance(200)
        assert ask(emu, values, "/iam/", given["secret_key"])["ret_code"] == 1200
        assert json.loads(credential(emu))["access_key"] != given["access_key"]

    def test_signature_version_one_is_taken_unless_set(self, raw: Rig) -> None:
        assert self.asked(raw.emu, "/iam/", {"signature_version": "1"}) == 0
        raw.set(iam_signature_version="2")
        assert self.asked(raw.emu, "/iam/", {"signature_version": "1"}) == 1100

    def test_the_sdk_takes_the_credential_by_itself(self, emu: Emulator) -> None:
        from qingcloud.iaas.connection import APIConnection

        host, port = emu.url[len("http://") :].split(":")
        proxy_host, proxy_port = emu.metadata_url[len("http://") :].split(":")
        connection = APIConnection(
            "", "", "lab1", host=host, port=int(port), protocol="http", retry_time=1,
            credential_proxy_host=proxy_host, credential_proxy_port=int(proxy_port),
        )  # fmt: skip
        assert connection.send_request("DescribeNics", {})["ret_code"] == 0

    def test_body_forms(self, raw: Rig) -> None:
        assert isinstance(credential(raw.emu), str)
        assert isinstance(credential(raw.emu, None), dict)
        raw.set(metadata_body="plain")
        assert set(credential(raw.emu)) == {"jti", "id_token", "access_key", "secret_key", "expiration"}
        raw.set(metadata_body="double")
        assert isinstance(credential(raw.emu, None), str)


def test_no_role_no_credential(raw: Rig) -> None:
    raw.set(metadata_404_body="no role")
    with pytest.raises(urllib.error.HTTPError) as refused:
        credential(raw.emu)
    assert (refused.value.code, refused.value.read()) == (404, b"no role")


def test_metadata_knows_an_instance_by_its_address(emu: Emulator) -> None:
    """Two have a role: on loopback nobody is meant, from an instance's address that instance is."""
    emu.cloud.add_instance("i-00000009", PODS, private_ip="172.16.1.9")
    metadata = Metadata(emu.cloud)

    def asked(peer: str) -> Reply:
        answer = metadata.answer(Request("GET", "/latest/meta-data/security-credentials", "", {}, b"", peer))
        assert answer is not None
        return answer

    assert asked("127.0.0.1").status == 404
    emu.cloud.set_role(NODE, "one")
    assert asked("127.0.0.1").status == 200
    emu.cloud.set_role("i-00000009", "two")
    assert asked("127.0.0.1").status == 404
    token = json.loads(asked("172.16.1.9").body)["id_token"].split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(token + "=="))["role"] == "two"
    assert asked("172.16.1.10").status == 404


def test_a_role_in_the_world_file() -> None:
    world = {**WORLD, "instances": [{**WORLD["instances"][0], "role": "pool"}]}
    with Emulator(world=world) as emu:
        assert isinstance(credential(emu, None), dict)
