# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe against clouds that are set differently: what it finds is how they are set, and no NIC is left."""

from __future__ import annotations

import os
import signal
import threading
import time
import typing as t
from pathlib import Path

import pytest

from plugins.module_utils._ansible.probe import task
from plugins.module_utils._ansible.probe.estate import POLL, VISIBLE, names
from plugins.module_utils.hostnic.cloud.build import connect
from plugins.module_utils.hostnic.cloud.limiter import RateLimiter
from plugins.module_utils.hostnic.cloud.qingcloud import QingCloud
from plugins.module_utils.hostnic.config import Settings
from plugins.module_utils.hostnic.errors import HostnicError, QuotaExceeded
from tests.emulator import Settings as CloudSettings
from tests.support.emulated_cloud import HERE, NAME, THERE, EmulatedCloud

EXACT = ("seconds", "lag")


class Bench:
    """An emulated account with NICs of others on the instance, on a clock that sleeping moves."""

    def __init__(self, directory: Path, **settings: t.Any) -> None:
        self._access = directory / "client.yaml"
        self.cloud = EmulatedCloud(directory, **settings)
        self.emulator = self.cloud.emulator
        self.client: QingCloud

    def __enter__(self) -> Bench:
        self.emulator.start()
        self.cloud.client()  # writes the access file
        self.client = connect(
            Settings(access_file=str(self._access)),
            limiter=RateLimiter(1e6, 1000, self.clock, self.sleep),
            clock=self.clock,
            sleep=self.sleep,
        )
        attached = self.client.create_nics("vxnet-a", 2, NAME)
        for nic in attached:
            self.client.attach_nics([nic.nic_id], HERE)
            self.sleep(60)
        self.client.create_nics("vxnet-a", 1, f"qingprobe_{THERE}")
        self.sleep(60)
        self.before = self.nics()
        return self

    def __exit__(self, *__: object) -> None:
        self.emulator.stop()

    def clock(self) -> float:
        return self.emulator.clock.now()

    def sleep(self, seconds: float) -> None:
        self.emulator.advance(seconds)

    def nics(self) -> dict[str, tuple[str, str]]:
        """Id ► name and instance."""
        return {nic.nic_id: (nic.nic_name, nic.instance_id) for nic in self.emulator.cloud.nics.values()}

    def measure(self) -> task.Findings:
        return task.measure(self.client, HERE, "vxnet-a", self.clock, self.sleep)

    def clean(self, check_only: bool = False) -> list[str]:
        return task.clean(self.client, HERE, self.clock, self.sleep, check_only)


CLOUDS: t.Final[t.Mapping[str, dict[str, t.Any]]] = {
    "as documented": {},
    "strict": {
        "attach_list_max": 5,
        "detach_list_max": 10,
        "delete_list_max": 63,
        "list_too_long_code": 1101,
        "parallel_jobs_per_instance": "refuse",
        "busy_code": 5300,
        "nic_name_match": "prefix",
        "limit_overflow": "error",
        "limit_invalid": "error",
        "unknown_nic": "2100",
        "job_pending_seconds": 2.0,
        "job_working_seconds": 5.5,
        "job_seconds_per_nic": 1.5,
        "nic_status_flip": "start",
        "describe_lag": 3.0,
        "delete_lag": 1.5,
        "aspoof_change": "refuse",
        "aspoof_refused_code": 1101,
        "mac_prefix": "52:54:9e",
    },
    "loose": {
        "parallel_jobs_per_instance": "queue",
        "nic_name_match": "substring",
        "aspoof_shown": True,
        "attach_list_max": 1,
        "job_pending_seconds": 0.25,
        "job_working_seconds": 1.0,
        "delete_lag": 6.0,
    },
}


@pytest.mark.parametrize("name", CLOUDS)
def test_what_is_found_is_how_the_cloud_is_set(tmp_path: Path, name: str) -> None:
    with Bench(tmp_path, **CLOUDS[name]) as bench:
        found = bench.measure()
        wanted = bench.emulator.cloud.settings
        assert bench.nics() == bench.before
        assert bench.cloud.calls("CreateNics") - 2 == 4
    differing = {
        key: (value, getattr(wanted, key)) for key, value in found.settings.items() if not same(key, value, wanted)
    }
    assert differing == {}
    measured = set(found.settings)
    assert set(CLOUDS[name]) <= measured
    assert found.unmeasured.keys() == {"nics_per_instance"} and not found.unmeasured.keys() & measured
    assert CloudSettings().changed(found.settings), "the emulator loads it"


