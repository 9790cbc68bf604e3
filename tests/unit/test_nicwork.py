# SPDX-License-Identifier: GPL-3.0-or-later
"""NICs made, attached, detached and deleted against the emulated cloud, as it may behave where nobody knows how."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from hostnic.errors import Busy, Denied, HostnicError, QuotaExceeded, Timeout, VxnetFull
from hostnic.nics import Plan, Seen, Use, Wanted, plan
from hostnic.nicwork import Worker
from tests.support.emulated_cloud import HERE, NAME, THERE, EmulatedCloud


class Rig:
    """One cloud; each `run` is a module's run from looking to the end."""

    def __init__(self, directory: Path, **settings: t.Any) -> None:
        self.emulated = EmulatedCloud(directory, **settings)
        self.emulator = self.emulated.emulator

    def run(self, state: str, count: t.Optional[int] = None, **more: t.Any) -> Plan:
        options = {key: more.pop(key) for key in ("wait", "timeout") if key in more}
        fields = {"name": NAME, "instance_id": HERE, "vxnet_id": "vxnet-a", **more}
        wanted = Wanted(state, count=count, **fields)
        # a client has a clock of its own; here it is the cloud's, which goes on while the client sleeps
        worker = Worker(
            self.emulated.client(), wanted, clock=self.emulator.clock.now, sleep=self.emulator.advance, **options
        )
        decided = plan(wanted, [Seen(nic, Use.IDLE) for nic in worker.look()])
        worker.check_room(decided)
        if decided.changes:
            worker.carry_out(decided)
        return decided

    def ours(self, attached: t.Optional[bool] = None) -> list[str]:
        found = [nic for nic in self.emulator.cloud.nics.values() if nic.nic_name == NAME]
        return sorted(nic.nic_id for nic in found if attached in (None, nic.status == "in-use"))


@pytest.fixture
def make(tmp_path: Path) -> t.Iterator[t.Callable[..., Rig]]:
    rigs: list[Rig] = []

    def start(**settings: t.Any) -> Rig:
        rigs.append(Rig(tmp_path, **settings))
        rigs[-1].emulator.start()
        return rigs[-1]

    yield start
    for rig in rigs:
        rig.emulator.stop()


UNKNOWN_CLOUDS: t.Final[tuple[dict[str, t.Any], ...]] = (
    {},
    {"nic_name_match": "substring", "total_count": "all", "describe_order": "random"},
    {"parallel_jobs_per_instance": "refuse", "parallel_jobs_per_nic": "queue"},
    {"parallel_jobs_per_instance": "queue", "describe_lag": 6.0},
    {"attach_list_max": 4, "detach_list_max": 3, "delete_list_max": 1},
    {"nic_status_flip": "start", "unknown_nic": "2100", "address_order": "random"},
)


@pytest.mark.parametrize("settings", UNKNOWN_CLOUDS, ids=lambda settings: ",".join(settings) or "usual")
def test_the_life_of_some_nics(make: t.Callable[..., Rig], settings: dict[str, t.Any]) -> None:
    rig = make(**settings)
    others = rig.emulator.cloud
    assert rig.run("present", 3).create == 3 and len(rig.ours(attached=False)) == 3
    assert not rig.run("present", 3).changes
    assert rig.run("attached", 12).create == 9 and len(rig.ours(attached=True)) == 12
    assert not rig.run("attached", 12).changes
    assert len(rig.run("detached", 5).detach) == 5 and len(rig.ours(attached=False)) == 5
    assert not rig.run("detached", 5).changes
    kept = rig.ours()
    assert len(rig.run("absent", 2).delete) == 2 and set(rig.ours()) < set(kept)
    rig.run("absent")
    assert rig.ours() == []
    assert not rig.run("absent").changes
    assert {nic.role for nic in others.nics.values()} == {1}, "the instances' own are all that is left"


def test_an_answer_that_was_lost_is_found_by_its_name(make: t.Callable[..., Rig]) -> None:
    rig = make(describe_lag=3.0)
    rig.emulated.fault("CreateNics", "drop_reply", when="after")
    assert rig.run("attached", 4).create == 4
    assert len(rig.ours(attached=True)) == 4 == len(rig.ours())
    assert rig.emulated.calls("CreateNics") == 1


