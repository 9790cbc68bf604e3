# SPDX-License-Identifier: GPL-3.0-or-later
"""The control API, the transport, and the emulator as an object."""

from __future__ import annotations

import http.client
import json
import typing as t
import urllib.error
import urllib.request

import pytest

from tests.emulator import Emulator, EmulatorError, ManualClock
from tests.unit.emulator.rig import (
    KEY,
    NODE,
    PODS,
    ROUTER,
    SECRET,
    WORLD,
    Rig,
    UrllibClient,
    common,
    control,
    fetch,
    signed,
)


def refused(emu: Emulator, method: str, path: str, body: t.Any = None) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as error:
        control(emu, method, path, body)
    return error.value.code, json.loads(error.value.read())["error"]


class TestControl:
    def test_state(self, raw: Rig) -> None:
        raw.attach(raw.create(1, nic_name="x"))
        state = control(raw.emu, "GET", "state")
        assert {one["instance_id"] for one in state["instances"]} >= {NODE}
        assert state["nics"][-1]["nic_name"] == "x"
        assert state["nics"][-1]["links_put_back"] == 0
        assert state["jobs"][0]["status"] == "pending"
        assert SECRET not in json.dumps(state)
        for noun in ("instances", "nics", "jobs"):
            assert control(raw.emu, "GET", noun) == state[noun]

    def test_counters(self, raw: Rig) -> None:
        raw.create()
        raw.refused(2100, "DeleteNics", nics=["52:54:00:ff:ff:ff"])
        raw.refused(1100, "DeleteNics")
        raw.refused(1100, "DeleteNics")
        wanted = {
            "calls": {"CreateNics": 1, "DeleteNics": 3},
            "rejected": {"DeleteNics": {"2100": 1, "1100": 2}},
            "links_put_back": 0,
            "links_put_back_by_nic": {},
        }
        assert control(raw.emu, "GET", "counters") == wanted
        control(raw.emu, "DELETE", "counters")
        assert control(raw.emu, "GET", "counters")["calls"] == {}

    def test_settings(self, raw: Rig) -> None:
        assert control(raw.emu, "GET", "settings")["nics_per_instance"] == 64
        assert control(raw.emu, "POST", "settings", {"nics_per_instance": 3})["nics_per_instance"] == 3
        code, text = refused(raw.emu, "POST", "settings", {"nics_per_instanc": 3})
        assert (code, "nics_per_instance" in text) == (400, True)
        assert raw.emu.cloud.settings.nics_per_instance == 3

    def test_the_world_grows(self, raw: Rig) -> None:
        add = {
            "routers": {"router_id": "rtr-new00000", "vpc_network": "172.17.0.0/16"},
            "vxnets": {"vxnet_id": "vxnet-new0001", "ip_network": "172.17.1.0/24", "router_id": "rtr-new00000"},
            "instances": {"instance_id": "i-new00000", "primary": {"vxnet_id": "vxnet-new0001"}},
            "access_keys": {"access_key_id": "C" * 20, "secret_access_key": "c" * 40, "owner": "usr-0a1b2c3d"},
        }
        for kind, item in add.items():
            control(raw.emu, "POST", kind, item)
        mine = Rig(raw.emu, UrllibClient(raw.emu.url, "C" * 20, "c" * 40))
        found = mine.ok("DescribeInstances", instances=["i-new00000"])["instance_set"][0]
        assert found["vxnets"][0]["private_ip"] == "172.17.1.2"
        assert refused(raw.emu, "POST", "instances", add["instances"])[0] == 400

    @pytest.mark.parametrize(
        ("path", "body", "said"),
        [
            ("vxnets", {"vxnet_id": "v", "ip_net": "1.2.3.0/24"}, "unknown key 'ip_net'"),
            ("vxnets", {"vxnet_id": "v", "ip_network": "1.2.3.4/24"}, "has host bits set"),
            ("vxnets", {"vxnet_id": "v", "ip_network": "172.16.7.0/24", "router_id": "rtr-x"}, "no router rtr-x"),
            ("vxnets", {"vxnet_id": "v", "router_id": ROUTER}, "has no ip_network"),
            ("instances", {"instance_id": "i-x", "primary": {"vxnet_id": "vxnet-x"}}, "no vxnet vxnet-x"),
            ("instances", {}, "instance_id is missing"),
            ("instances/i-nosuch00/stop", {}, "no instance i-nosuch00"),
            (f"instances/{NODE}/explode", {}, "not explode"),
            ("roles", {"instance_id": "i-nosuch00", "role": "x"}, "no instance"),
            ("clock", {"seconds": -1}, "backwards"),
            ("quiesce", [], "not an object"),
        ],
    )
    def test_what_is_wrong_is_said(self, raw: Rig, path: str, body: t.Any, said: str) -> None:
        code, text = refused(raw.emu, "POST", path, body)
        assert code == 400
        assert said in text

    def test_what_is_not_there(self, raw: Rig) -> None:
        assert refused(raw.emu, "GET", "nonsense")[0] == 404
        assert refused(raw.emu, "DELETE", "state")[0] == 404

    def test_the_clock(self, raw: Rig) -> None:
        before = raw.emu.clock.now()
        job = raw.attach(raw.create())
        assert control(raw.emu, "POST", "clock", {"seconds": 60}) == {"now": before + 60}
        assert raw.job(job)["status"] == "successful"

    def test_only_a_manual_clock_is_advanced(self) -> None:
        with Emulator(world=WORLD) as emu:
            assert refused(emu, "POST", "clock", {"seconds": 1}) == (400, "the clock is not a manual one")