def same(key: str, value: t.Any, wanted: CloudSettings) -> bool:
    """Times are as exact as looking every now and then can be."""
    if any(word in key for word in EXACT):
        return abs(value - getattr(wanted, key)) <= POLL
    return bool(value == getattr(wanted, key))


@pytest.mark.parametrize(("limit", "told"), [(3, 3), (4, 4), (5, None)])
def test_the_instances_limit_is_learned_where_a_refusal_tells_it(
    tmp_path: Path, limit: int, told: t.Optional[int]
) -> None:
    """Three NICs are on it before; the probe attaches two more at most."""
    with Bench(tmp_path, nics_per_instance=limit, nic_limit_code=2500) as bench:
        found = bench.measure()
        assert bench.nics() == bench.before
    assert found.settings.get("nics_per_instance") == told
    assert found.settings.get("nic_limit_code") == (2500 if told else None)
    assert ("nics_per_instance" in found.unmeasured) == (told is None)
    assert ("parallel_jobs_per_instance" in found.unmeasured) == (limit < 5)


def test_the_limit_is_learned_from_a_long_list_where_it_is_looked_at_first(tmp_path: Path) -> None:
    with Bench(tmp_path, nics_per_instance=32, nic_limit_first=True, delete_list_max=40) as bench:
        found = bench.measure().settings
        assert bench.nics() == bench.before
    assert (found["nics_per_instance"], found["attach_list_max"], found["delete_list_max"]) == (32, 0, 40)


# What fails of which action, and how often it goes well before: jobs are counted where they were taken on.
BROKEN: t.Final = ("drop_reply", "http_status", "ret_code")
FAULTS: t.Final = [
    *((action, skip, kind) for action in ("CreateNics", "DeleteNics") for skip in (0, 2, 3) for kind in BROKEN),
    *((action, skip, kind) for action in ("DescribeNics", "DescribeJobs") for skip in (0, 5, 12) for kind in BROKEN),
    *(("AttachNics", skip, kind) for skip in (0, 2, 3, 4) for kind in BROKEN),
    *(("DetachNics", skip, kind) for skip in (1, 2, 3) for kind in BROKEN),
    *(("AttachNics", skip, "job_failed") for skip in (0, 1, 2)),
    *(("DetachNics", skip, "job_failed") for skip in (0, 1)),
    *(("ModifyNicAttributes", 0, kind) for kind in BROKEN),
]


@pytest.mark.parametrize(("action", "skip", "kind"), FAULTS)
def test_no_nic_is_left_where_the_api_fails_in_the_middle(tmp_path: Path, action: str, skip: int, kind: str) -> None:
    """An answer that fails but for a read, which is repeated, ends the probe; either way the NICs are gone."""
    with Bench(tmp_path, job_working_seconds=1.0) as bench:
        bench.cloud.fault(action, kind, skip=skip)
        error: t.Optional[HostnicError] = None
        try:
            bench.measure()
        except HostnicError as caught:
            error = caught
        assert not bench.emulator.faults.to_list(), "the fault has struck"
        assert bench.nics() == bench.before
        assert error is None or "may be left" not in error.message
        if action == "CreateNics":
            assert error is not None


