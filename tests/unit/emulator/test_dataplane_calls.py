# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cloud asks of its data plane, and the text of port security; no kernel is touched."""

from __future__ import annotations

import typing as t

import pytest

from tests.emulator import Emulator, ManualClock
from tests.emulator.dataplane import names, security
from tests.emulator.dataplane.base import DataPlaneError, NoDataPlane, Port
from tests.emulator.errors import EmulatorError
from tests.unit.emulator.rig import NODE, PODS, ROUTER, WORLD, Rig, UrllibClient

PRIMARY = "52:54:00:00:00:01"


class Recorder(NoDataPlane):
    """Refuses the NICs in ``refuses``."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, t.Any]] = []
        self.refuses: set[str] = set()

    def open(self, port_security: str) -> None:
        self.asked.append(("open", port_security))

    def close(self) -> None:
        self.asked.append(("close", None))

    def plug(self, ports: t.Sequence[Port]) -> set[str]:
        self.asked.append(("plug", [port.nic_id for port in ports]))
        return {port.nic_id for port in ports} & self.refuses

    def unplug(self, nic_ids: t.Sequence[str]) -> None:
        self.asked.append(("unplug", list(nic_ids)))

    def guard(self, port: Port) -> None:
        self.asked.append(("guard", (port.nic_id, port.private_ip, port.guarded)))

    def set_port_security(self, mode: str) -> None:
        self.asked.append(("port_security", mode))

    def remove_leg(self, vxnet_id: str) -> None:
        self.asked.append(("remove_leg", vxnet_id))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def wired(recorder: Recorder) -> t.Iterator[Rig]:
    world = dict(WORLD)
    world["instances"] = [{**world["instances"][0], "netns": "nowhere"}, *world["instances"][1:]]
    with Emulator(world=world, clock=ManualClock(), dataplane=recorder) as emu:
        assert recorder.asked == [("open", "mac+ip"), ("plug", [PRIMARY])]
        recorder.asked.clear()
        yield Rig(emu, UrllibClient(emu.url))


def test_attach_and_detach(wired: Rig, recorder: Recorder) -> None:
    nics = wired.attached(2)
    wired.ok("DetachNics", nics=nics)
    wired.emu.advance(60)
    assert recorder.asked == [("plug", nics), ("unplug", nics)]


def test_a_link_that_the_kernel_refuses_fails_the_job(wired: Rig, recorder: Recorder) -> None:
    good, bad = wired.create(2)
    recorder.refuses = {bad}
    job_id = wired.attach([good, bad])
    wired.emu.advance(60)
    assert (wired.job(job_id)["status"], wired.job(job_id)["error_codes"]) == ("done with failure", "5000")
    assert [wired.nic(nic)["status"] for nic in (good, bad)] == ["in-use", "available"]


def test_port_security_follows_the_nic_and_the_setting(wired: Rig, recorder: Recorder) -> None:
    wired.ok("ModifyNicAttributes", nic=PRIMARY, enable_aspoof=0)
    wired.set(port_security="mac")
    assert recorder.asked == [("guard", (PRIMARY, "172.16.0.11", False)), ("port_security", "mac")]


def test_a_data_plane_that_breaks_is_an_internal_error(wired: Rig, recorder: Recorder) -> None:
    def broken(port: Port) -> None:
        raise DataPlaneError(port.nic_id)

    recorder.guard = broken  # type: ignore[method-assign]
    wired.refused(5000, "ModifyNicAttributes", nic=PRIMARY, enable_aspoof=0)


def test_power(wired: Rig, recorder: Recorder) -> None:
    nic = wired.attached()[0]
    recorder.asked.clear()
    wired.emu.control.power(NODE, "stop")
    wired.emu.control.power(NODE, "start")
    assert recorder.asked == [("unplug", [PRIMARY, nic]), ("plug", [PRIMARY, nic])]


def test_leave_router_takes_the_leg(wired: Rig, recorder: Recorder) -> None:
    wired.ok("LeaveRouter", router=ROUTER, vxnets=[PODS])
    assert recorder.asked == []
    wired.emu.advance(60)
    assert recorder.asked[0] == ("remove_leg", PODS)


def test_the_end(recorder: Recorder) -> None:
    with Emulator(world=WORLD, dataplane=recorder):
        pass
    assert recorder.asked[-1] == ("close", None)


def port(number: int, guarded: bool = True) -> Port:
    return Port(f"52:54:00:00:00:{number:02x}", PODS, "n1", "eth%d", f"172.16.1.{number}", guarded)


def test_rules_by_mode() -> None:
    off, mac, both = (security.ruleset(mode, [port(1)]) for mode in ("off", "mac", "mac+ip"))
    assert "chain" not in off
    assert "ether saddr != @macs" in mac
    assert "ip saddr != @ips" not in mac
    assert "ip saddr != @ips" in both
    assert '"n525400000001" . 52:54:00:00:00:01' in both
    assert '"n525400000001" . 172.16.1.1' in both


def test_only_guarded_ports_are_looked_at() -> None:
    text = security.ruleset("mac+ip", [port(1), port(2, guarded=False)])
    assert "n525400000001" in text
    assert "n525400000002" not in text
    assert "chain" not in security.ruleset("mac+ip", [port(2, guarded=False)])


def test_names_fit() -> None:
    assert names.bridge("vxnet-0a1b2c3") == "vxnet-0a1b2c3"
    for made in (names.bridge("vxnet-" + "x" * 40), names.port(PRIMARY), names.fabric_leg("vxnet-" + "x" * 40)):
        assert len(made) <= 15
    known = names.Names("qclab")
    assert [known.router(0), known.router(1)] == ["qclab-router", "qclab-router-2"]
    assert known.is_namespace("qclab-fabric")
    assert known.is_namespace("qclab-router-2")
    assert not known.is_namespace("qclab-node1")
    with pytest.raises(EmulatorError):
        names.Names("a-prefix-too-long")
