# SPDX-License-Identifier: GPL-3.0-or-later
"""AttachNics and DetachNics: what is refused at once, and what the job does."""

from __future__ import annotations

import json

import pytest

from tests.emulator.emulator import Emulator
from tests.unit.emulator.rig import NODE, NODE_B, PODS, STOPPED, Rig, control

NOWHERE = "52:54:00:ff:ff:ff"
PRIMARY = "52:54:00:00:00:01"


def test_the_course_of_a_job(rig: Rig) -> None:
    nics = rig.create(2)
    job_id = rig.attach(nics)
    assert rig.job(job_id)["status"] == "pending"
    rig.emu.advance(0.5)
    assert rig.job(job_id)["status"] == "working"
    assert rig.nic(nics[0])["status"] == "available"
    rig.emu.advance(3)
    job = rig.job(job_id)
    assert job["status"] == "successful"
    assert (job["job_action"], job["error_codes"]) == ("AttachNics", "")
    assert job["resource_ids"] == " ".join([NODE, *nics])
    directive = json.loads(job["directive"])
    assert (directive["nics"], directive["instance"], directive["action"]) == (nics, NODE, "AttachNics")
    assert "signature" not in directive
    items = [rig.nic(nic) for nic in nics]
    assert [(item["status"], item["instance_id"], item["sequence"]) for item in items] == [
        ("in-use", NODE, 1),
        ("in-use", NODE, 2),
    ]


def test_detach(rig: Rig) -> None:
    nics = rig.attached(2)
    job_id = rig.ok("DetachNics", nics=nics)["job_id"]
    assert rig.nic(nics[0])["status"] == "in-use"
    rig.emu.advance(60)
    assert rig.job(job_id)["status"] == "successful"
    item = rig.nic(nics[0])
    assert (item["status"], item["instance_id"], item["sequence"]) == ("available", "", 0)


def test_attach_is_refused(rig: Rig, other: Rig) -> None:
    nics = rig.create()
    rig.refused(1100, "AttachNics", instance=NODE)
    rig.refused(1100, "AttachNics", nics=nics)
    rig.refused(2100, "AttachNics", nics=[NOWHERE], instance=NODE)
    rig.refused(2100, "AttachNics", nics=nics, instance="i-nosuch00")
    rig.refused(1400, "AttachNics", nics=rig.attached(), instance=NODE)
    text = rig.refused(1400, "AttachNics", nics=nics, instance=STOPPED)
    assert text == f"PermissionDenied, instance [{STOPPED}] is not running, nics can not be attached"
    other.refused(1400, "AttachNics", nics=nics, instance=NODE)
    assert rig.nic(nics[0])["status"] == "available"


def test_attach_stopped_code(raw: Rig) -> None:
    raw.set(attach_stopped_code=5300)
    raw.refused(5300, "AttachNics", nics=raw.create(), instance=STOPPED)


def test_detach_is_refused(rig: Rig) -> None:
    rig.refused(1400, "DetachNics", nics=rig.create())
    rig.refused(1400, "DetachNics", nics=[PRIMARY])
    assert "ResourceNotFound" in rig.refused(2100, "DetachNics", nics=[NOWHERE])


def test_an_instance_has_64_nics_at_most(rig: Rig) -> None:
    nics = rig.create(64)
    rig.refused(1400, "AttachNics", nics=nics, instance=NODE)
    rig.attach(nics[:60])
    text = rig.refused(1400, "AttachNics", nics=nics[60:], instance=NODE)
    assert text == "PermissionDenied, you can only attach [64] nics to one instance at most"
    rig.attach(nics[60:63])
    rig.emu.advance(60)
    rig.refused(1400, "AttachNics", nics=nics[63:], instance=NODE)
    rig.attach(nics[63:], NODE_B)


def test_the_limit_may_be_looked_at_before_the_nics(raw: Rig) -> None:
    raw.set(nics_per_instance=3)
    raw.refused(2100, "AttachNics", nics=[NOWHERE, NOWHERE.replace("ff", "fe"), PRIMARY], instance=NODE)
    raw.set(nic_limit_first=True)
    many = [f"52:54:00:ff:ff:{number:02x}" for number in range(3)]
    assert "only attach [3] nics" in raw.refused(1400, "AttachNics", nics=many, instance=NODE)
    raw.refused(2100, "AttachNics", nics=many[:2], instance=NODE)


def test_the_limit_by_setting_and_by_type(raw: Rig) -> None:
    nics = raw.create(3)
    raw.set(nics_per_instance=2, nic_limit_code=2500)
    raw.refused(2500, "AttachNics", nics=nics[:2], instance=NODE)
    raw.set(nics_per_instance_type={"c1m1": 3})
    raw.attach(nics[:2])


@pytest.mark.parametrize("action", ["attach", "detach"])
def test_list_length(raw: Rig, action: str) -> None:
    raw.set(**{f"{action}_list_max": 2})
    nics = raw.create(3) if action == "attach" else [*raw.attached(2), *raw.attached(1)]
    name, values = ("AttachNics", {"instance": NODE}) if action == "attach" else ("DetachNics", {})
    raw.refused(1100, name, nics=nics, **values)
    raw.ok(name, nics=nics[:2], **values)