def test_no_nic_is_left_after_an_outage_of_a_minute(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        bench.cloud.fault("*", "http_status", count=None, skip=60)
        over = bench.clock() + 90

        def sleep(seconds: float) -> None:
            bench.sleep(seconds)
            if bench.clock() >= over:
                bench.emulator.faults.clear()

        with pytest.raises(HostnicError, match="HTTP status 502"):
            task.measure(bench.client, HERE, "vxnet-a", bench.clock, sleep)
        assert bench.nics() == bench.before


def test_what_cannot_be_removed_is_named_and_removed_later(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        bench.cloud.fault("AttachNics", "job_stuck", skip=2)
        with pytest.raises(HostnicError, match="was not over after 180 s; NICs of the probe may be left: ") as caught:
            bench.measure()
        (left,) = bench.nics().keys() - bench.before.keys()
        assert left in caught.value.message and "state=cleaned" in caught.value.message
        bench.emulator.control.release_jobs()
        bench.sleep(1)
        held = bench.nics()
        with pytest.raises(HostnicError, match="NICs of an earlier probe are there"):
            bench.measure()
        assert bench.clean(check_only=True) == [left]
        assert bench.nics() == held, "they may be another probe's that runs now"
        assert bench.clean() == [left]
        assert bench.nics() == bench.before
        assert bench.clean() == []


def test_a_nic_that_shows_late_is_removed_too(tmp_path: Path) -> None:
    """Its CreateNics was not answered, and for a while Describe does not show what it has made."""
    with Bench(tmp_path, describe_lag=VISIBLE - 5) as bench:
        bench.cloud.fault("CreateNics", "drop_reply")
        with pytest.raises(HostnicError, match="CreateNics"):
            bench.measure()
        assert bench.nics() == bench.before


def test_a_nic_that_is_said_not_to_be_there_yet_is_removed_too(tmp_path: Path) -> None:
    """What was just made may be unknown to the part of the cloud that is to delete it."""
    with Bench(tmp_path) as bench:
        said = {"ret_code": 2100, "message": "ResourceNotFound, resource is not found"}
        bench.cloud.fault("DeleteNics", "ret_code", skip=2, **said)
        bench.measure()
        assert not bench.emulator.faults.to_list()
        assert bench.nics() == bench.before


def test_nics_that_only_bear_its_names_are_left_alone(tmp_path: Path) -> None:
    """The instance's primary NIC, and one that somebody attached to another instance."""
    with Bench(tmp_path) as bench:
        primary = next(nic.nic_id for nic in bench.emulator.cloud.nics_of(HERE) if nic.role == 1)
        bench.client.call("ModifyNicAttributes", {"nic": primary, "nic_name": names(HERE)[0]})
        elsewhere = bench.client.create_nics("vxnet-a", 1, names(HERE)[1])
        bench.client.attach_nics([nic.nic_id for nic in elsewhere], THERE)
        bench.sleep(60)
        before = bench.nics()
        assert bench.clean(check_only=True) == bench.clean() == []
        bench.measure()
        assert bench.nics() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_without_leaving_a_nic(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Bench(tmp_path) as bench:

        def sleep(seconds: float) -> None:
            bench.sleep(seconds)
            if any(nic.nic_name in names(HERE) for nic in bench.emulator.cloud.nics_of(HERE)):
                os.kill(os.getpid(), number)

        with pytest.raises(HostnicError, match=f"stopped by {number.name}"):
            task.measure(bench.client, HERE, "vxnet-a", bench.clock, sleep)
        assert bench.nics() == bench.before
    assert signal.getsignal(number) is before


def test_a_signal_during_a_call_leaves_no_nic_either(tmp_path: Path) -> None:
    """CreateNics has made one, is not answered, and Describe shows the NIC later."""
    with Bench(tmp_path, describe_lag=VISIBLE - 5) as bench:
        bench.cloud.fault("CreateNics", "delay", seconds=3600, when="after")

        def interrupt() -> None:
            while not bench.cloud.clock.sleeping:
                time.sleep(0.01)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(HostnicError, match="stopped by SIGTERM"):
            bench.measure()
        thread.join()
        assert bench.cloud.calls("DeleteNics") == 3
        assert bench.nics() == bench.before


@pytest.mark.parametrize(
    ("instance", "vxnet", "sentence"),
    [
        (HERE, "vxnet-nosuch", "vxnet vxnet-nosuch is unknown: name one of this zone in vxnet"),
        (HERE, "vxnet-lone", "vxnet vxnet-lone is in no router"),
        ("i-nosuch", "vxnet-a", "the cloud shows no primary NIC of i-nosuch: name an instance of this zone"),
    ],
)
def test_what_stands_against_it_is_said_before_anything_is_made(
    tmp_path: Path, instance: str, vxnet: str, sentence: str
) -> None:
    with Bench(tmp_path) as bench, pytest.raises(HostnicError, match=sentence):
        task.check(bench.client, instance, vxnet)


def test_a_full_account_is_told_as_it_is(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        bench.emulator.control.change_settings({"nics_per_account": len(bench.before) + 2})
        with pytest.raises(QuotaExceeded):
            bench.measure()
        assert bench.nics() == bench.before