class TestTransport:
    def test_keep_alive(self, emu: Emulator) -> None:
        connection = http.client.HTTPConnection(emu.url[len("http://") :], timeout=5)
        for __ in range(3):
            request = signed("GET", "/iaas/", common("DescribeZones"), SECRET)
            connection.request("GET", "/iaas/?" + urllib.parse.urlencode(request))
            first = connection.sock
            answer = connection.getresponse()
            assert json.loads(answer.read())["ret_code"] == 0
            assert connection.sock is first
        connection.close()

    def test_another_path(self, emu: Emulator) -> None:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(f"{emu.url}/iaas/v2/", timeout=5)

    @pytest.mark.parametrize("status", [200, 400])
    def test_a_request_that_cannot_be_read(self, raw: Rig, status: int) -> None:
        raw.set(malformed_status=status)
        try:
            answer = fetch(f"{raw.emu.url}/iaas/?action", timeout=5)
        except urllib.error.HTTPError as error:
            answer = error
        assert answer.status == status
        assert json.loads(answer.read())["ret_code"] == 1100

    def test_an_empty_request(self, emu: Emulator) -> None:
        with fetch(f"{emu.url}/iaas/", timeout=5) as answer:
            assert json.loads(answer.read())["ret_code"] == 1100

    def test_a_long_url(self, raw: Rig) -> None:
        nics = [f"52:54:00:00:01:{number:02x}" for number in range(100)]
        raw.ok("DescribeNics", nics=nics)
        raw.set(url_max=1000, url_too_long_status=400)
        raw.ok("DescribeNics")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            raw.call("DescribeNics", nics=nics)
        post = UrllibClient(raw.emu.url, method="POST")
        assert post("DescribeNics", nics=nics)["ret_code"] == 0

    def test_many_at_once(self, raw: Rig) -> None:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(16) as pool:
            made = list(pool.map(lambda __: raw.create(2)[0], range(64)))
        assert len(set(made)) == 64
        addresses = [nic["private_ip"] for nic in raw.emu.control.state()["nics"]]
        assert len(set(addresses)) == len(addresses)


class TestEmulator:
    def test_built_in_python(self) -> None:
        with Emulator(clock=ManualClock(), seed=3) as emu:
            cloud = emu.cloud
            cloud.add_zone("lab1")
            cloud.add_access_key(KEY, SECRET, "usr-0a1b2c3d")
            cloud.add_router(ROUTER, "192.168.0.0/16")
            cloud.add_vxnet(PODS, "192.168.1.0/24", manager_ip="192.168.1.254", router_id=ROUTER)
            cloud.add_instance(NODE, PODS, private_ip="192.168.1.5")
            raw = Rig(emu, UrllibClient(emu.url))
            raw.attached(3)
            addresses = [nic["private_ip"] for nic in raw.ok("DescribeNics")["nic_set"]]
            assert addresses == ["192.168.1.5", "192.168.1.2", "192.168.1.3", "192.168.1.4"]

    def test_several_listeners_and_a_seed(self) -> None:
        def macs() -> list[str]:
            with Emulator(world=WORLD, listen=("127.0.0.1:0", "127.0.0.1:0"), seed=5) as emu:
                return [Rig(emu, UrllibClient(url)).create()[0] for url in emu.urls]

        assert macs() == macs()

    def test_it_is_gone_after_the_block(self) -> None:
        with Emulator(world=WORLD) as emu:
            url = emu.url
        with pytest.raises(urllib.error.URLError):
            fetch(url, timeout=2)

    def test_quiesce_says_when_it_is_not_quiet(self, raw: Rig) -> None:
        raw.emu.quiesce(0)
        raw.attach(raw.create())
        with pytest.raises(TimeoutError):
            raw.emu.quiesce(0)

    def test_a_port_that_is_taken_leaves_nothing_behind(self, emu: Emulator) -> None:
        taken = emu.url[len("http://") :]
        second = Emulator(world=WORLD, control=taken)
        with pytest.raises(OSError):
            second.start()
        with pytest.raises(EmulatorError):
            __ = Emulator().url
