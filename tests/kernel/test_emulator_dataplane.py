# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulator's data plane with real links and packets, all in namespaces made here."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import typing as t
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

from tests.emulator import Emulator, ManualClock  # noqa: E402
from tests.emulator.dataplane import kernel  # noqa: E402
from tests.emulator.dataplane.base import DataPlaneError  # noqa: E402
from tests.emulator.dataplane.cleanup import cleanup  # noqa: E402
from tests.emulator.dataplane.netns import NetnsDataPlane  # noqa: E402

TREE = Path(__file__).parents[2]
PREFIX = f"qe{os.getpid() % 100000}"
GUEST_1, GUEST_2, POD = f"{PREFIX}n1", f"{PREFIX}n2", f"{PREFIX}p"
# Of the range for benchmarks (RFC 2544), so that nothing real is shadowed.
_BLOCK = os.getpid() % 200
TRANSIT = f"198.18.{_BLOCK}.0/30"
HOST_END = f"198.18.{_BLOCK}.1"
VPC = f"198.19.{_BLOCK}.0/24"
NET_A, NET_B = f"198.19.{_BLOCK}.0/26", f"198.19.{_BLOCK}.64/26"
GATEWAY_A, GATEWAY_B = f"198.19.{_BLOCK}.1", f"198.19.{_BLOCK}.65"
PRIMARY_1, PRIMARY_2 = f"198.19.{_BLOCK}.11", f"198.19.{_BLOCK}.12"
MAC_1, MAC_2 = "52:54:00:00:01:01", "52:54:00:00:01:02"
KEY, SECRET = "A" * 20, "s" * 40


def world() -> dict[str, t.Any]:
    return {
        "zone": "lab1",
        "access_keys": [{"access_key_id": KEY, "secret_access_key": SECRET, "owner": "usr-0a1b2c3d"}],
        "routers": [{"router_id": "rtr-0a1b2c3d", "vpc_network": VPC}],
        "vxnets": [
            {"vxnet_id": "vxnet-aaaaaaa", "ip_network": NET_A, "router_id": "rtr-0a1b2c3d"},
            {"vxnet_id": "vxnet-bbbbbbb-with-a-long-name", "ip_network": NET_B, "router_id": "rtr-0a1b2c3d"},
        ],
        "instances": [
            {
                "instance_id": f"i-0000000{number}",
                "netns": netns,
                "primary": {"vxnet_id": "vxnet-aaaaaaa", "private_ip": address, "nic_id": mac},
            }
            for number, netns, address, mac in ((1, GUEST_1, PRIMARY_1, MAC_1), (2, GUEST_2, PRIMARY_2, MAC_2))
        ],
    }


A, B = "vxnet-aaaaaaa", "vxnet-bbbbbbb-with-a-long-name"


