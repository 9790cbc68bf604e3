# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of fault, ordered over the control API and felt by a client."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
import typing as t
import urllib.error

import pytest

from tests.emulator import EmulatorError, ManualClock
from tests.unit.emulator.rig import PODS, Rig, SdkClient, control


def order(rig: Rig, **fault: t.Any) -> int:
    return int(control(rig.emu, "POST", "faults", fault)["fault_id"])


def owned(rig: Rig) -> int:
    return sum(1 for nic in rig.emu.control.state()["nics"] if nic["role"] == 0)


def test_a_reply_is_dropped_after_the_work(raw: Rig) -> None:
    order(raw, action="CreateNics", kind="drop_reply")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        raw.call("CreateNics", vxnet=PODS)
    assert owned(raw) == 1
    raw.create()


def test_or_before_it(raw: Rig) -> None:
    order(raw, action="CreateNics", kind="drop_reply", when="before")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        raw.call("CreateNics", vxnet=PODS)
    assert owned(raw) == 0


def test_the_sdk_that_retries_makes_two(raw: Rig) -> None:
    """The trap that the fault is for."""
    order(raw, action="CreateNics", kind="drop_reply")
    sdk = SdkClient(raw.emu.url)
    sdk.connection.retry_time = 2
    assert sdk("CreateNics", vxnet=PODS, count=1)["ret_code"] == 0
    assert owned(raw) == 2


@pytest.mark.parametrize(("when", "made"), [(None, 0), ("before", 0), ("after", 1)])
def test_http_502(raw: Rig, when: str | None, made: int) -> None:
    order(raw, action="CreateNics", kind="http_status", when=when)
    with pytest.raises(urllib.error.HTTPError) as refused:
        raw.call("CreateNics", vxnet=PODS)
    assert refused.value.code == 502
    assert owned(raw) == made
    order(raw, action="CreateNics", kind="http_status", status=404)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        raw.call("CreateNics", vxnet=PODS)


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
def test_ret_code_and_message(rig: Rig, when: str, made: int) -> None:
    order(rig, action="CreateNics", kind="ret_code", ret_code=5100, message="ServerBusy, busy", when=when)
    assert rig.refused(5100, "CreateNics", vxnet=PODS) == "ServerBusy, busy"
    assert owned(rig) == made
    rig.create()


def test_a_bad_signature_comes_first(raw: Rig) -> None:
    order(raw, action="CreateNics", kind="ret_code")
    reply = SdkClient(raw.emu.url, secret="wrong")("CreateNics", vxnet=PODS)
    assert reply["ret_code"] == 1200
    raw.refused(5000, "CreateNics", vxnet=PODS)


def test_count_skip_and_any_action(raw: Rig) -> None:
    order(raw, action="*", kind="ret_code", count=2, skip=1)
    codes = [raw.call("DescribeZones")["ret_code"] for __ in range(4)]
    assert codes == [0, 5000, 5000, 0]


def test_for_ever_until_cleared(raw: Rig) -> None:
    fault = order(raw, action="DescribeNics", kind="ret_code", count=None)
    kept = order(raw, action="DescribeJobs", kind="ret_code", count=None)
    assert [raw.call("DescribeNics")["ret_code"] for __ in range(5)] == [5000] * 5
    listed = control(raw.emu, "GET", "faults")
    assert [(item["fault_id"], item["struck"]) for item in listed] == [(fault, 5), (kept, 0)]
    assert control(raw.emu, "DELETE", f"faults/{fault}") == {"cleared": 1}
    raw.ok("DescribeNics")
    raw.refused(5000, "DescribeJobs")
    assert control(raw.emu, "DELETE", "faults") == {"cleared": 1}
    raw.ok("DescribeJobs")


class Asker:
    """Calls in a thread; ``held`` says that the answer waits for the clock."""

    def __init__(self, rig: Rig, action: str, **values: t.Any) -> None:
        self.reply: dict[str, t.Any] | None = None
        self._clock = rig.emu.clock
        self._thread = threading.Thread(target=self._ask, args=(rig, action, values))
        self._thread.start()

    def _ask(self, rig: Rig, action: str, values: dict[str, t.Any]) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.reply = rig.call(action, **values)

    def await_held(self) -> None:
        assert isinstance(self._clock, ManualClock)
        deadline = time.monotonic() + 5
        while self._clock.sleeping == 0:
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def ended(self) -> bool:
        self._thread.join(5)
        return not self._thread.is_alive()


@pytest.mark.parametrize(("when", "made"), [(None, 0), ("before", 0), ("after", 1)])
def test_a_delay_is_on_the_clock(raw: Rig, when: str | None, made: int) -> None:
    order(raw, action="CreateNics", kind="delay", seconds=30, when=when)
    asker = Asker(raw, "CreateNics", vxnet=PODS)
    asker.await_held()
    assert owned(raw) == made
    raw.emu.advance(29)
    assert asker.reply is None
    raw.emu.advance(1)
    assert asker.ended()
    assert asker.reply is not None
    assert asker.reply["ret_code"] == 0