class TestPartial:
    def test_attach_whole_or_not_at_all(self, raw: Rig) -> None:
        good = raw.create()
        raw.refused(2100, "AttachNics", nics=[*good, NOWHERE], instance=NODE)
        assert raw.emu.cloud.jobs == {}

    @pytest.mark.parametrize("status", ["done with failure", "failed", "successful"])
    def test_attach_the_good_ones(self, raw: Rig, status: str) -> None:
        raw.set(attach_all_or_nothing=False, partial_job_status=status)
        good = raw.create()
        job_id = raw.attach([*good, NOWHERE])
        raw.emu.advance(60)
        assert raw.nic(good[0])["status"] == "in-use"
        assert (raw.job(job_id)["status"], raw.job(job_id)["error_codes"]) == (status, "2100")

    def test_error_codes_formats(self, raw: Rig) -> None:
        for form, wanted in (("empty", ""), ("json", json.dumps({NOWHERE: 2100}))):
            raw.set(attach_all_or_nothing=False, error_codes_format=form)
            job_id = raw.attach([*raw.create(), NOWHERE])
            raw.emu.advance(60)
            assert raw.job(job_id)["error_codes"] == wanted

    def test_none_good_is_refused_at_once(self, raw: Rig) -> None:
        raw.set(attach_all_or_nothing=False, detach_all_or_nothing=False)
        raw.refused(2100, "AttachNics", nics=[NOWHERE], instance=NODE)
        raw.refused(2100, "DetachNics", nics=[NOWHERE])

    def test_detach(self, raw: Rig) -> None:
        good, free = raw.attached(), raw.create()
        raw.refused(1400, "DetachNics", nics=good + free)
        raw.set(detach_all_or_nothing=False)
        raw.ok("DetachNics", nics=good + free)
        raw.emu.advance(60)
        assert raw.nic(good[0])["status"] == "available"


class TestParallelJobs:
    def test_allowed_on_one_instance(self, raw: Rig) -> None:
        jobs = [raw.attach(raw.create()) for __ in range(2)]
        raw.emu.advance(3.5)
        assert [raw.job(job)["status"] for job in jobs] == ["successful"] * 2

    def test_refused_on_one_instance(self, raw: Rig) -> None:
        raw.set(parallel_jobs_per_instance="refuse", busy_code=5300)
        nics = raw.create(3)
        raw.attach(nics[:1])
        raw.refused(5300, "AttachNics", nics=nics[1:2], instance=NODE)
        raw.attach(nics[2:], NODE_B)
        raw.emu.advance(60)
        raw.attach(nics[1:2])
        raw.refused(5300, "DetachNics", nics=nics[:1])

    def test_queued_on_one_instance(self, raw: Rig) -> None:
        raw.set(parallel_jobs_per_instance="queue")
        first, second = raw.attach(raw.create()), raw.attach(raw.create())
        elsewhere = raw.attach(raw.create(), NODE_B)
        raw.emu.advance(3.5)
        assert [raw.job(job)["status"] for job in (first, second, elsewhere)] == ["successful", "pending", "successful"]
        raw.emu.advance(3.4)
        assert raw.job(second)["status"] == "working"
        raw.emu.advance(0.1)
        assert raw.job(second)["status"] == "successful"

    def test_refused_on_one_nic(self, raw: Rig) -> None:
        nics = raw.create()
        raw.attach(nics)
        raw.refused(1400, "AttachNics", nics=nics, instance=NODE_B)
        raw.refused(1400, "DetachNics", nics=nics)

    def test_queued_on_one_nic(self, raw: Rig) -> None:
        raw.set(parallel_jobs_per_nic="queue")
        nics = raw.create()
        raw.attach(nics)
        detach = raw.ok("DetachNics", nics=nics)["job_id"]
        again = raw.attach(nics, NODE_B)
        raw.emu.advance(3.5)
        assert raw.nic(nics[0])["instance_id"] == NODE
        assert raw.job(detach)["status"] == "pending"
        raw.emu.advance(60)
        assert [raw.job(job)["status"] for job in (detach, again)] == ["successful"] * 2
        assert raw.nic(nics[0])["instance_id"] == NODE_B

    def test_allowed_on_one_nic_one_of_them_fails(self, raw: Rig) -> None:
        raw.set(parallel_jobs_per_nic="allow")
        nics = raw.create()
        jobs = [raw.attach(nics), raw.attach(nics, NODE_B)]
        raw.emu.advance(60)
        assert [raw.job(job)["status"] for job in jobs] == ["successful", "failed"]
        assert raw.nic(nics[0])["instance_id"] == NODE