def test_a_call_that_never_arrived_is_sent_again_once_nothing_shows(make: t.Callable[..., Rig]) -> None:
    rig = make()
    rig.emulated.fault("CreateNics", "ret_code", ret_code=5000, message="internal")
    assert rig.run("present", 4).create == 4
    assert len(rig.ours()) == 4 and rig.emulated.calls("CreateNics") == 2


def test_addresses_after_a_lost_answer(make: t.Callable[..., Rig]) -> None:
    rig = make()
    rig.emulated.fault("CreateNics", "drop_reply", when="after")
    addresses = ("192.168.1.77", "192.168.1.78")
    rig.run("present", private_ips=addresses)
    assert {nic.private_ip for nic in rig.emulator.cloud.nics.values() if nic.nic_name == NAME} == set(addresses)
    assert not rig.run("present", private_ips=addresses).changes


@pytest.mark.parametrize("action", ["AttachNics", "DetachNics", "DeleteNics"])
def test_the_answer_of_a_step_is_lost(make: t.Callable[..., Rig], action: str) -> None:
    rig = make()
    rig.emulated.fault(action, "drop_reply", when="after")
    rig.run("attached", 3)
    rig.run("absent")
    assert rig.ours() == [] and rig.emulated.calls(action) == 1


def test_a_busy_cloud_is_asked_again(make: t.Callable[..., Rig]) -> None:
    rig = make()
    rig.emulated.fault("AttachNics", "ret_code", ret_code=5300, message="ServerBusy, updating", count=2)
    rig.run("attached", 2)
    assert len(rig.ours(attached=True)) == 2


def test_a_job_that_fails(make: t.Callable[..., Rig]) -> None:
    rig = make()
    rig.emulated.fault("AttachNics", "job_failed")
    with pytest.raises(Busy, match=r"did not attach 52:.*job j-\w+ is failed") as caught:
        rig.run("attached", 2)
    assert caught.value.details["changed"] and caught.value.details["action"] == "AttachNics"
    assert len(rig.ours(attached=False)) == 2, "they are there for the next run"
    assert rig.run("attached", 2).create == 0


def test_a_job_that_hangs(make: t.Callable[..., Rig]) -> None:
    rig = make()
    rig.emulated.fault("AttachNics", "job_stuck")
    with pytest.raises(Timeout, match="attaching 52:.* is not over after 30 s: raise wait_timeout"):
        rig.run("attached", 1, timeout=30.0)


def test_only_sent(make: t.Callable[..., Rig]) -> None:
    rig = make()
    rig.run("attached", 2, wait=False)
    assert rig.ours(attached=True) == []
    rig.emulator.advance(60)
    assert len(rig.ours(attached=True)) == 2


def test_the_instance_is_full(make: t.Callable[..., Rig]) -> None:
    rig = make(nics_per_instance=3)
    with pytest.raises(HostnicError) as caught:
        rig.run("attached", 4)
    assert isinstance(caught.value, (QuotaExceeded, Denied)) and caught.value.details["ret_code"] == 1400


def test_the_vxnet_is_full(make: t.Callable[..., Rig]) -> None:
    rig = make(reserved_addresses=247)
    with pytest.raises(VxnetFull, match="vxnet-a has 4 free addresses, and 5 more NICs"):
        rig.run("present", 5)
    assert rig.emulated.calls("CreateNics") == 0


def test_what_somebody_else_takes_meanwhile_is_left_alone(make: t.Callable[..., Rig]) -> None:
    rig = make()
    rig.run("attached", 2)
    one = rig.emulator.cloud.nics[rig.ours()[0]]
    client = rig.emulated.client()
    wanted = Wanted("absent", NAME, HERE)
    worker = Worker(client, wanted, clock=rig.emulator.clock.now, sleep=rig.emulator.advance)
    decided = plan(wanted, [Seen(nic, Use.IDLE) for nic in worker.look()])
    one.instance_id = THERE
    with pytest.raises(Busy, match="changed by somebody else") as caught:
        worker.carry_out(decided)
    assert len(rig.ours()) == 2 and not caught.value.details["changed"]

    one.instance_id, one.status = "", "available"
    one.nic_name = "theirs"
    with pytest.raises(Busy, match="taken by somebody else"):
        worker.carry_out(decided)
    assert one.nic_id in rig.emulator.cloud.nics