def test_every_call_has_the_latency_of_the_setting(raw: Rig) -> None:
    raw.set(api_latency=3600)
    asker = Asker(raw, "DescribeNics")
    asker.await_held()
    raw.emu.advance(3600)
    assert asker.ended()
    assert asker.reply is not None


def test_a_delayed_call_does_not_hold_up_the_end(raw: Rig) -> None:
    order(raw, action="DescribeNics", kind="delay", seconds=3600)
    asker = Asker(raw, "DescribeNics")
    asker.await_held()
    raw.emu.stop()
    assert asker.ended()


class TestJobs:
    def finished(self, rig: Rig, nics: list[str]) -> dict[str, t.Any]:
        job_id = rig.attach(nics)
        rig.emu.advance(60)
        return rig.job(job_id)

    def in_use(self, rig: Rig, nics: list[str]) -> list[bool]:
        return [rig.nic(nic)["status"] == "in-use" for nic in nics]

    def test_failed(self, rig: Rig) -> None:
        order(rig, action="AttachNics", kind="job_failed")
        nics = rig.create(2)
        job = self.finished(rig, nics)
        assert (job["status"], job["error_codes"]) == ("failed", "5000")
        assert self.in_use(rig, nics) == [False, False]
        assert self.finished(rig, nics)["status"] == "successful"

    def test_half_done(self, rig: Rig) -> None:
        order(rig, action="AttachNics", kind="job_partial", done=2)
        nics = rig.create(3)
        assert self.finished(rig, nics)["status"] == "done with failure"
        assert self.in_use(rig, nics) == [True, True, False]

    def test_half_done_under_another_name(self, raw: Rig) -> None:
        order(raw, action="AttachNics", kind="job_partial", done=1, job_status="successful")
        nics = raw.create(2)
        assert self.finished(raw, nics)["status"] == "successful"
        assert self.in_use(raw, nics) == [True, False]

    def test_half_detached(self, raw: Rig) -> None:
        nics = raw.attached(2)
        order(raw, action="DetachNics", kind="job_partial", done=1)
        raw.ok("DetachNics", nics=nics)
        raw.emu.advance(60)
        assert self.in_use(raw, nics) == [False, True]

    def test_stuck(self, rig: Rig) -> None:
        order(rig, action="AttachNics", kind="job_stuck")
        nics = rig.create()
        assert self.finished(rig, nics)["status"] == "working"
        rig.emu.advance(86400)
        job_id = rig.ok("DescribeJobs")["job_set"][0]["job_id"]
        assert rig.job(job_id)["status"] == "working"
        rig.refused(1400, "AttachNics", nics=nics, instance="i-00000001")
        assert control(rig.emu, "POST", "quiesce", {"timeout": 0}) == {"quiet": False, "live_jobs": [job_id]}
        assert control(rig.emu, "POST", "release-jobs") == {"released": [job_id]}
        assert rig.job(job_id)["status"] == "successful"

    def test_a_refused_call_does_not_use_the_fault_up(self, raw: Rig) -> None:
        order(raw, action="AttachNics", kind="job_failed")
        raw.refused(2100, "AttachNics", nics=["52:54:00:ff:ff:ff"], instance="i-00000001")
        assert self.finished(raw, raw.create())["status"] == "failed"


def test_describe_lag(raw: Rig) -> None:
    order(raw, action="CreateNics", kind="describe_lag", seconds=10)
    late, soon = raw.create()[0], raw.create()[0]

    def seen() -> set[str]:
        return {item["nic_id"] for item in raw.ok("DescribeNics", nics=[late, soon])["nic_set"]}

    assert seen() == {soon}
    raw.emu.advance(10)
    assert seen() == {late, soon}


@pytest.mark.parametrize(
    "wanted",
    [
        {"action": "CreateNics"},
        {"action": "CreateNics", "kind": "meteor"},
        {"action": "CreateNics", "kind": "delay", "second": 3},
        {"action": "CreateNics", "kind": "delay", "count": 0},
        {"action": "CreateNics", "kind": "drop_reply", "when": "later"},
        {"action": "CreateNics", "kind": "job_partial", "job_status": "lost"},
    ],
)
def test_a_fault_that_means_nothing(raw: Rig, wanted: dict[str, t.Any]) -> None:
    with pytest.raises(EmulatorError):
        raw.emu.faults.order(wanted)
    with pytest.raises(urllib.error.HTTPError, match="400"):
        control(raw.emu, "POST", "faults", wanted)