class TestWhileAJobRuns:
    def test_flip_at_the_start(self, raw: Rig) -> None:
        raw.set(nic_status_flip="start")
        nics = raw.create()
        raw.attach(nics)
        assert (raw.nic(nics[0])["status"], raw.nic(nics[0])["instance_id"]) == ("in-use", NODE)
        raw.emu.advance(60)
        assert raw.nic(nics[0])["status"] == "in-use"
        raw.ok("DetachNics", nics=nics)
        assert raw.nic(nics[0])["status"] == "available"

    def test_a_failure_takes_the_flip_back(self, raw: Rig) -> None:
        raw.set(nic_status_flip="start")
        raw.emu.faults.order({"action": "*", "kind": "job_failed", "count": None})
        nics = raw.create()
        raw.attach(nics)
        raw.emu.advance(60)
        assert raw.nic(nics[0])["status"] == "available"
        raw.emu.faults.clear()
        raw.attach(nics)
        raw.emu.advance(60)
        raw.emu.faults.order({"action": "DetachNics", "kind": "job_failed"})
        raw.ok("DetachNics", nics=nics)
        raw.emu.advance(60)
        item = raw.nic(nics[0])
        assert (item["status"], item["instance_id"], item["sequence"]) == ("in-use", NODE, 1)

    @pytest.mark.parametrize(("reuse", "wanted"), [(True, 1), (False, 3)])
    def test_sequence_reuse(self, raw: Rig, reuse: bool, wanted: int) -> None:
        raw.set(sequence_reuse=reuse)
        nics = raw.attached(2)
        raw.ok("DetachNics", nics=nics[:1])
        raw.emu.advance(60)
        raw.attach(nics[:1])
        raw.emu.advance(60)
        assert raw.nic(nics[0])["sequence"] == wanted

    def test_the_instance_stops(self, raw: Rig) -> None:
        nics = raw.create()
        job_id = raw.attach(nics)
        control(raw.emu, "POST", f"instances/{NODE}/stop")
        raw.emu.advance(60)
        assert (raw.job(job_id)["status"], raw.job(job_id)["error_codes"]) == ("failed", "1400")
        assert raw.nic(nics[0])["status"] == "available"


class TestDurations:
    def test_by_setting(self, raw: Rig) -> None:
        raw.set(job_pending_seconds=2, job_working_seconds=10, job_seconds_per_nic=1)
        job_id = raw.attach(raw.create(5))
        raw.emu.advance(1.9)
        assert raw.job(job_id)["status"] == "pending"
        raw.emu.advance(0.2)
        assert raw.job(job_id)["status"] == "working"
        raw.emu.advance(14.8)
        assert raw.job(job_id)["status"] == "working"
        raw.emu.advance(0.2)
        assert raw.job(job_id)["status"] == "successful"

    def test_retention(self, raw: Rig) -> None:
        raw.set(job_retention_seconds=100)
        job_id = raw.attach(raw.create())
        raw.emu.advance(60)
        assert raw.job(job_id)["status"] == "successful"
        raw.emu.advance(101)
        raw.refused(2100, "DescribeJobs", jobs=[job_id])

    def test_jobs_run_by_themselves_on_the_machine_s_clock(self) -> None:
        from tests.unit.emulator.rig import WORLD, SdkClient

        with Emulator(world=WORLD) as emu:
            raw = Rig(emu, SdkClient(emu.url))
            raw.set(job_pending_seconds=0.02, job_working_seconds=0.05)
            nics = raw.create(2, PODS)
            job_id = raw.attach(nics)
            assert control(emu, "POST", "quiesce", {"timeout": 10}) == {"quiet": True, "live_jobs": []}
            assert raw.job(job_id)["status"] == "successful"


class TestPower:
    def status(self, raw: Rig, verb: str) -> str:
        return str(control(raw.emu, "POST", f"instances/{NODE}/{verb}")["status"])

    def test_nics_stay_over_a_stop_and_a_restart(self, raw: Rig) -> None:
        nic = raw.attached()[0]
        assert self.status(raw, "stop") == "stopped"
        assert raw.ok("DescribeInstances", instances=[NODE])["instance_set"][0]["status"] == "stopped"
        assert raw.nic(nic)["instance_id"] == NODE
        assert self.status(raw, "start") == "running"
        assert self.status(raw, "restart") == "running"
        assert raw.nic(nic)["instance_id"] == NODE

    @pytest.mark.parametrize("verb", ["stop", "restart", "terminate", "cease"])
    def test_or_are_free(self, raw: Rig, verb: str) -> None:
        raw.set(**{f"nics_on_{verb}": "free"})
        nic = raw.attached()[0]
        self.status(raw, verb)
        assert (raw.nic(nic)["status"], raw.nic(nic)["instance_id"]) == ("available", "")

    @pytest.mark.parametrize("verb", ["terminate", "cease"])
    def test_or_are_deleted(self, raw: Rig, verb: str) -> None:
        raw.set(**{f"nics_on_{verb}": "delete"})
        nic = raw.attached()[0]
        self.status(raw, verb)
        assert raw.ok("DescribeNics", nics=[nic])["total_count"] == 0

    def test_the_primary_goes_with_the_instance(self, raw: Rig) -> None:
        self.status(raw, "terminate")
        assert raw.nic(PRIMARY)["instance_id"] == NODE
        self.status(raw, "cease")
        assert raw.ok("DescribeNics", nics=[PRIMARY])["total_count"] == 0