def ip(*command: str, netns: str | None = None) -> str:
    inside = ["-n", netns] if netns else []
    return subprocess.run(["ip", *inside, *command], check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Link:
    name: str
    mac: str
    mtu: int
    up: bool


def links(netns: str | None = None) -> dict[str, Link]:
    """By MAC, without loopback."""
    found = json.loads(ip("-j", "link", netns=netns))
    return {
        item["address"]: Link(item["ifname"], item["address"], item["mtu"], "UP" in item["flags"])
        for item in found
        if item["ifname"] != "lo"
    }


def until(condition: t.Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def ping(netns: str | None, target: str, source: str | None = None, seconds: float = 5.0) -> bool:
    """An ICMP echo from inside the namespace (None: this one) is answered by the target.

    Repeated, since a bridge hears only a moment later that a link has come up.
    """
    token = os.urandom(4)
    number, sequence = struct.unpack("!HH", token)
    total = 0x0800 + number + sequence
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    request = struct.pack("!BBHHH", 8, 0, ~total & 0xFFFF, number, sequence)

    def ask() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as echo:
            if source is not None:
                echo.bind((source, 0))
            echo.settimeout(0.1)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError):  # no answer yet, or no neighbour that answers ARP
                    echo.sendto(request, (target, 0))
                    data, sender = echo.recvfrom(2048)
                    if sender[0] == target and data[20] == 0 and data[24:28] == token:
                        return True
            return False

    return ask() if netns is None else kernel.inside(netns, ask)


def announced(sender_mac: str, sender_ip: str) -> bool:
    """A broadcast ARP request from the first guest, in a frame with its own MAC, arrives at the second."""
    target = os.urandom(4)  # tells this frame from others
    packed_mac = bytes.fromhex(sender_mac.replace(":", ""))
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + packed_mac + socket.inet_aton(sender_ip) + bytes(6) + target
    frame = b"\xff" * 6 + bytes.fromhex(MAC_1.replace(":", "")) + b"\x08\x06" + body

    def listener() -> socket.socket:
        return bound(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)))

    def bound(raw: socket.socket) -> socket.socket:
        raw.bind(("eth0", 0x0806))
        return raw

    def speak() -> None:
        with bound(socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as raw:
            raw.send(frame)

    with kernel.inside(GUEST_2, listener) as ear:
        kernel.inside(GUEST_1, speak)
        deadline = time.monotonic() + 0.5
        while (left := deadline - time.monotonic()) > 0:
            ear.settimeout(left)
            with contextlib.suppress(socket.timeout):
                if ear.recv(2048)[38:42] == target:
                    return True
        return False


@dataclass
class Lab:
    emu: Emulator

    def call(self, action: str, **values: t.Any) -> dict[str, t.Any]:
        from qingcloud.iaas.connection import APIConnection

        host, port = self.emu.url[len("http://") :].split(":")
        connection = APIConnection(KEY, SECRET, "lab1", host=host, port=int(port), protocol="http", retry_time=1)
        reply: dict[str, t.Any] = connection.send_request(action, dict(values))
        assert reply["ret_code"] == 0, reply
        return reply

    def attached(self, count: int = 1, vxnet: str = A, instance: str = "i-00000001") -> list[dict[str, str]]:
        nics: list[dict[str, str]] = self.call("CreateNics", vxnet=vxnet, count=count)["nics"]
        self.call("AttachNics", nics=[nic["nic_id"] for nic in nics], instance=instance)
        self.emu.advance(60)
        return nics

    def detach(self, nics: list[dict[str, str]]) -> None:
        self.call("DetachNics", nics=[nic["nic_id"] for nic in nics])
        self.emu.advance(60)

    def set(self, **changes: t.Any) -> None:
        self.emu.control.change_settings(changes)

    def put_back(self) -> int:
        return int(self.emu.control.counters()["links_put_back"])


def configure(netns: str, mac: str, address: str, length: int = 26, gateway: str | None = None) -> str:
    """What a guest does with a NIC; its link's name."""
    name = links(netns)[mac].name
    ip("addr", "add", f"{address}/{length}", "dev", name, netns=netns)
    ip("link", "set", name, "up", netns=netns)
    if gateway:
        ip("route", "replace", "default", "via", gateway, netns=netns)
    return name


def configure_primaries() -> None:
    configure(GUEST_1, MAC_1, PRIMARY_1, gateway=GATEWAY_A)
    configure(GUEST_2, MAC_2, PRIMARY_2, gateway=GATEWAY_A)


@pytest.fixture
def guests() -> t.Iterator[None]:
    names = (GUEST_1, GUEST_2, POD)
    with contextlib.ExitStack() as stack:
        for name in names:
            kernel.create(name)
            stack.callback(kernel.delete, name)
        yield


@pytest.fixture
def lab(guests: None) -> t.Iterator[Lab]:
    with Emulator(world=world(), clock=ManualClock(), dataplane=NetnsDataPlane(PREFIX)) as emu:
        yield Lab(emu)


def test_primaries_and_attached_links(lab: Lab) -> None:
    assert links(GUEST_1) == {MAC_1: Link("eth0", MAC_1, 1500, False)}
    nics = lab.attached(2)
    assert {link.name for link in links(GUEST_1).values()} == {"eth0", "eth1", "eth2"}
    for nic, name in zip(nics, ("eth1", "eth2")):
        assert links(GUEST_1)[nic["nic_id"]] == Link(name, nic["nic_id"], 1500, False)
    assert ip("-4", "addr", netns=GUEST_1) == ""


def test_no_link_before_the_job_is_done_or_when_it_fails(lab: Lab) -> None:
    nic = lab.call("CreateNics", vxnet=A, count=1)["nics"][0]
    lab.call("AttachNics", nics=[nic["nic_id"]], instance="i-00000001")
    lab.emu.advance(3)
    assert nic["nic_id"] not in links(GUEST_1)
    lab.emu.advance(1)
    assert nic["nic_id"] in links(GUEST_1)
    lab.emu.faults.order({"action": "AttachNics", "kind": "job_partial", "done": 1})
    half = lab.attached(2)
    assert [nic["nic_id"] in links(GUEST_1) for nic in half] == [True, False]


def test_detach_takes_the_link_wherever_it_is(lab: Lab) -> None:
    here, moved = lab.attached(2)
    name = links(GUEST_1)[moved["nic_id"]].name
    ip("link", "set", name, "netns", POD, "name", "net0", netns=GUEST_1)
    assert links(POD)[moved["nic_id"]].name == "net0"
    lab.detach([here, moved])
    assert links(POD) == {}
    assert set(links(GUEST_1)) == {MAC_1}
    assert lab.put_back() == 0


def test_packets_on_one_vxnet_and_across_the_router(lab: Lab) -> None:
    configure_primaries()
    assert ping(GUEST_1, PRIMARY_2)
    assert ping(GUEST_1, GATEWAY_A)
    nic = lab.attached(1, B, "i-00000002")[0]
    name = links(GUEST_2)[nic["nic_id"]].name
    ip("link", "set", name, "netns", POD, netns=GUEST_2)
    configure(POD, nic["nic_id"], nic["private_ip"], gateway=GATEWAY_B)
    assert ping(POD, PRIMARY_1)
    assert ping(GUEST_1, nic["private_ip"])
    lab.detach([nic])
    assert not ping(GUEST_1, nic["private_ip"], seconds=0.3)


def test_vxnets_are_apart(lab: Lab) -> None:
    """A guest on A that believes to be on B does not reach B without the router."""
    nic = lab.attached(1, B, "i-00000002")[0]
    configure(GUEST_2, nic["nic_id"], nic["private_ip"])
    lab.set(port_security="off")
    configure(GUEST_1, MAC_1, f"198.19.{_BLOCK}.70")
    assert not ping(GUEST_1, nic["private_ip"], seconds=0.3)


class TestPortSecurity:
    FOREIGN = f"198.19.{_BLOCK}.50"

    def spoof_address(self, lab: Lab) -> bool:
        """An address that is not the NIC's, on its link: what leaves with it, and ARP for it."""
        return ping(GUEST_1, PRIMARY_2, source=self.FOREIGN, seconds=0.4)

    @pytest.fixture(autouse=True)
    def foreign(self, lab: Lab) -> None:
        configure_primaries()
        assert ping(GUEST_1, PRIMARY_2)
        ip("addr", "add", f"{self.FOREIGN}/26", "dev", "eth0", netns=GUEST_1)

    def test_addresses_by_mode(self, lab: Lab) -> None:
        assert not self.spoof_address(lab)
        lab.set(port_security="mac")
        assert self.spoof_address(lab)
        lab.set(port_security="mac+ip")
        ip("neigh", "flush", "all", netns=GUEST_2)
        assert not self.spoof_address(lab)
        lab.set(port_security="off")
        assert self.spoof_address(lab)

    def test_it_follows_enable_aspoof(self, lab: Lab) -> None:
        lab.call("ModifyNicAttributes", nic=MAC_1, enable_aspoof=0)
        assert self.spoof_address(lab)
        lab.call("ModifyNicAttributes", nic=MAC_1, enable_aspoof=1)
        ip("neigh", "flush", "all", netns=GUEST_2)
        assert not self.spoof_address(lab)
        assert ping(GUEST_1, PRIMARY_2)

    def test_nobody_can_be_asked_at_a_foreign_address(self, lab: Lab) -> None:
        assert not ping(GUEST_2, self.FOREIGN, seconds=0.4)
        lab.call("ModifyNicAttributes", nic=MAC_1, enable_aspoof=0)
        assert ping(GUEST_2, self.FOREIGN)

    def test_a_foreign_mac(self, lab: Lab) -> None:
        ip("link", "set", "eth0", "address", "52:54:00:00:99:99", netns=GUEST_1)
        for mode, passes in (("mac", False), ("off", True), ("mac+ip", False)):
            lab.set(port_security=mode)
            ip("neigh", "flush", "all", netns=GUEST_1)
            ip("neigh", "flush", "all", netns=GUEST_2)
            assert ping(GUEST_1, PRIMARY_2, source=PRIMARY_1, seconds=0.4) is passes

    def test_frames_of_arp(self, lab: Lab) -> None:
        foreign_mac, mine = "52:54:00:00:99:99", (MAC_1, PRIMARY_1)
        claims = [mine, (MAC_1, self.FOREIGN), (foreign_mac, PRIMARY_1), (MAC_1, "0.0.0.0")]
        assert [announced(*claim) for claim in claims] == [True, False, False, True]
        lab.set(port_security="mac")
        assert [announced(*claim) for claim in claims] == [True] * 4
        lab.set(port_security="mac+ip")
        lab.call("ModifyNicAttributes", nic=MAC_1, enable_aspoof=0)
        assert [announced(*claim) for claim in claims] == [True] * 4

    def test_a_changed_address_is_the_nic_s_own(self, lab: Lab) -> None:
        lab.set(modify_attached_address="allow")
        lab.call("ModifyNicAttributes", nic=MAC_1, private_ip=self.FOREIGN)
        assert self.spoof_address(lab)


def test_a_link_that_died_with_a_pod_is_put_back(lab: Lab) -> None:
    nic, other = lab.attached(2)
    ip("link", "set", links(GUEST_1)[nic["nic_id"]].name, "netns", POD, netns=GUEST_1)
    kernel.delete(POD)
    until(lambda: nic["nic_id"] in links(GUEST_1))
    assert links(GUEST_1)[nic["nic_id"]] == Link("eth1", nic["nic_id"], 1500, False)
    until(lambda: lab.put_back() == 1)
    counted = {item["nic_id"]: item["links_put_back"] for item in lab.emu.control.state()["nics"]}
    assert (counted[nic["nic_id"]], counted[other["nic_id"]]) == (1, 0)
    lab.emu.quiesce(5)
    configure_primaries()
    assert ping(GUEST_1, PRIMARY_2)
    lab.detach([nic])
    assert nic["nic_id"] not in links(GUEST_1)


def test_a_guest_that_deletes_its_link_gets_it_back(lab: Lab) -> None:
    nic = lab.attached()[0]
    ip("link", "del", links(GUEST_1)[nic["nic_id"]].name, netns=GUEST_1)
    until(lambda: nic["nic_id"] in links(GUEST_1))


def test_a_node_that_is_gone_is_left_alone(lab: Lab) -> None:
    nic = lab.attached()[0]
    kernel.delete(GUEST_1)
    until(
        lambda: {MAC_1, nic["nic_id"]} <= {each["nic_id"] for each in lab.emu.control.state()["nics"] if each["dark"]}
    )
    kernel.create(GUEST_1)
    late = lab.attached()[0]
    assert set(links(GUEST_1)) == {late["nic_id"]}
    assert lab.put_back() == 0
    lab.emu.quiesce(5)
    assert lab.emu.control.power("i-00000001", "start")["dark_nics"] == []
    assert set(links(GUEST_1)) == {MAC_1, nic["nic_id"], late["nic_id"]}


def test_stop_and_start(lab: Lab) -> None:
    nic = lab.attached()[0]
    lab.emu.control.power("i-00000001", "stop")
    assert links(GUEST_1) == {}
    lab.emu.control.power("i-00000001", "start")
    assert {mac: link.name for mac, link in links(GUEST_1).items()} == {MAC_1: "eth0", nic["nic_id"]: "eth1"}


def test_an_instance_before_its_netns(lab: Lab) -> None:
    kernel.delete(POD)
    lab.emu.cloud.add_instance("i-00000003", A, netns=POD, nic_id="52:54:00:00:01:03")
    assert lab.emu.control.power("i-00000003", "start")["dark_nics"] == ["52:54:00:00:01:03"]
    kernel.create(POD)
    assert lab.emu.control.power("i-00000003", "start")["dark_nics"] == []
    assert links(POD)["52:54:00:00:01:03"].name == "eth0"


def test_a_burst_of_sixty(lab: Lab) -> None:
    nics: list[dict[str, str]] = lab.call("CreateNics", vxnet=B, count=50)["nics"]
    nics += lab.call("CreateNics", vxnet=A, count=10)["nics"]
    lab.call("AttachNics", nics=[nic["nic_id"] for nic in nics], instance="i-00000001")
    began = time.monotonic()
    lab.emu.advance(60)
    attaching = time.monotonic() - began
    assert len(links(GUEST_1)) == 61
    began = time.monotonic()
    lab.detach(nics)
    detaching = time.monotonic() - began
    assert len(links(GUEST_1)) == 1
    print(f"attach {attaching / 60 * 1000:.1f} ms, detach {detaching / 60 * 1000:.1f} ms per NIC")
    assert attaching < 6
    assert detaching < 6


def test_one_emulator_per_prefix(lab: Lab) -> None:
    second = Emulator(world=world(), dataplane=NetnsDataPlane(PREFIX))
    with pytest.raises(DataPlaneError, match="another emulator"):
        second.start()
    assert set(links(GUEST_1)) == {MAC_1}


class TestProcess:
    """The uplink, and what is left behind."""

    def start(self, tmp_path: Path) -> tuple[subprocess.Popen[str], dict[str, t.Any]]:
        path = tmp_path / "world.json"
        path.write_text(json.dumps(world()), encoding="utf-8")
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.emulator", "--world", str(path), "--data-plane", "netns"),
                *("--prefix", PREFIX, "--uplink", TRANSIT, "--listen", f"{HOST_END}:0"),
            ],
            cwd=TREE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    @pytest.fixture
    def swept(self, guests: None) -> t.Iterator[tuple[list[str], str]]:
        """(namespaces, links and routes) as they were; ours are removed whatever happens."""
        yield self.outside()
        cleanup(PREFIX)

    def outside(self) -> tuple[list[str], str]:
        """What of this prefix is there: others on this machine make namespaces too."""
        mine = [name for name in kernel.names() if name.startswith(PREFIX)]
        routes = [line for line in ip("route").splitlines() if f".{_BLOCK}." in line and line.startswith("198.1")]
        return mine, "\n".join([*routes, *(link.name for link in links().values() if link.name.startswith(PREFIX))])

    def test_uplink_and_a_clean_end(self, tmp_path: Path, swept: tuple[list[str], str]) -> None:
        process, said = self.start(tmp_path)
        try:
            configure_primaries()
            assert ping(None, PRIMARY_1)
            assert f"default via {HOST_END} dev uplink" in ip("route", netns=f"{PREFIX}-router")

            def ask() -> int:
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with opener.open(f"{said['api'][0]}/iaas/", timeout=5) as answer:
                    return int(json.loads(answer.read())["ret_code"])

            assert said["api"][0].startswith(f"http://{HOST_END}:")
            assert kernel.inside(GUEST_1, ask) == 1100
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert self.outside() == swept
        assert links(GUEST_1) == {}

    def test_cleanup_after_a_kill(self, tmp_path: Path, swept: tuple[list[str], str]) -> None:
        process, _ = self.start(tmp_path)
        process.kill()
        process.wait(10)
        assert self.outside() != swept
        for _ in range(2):
            command = [sys.executable, "-m", "tests.emulator", "--cleanup", "--prefix", PREFIX]
            subprocess.run(command, cwd=TREE, check=True, capture_output=True, timeout=20)
        assert self.outside() == swept
        assert links(GUEST_1) == {}

    def test_a_new_run_takes_over_what_a_kill_left(self, tmp_path: Path, swept: tuple[list[str], str]) -> None:
        process, _ = self.start(tmp_path)
        process.kill()
        process.wait(10)
        process, _ = self.start(tmp_path)
        try:
            assert {link.name for link in links(GUEST_1).values()} == {"eth0"}
        finally:
            process.terminate()
        assert process.wait(10) == 0
        assert self.outside() == swept
