# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulated cloud says no, loses an answer, or wants the key of a role."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest

from hostnic import errors
from hostnic.cloud.breaker import Breaker
from hostnic.cloud.limiter import RateLimiter
from hostnic.cloud.qingcloud import QingCloud
from hostnic.model import CloudNic
from tests.support.emulated_cloud import HERE, NAME, EmulatedCloud


@pytest.fixture
def make(tmp_path: Path) -> t.Iterator[t.Callable[..., EmulatedCloud]]:
    with contextlib.ExitStack() as stack:

        def made(**settings: t.Any) -> EmulatedCloud:
            world = EmulatedCloud(tmp_path, **settings)
            stack.enter_context(world.emulator)
            return world

        yield made


Make = t.Callable[..., EmulatedCloud]


def ids(nics: t.Iterable[CloudNic]) -> list[str]:
    return [nic.nic_id for nic in nics]


def refusal(cloud: QingCloud, count: int = 1) -> errors.HostnicError:
    with pytest.raises(errors.HostnicError) as caught:
        cloud.create_nics("vxnet-a", count, NAME)
    error = caught.value
    assert error.details["action"] == "CreateNics"
    assert "SK" not in error.message.split()
    return error


@pytest.mark.parametrize("code", [2500, 1400, 5200])
def test_full_vxnet(make: Make, code: int) -> None:
    cloud = make(vxnet_full_code=code).client()
    cloud.create_nics("vxnet-a", 240, NAME)
    assert isinstance(refusal(cloud, 20), errors.VxnetFull)


def test_quota_of_the_account(make: Make) -> None:
    error = refusal(make(nics_per_account=3).client(), 4)
    assert isinstance(error, errors.QuotaExceeded)
    assert error.details["scope"] == "account"


def test_quota_of_the_day(make: Make) -> None:
    cloud = make(calls_per_day=1).client()
    cloud.describe_zones()
    error = refusal(cloud)
    assert isinstance(error, errors.QuotaExceeded)
    assert error.details["scope"] == "day"


def test_limit_of_the_instance(make: Make) -> None:
    cloud = make(nics_per_instance=3).client()
    made = cloud.create_nics("vxnet-a", 3, NAME)
    with pytest.raises(errors.QuotaExceeded) as caught:
        cloud.attach_nics(ids(made), HERE)
    assert caught.value.details["scope"] == "instance"
    assert "you can only attach [3] nics to one instance at most" in caught.value.details["message"]
    cloud.attach_nics(ids(made)[:2], HERE)  # the primary is the third


def test_rate_limit_is_not_answered_with_more_calls(make: Make) -> None:
    world = make(rate_per_second=1.0, rate_burst=1)
    cloud = world.client()
    cloud.describe_zones()
    with pytest.raises(errors.RateLimited):
        cloud.describe_nics(name=NAME)
    assert world.calls("DescribeNics") == 1
    assert world.slept == []


@pytest.mark.parametrize(("penalty", "scope"), [(5.0, "key"), (30.0, "account"), (90.0, "key")])
def test_a_budget_that_is_smaller_than_api_rate_is_found_and_kept(make: Make, penalty: float, scope: str) -> None:
    """Half an hour at 5 calls a second, of which the account is given one in two seconds."""
    world = make(rate_per_second=0.5, rate_burst=5, rate_penalty=penalty, rate_scope=scope)
    now = world.clock.now
    limiter = RateLimiter(5, 5, now, world.emulator.advance, rng=lambda: 0.5)
    cloud = world.client(limiter=limiter)
    done = refused = 0
    end = now() + 1800
    while now() < end:
        try:
            cloud.describe_nics(name=NAME)
            done += 1
        except errors.RateLimited as error:
            refused += error.details["ret_code"] is not None
            world.emulator.advance(error.details["retry_in"])
    state = cloud.state()["limiter"]
    assert state["refused"] == refused
    assert world.calls("DescribeNics") == done + refused
    assert done > 300
    assert refused < done / 10


def test_that_nothing_is_there_is_a_sign_of_leniency_too(make: Make) -> None:
    """Jobs that are forgotten are asked for list by list: a rate that stays down would never let the second one out."""
    world = make()
    limiter = RateLimiter(5, 5, world.clock.now, world.emulator.advance, rng=lambda: 0.5)
    cloud = world.client(limiter=limiter)
    world.fault("DescribeJobs", "ret_code", ret_code=2500, message="QuotasExceeded, access too frequently", count=5)
    for __ in range(5):
        with pytest.raises(errors.RateLimited) as caught:
            cloud.describe_jobs(["j-forgotten", "j-forgotten2"])
        world.emulator.advance(caught.value.details["retry_in"])
    slow = limiter.state()["actions"]["DescribeJobs"]["rate"]
    world.fault("DescribeJobs", "ret_code", ret_code=2100, message="ResourceNotFound, resource not found", count=1)
    world.emulator.advance(60)
    cloud.describe_jobs(["j-forgotten"])
    assert limiter.state()["actions"]["DescribeJobs"]["rate"] == pytest.approx(slow + 5 / 20)


def test_an_api_that_comes_back_is_noticed_within_the_reconcile_interval(make: Make) -> None:
    world = make()
    limiter = RateLimiter(5, 5, world.clock.now, world.emulator.advance)
    cloud = world.client(limiter=limiter)
    world.fault("*", "http_status", status=503, count=None)
    for __ in range(60):
        with pytest.raises(errors.Unreachable):
            cloud.describe_zones()
        world.emulator.advance(10)
    assert cloud.state()["breaker"]["state"] == "OPEN"
    assert "HTTP status 503" in cloud.state()["breaker"]["last"]
    assert world.emulator.counters.to_dict()["calls"].get("DescribeZones", 0) == cloud.state()["limiter"]["calls"]
    world.emulator.faults.clear()
    world.emulator.advance(30)
    assert cloud.describe_zones() == {"pek3a": "active"}
    assert cloud.state()["breaker"]["state"] == "CLOSED"


def test_what_holds_calls_back_unless_something_else_is_given(make: Make) -> None:
    world = make()
    limiter = RateLimiter(5, 5, world.clock.now, world.emulator.advance)
    cloud = world.client(limiter=limiter, settings={"reconcile_interval": 7.0}, rng=lambda: 1.0)
    world.fault("*", "http_status", status=503, count=None)
    for __ in range(20):
        with pytest.raises(errors.Unreachable):
            cloud.describe_zones()
        world.emulator.advance(7)
    with pytest.raises(errors.Unreachable):
        cloud.describe_zones()
    assert cloud.state()["breaker"]["retry_in"] == 7.0

    world.emulator.faults.clear()
    world.fault("*", "ret_code", ret_code=2500, message="QuotasExceeded, access too frequently", count=None)
    cloud = world.client(limiter=None, settings={"api_rate": 3.0}, rng=lambda: 0.0)
    assert (cloud.state()["limiter"]["rate"], cloud.state()["limiter"]["burst"]) == (3.0, 4.0)  # enough for a pod
    assert refusal(cloud).details["retry_in"] == 2.5

    world.emulator.faults.clear()
    world.fault("*", "http_status", status=503, count=None)
    cloud = world.client(breaker=Breaker(1))
    refusal(cloud)
    assert cloud.state()["breaker"]["state"] == "OPEN"


def test_busy_and_updating(make: Make) -> None:
    world = make()
    cloud = world.client()
    for code, ambiguous in ((5000, True), (5100, True), (5300, False)):
        world.fault("CreateNics", "ret_code", ret_code=code, message="ServerBusy, later")
        error = refusal(cloud)
        assert isinstance(error, errors.Busy)
        assert error.ambiguous is ambiguous
    assert world.calls("CreateNics") == 3


def test_wrong_secret_wrong_zone(make: Make) -> None:
    world = make()
    error = refusal(world.client("qy_access_key_id: AK\nqy_secret_access_key: WRONG\n"))
    assert isinstance(error, errors.AuthFailed)
    assert "check qy_access_key_id in " in error.message
    assert "WRONG" not in error.message
    cloud = world.client(origins={"zone": "--zone"})
    assert cloud.describe_zones() == {"pek3a": "active"}


def test_not_running_not_ours_not_there(make: Make) -> None:
    world = make()
    cloud = world.client()
    (made,) = cloud.create_nics("vxnet-a", 1, NAME)
    with pytest.raises(errors.NotFound):
        cloud.attach_nics([made.nic_id], "i-none0000")
    with pytest.raises(errors.NotFound):
        cloud.create_nics("vxnet-none", 1, NAME)
    world.emulator.cloud.instances[HERE].status = "stopped"
    with pytest.raises(errors.Denied, match="is not running"):
        cloud.attach_nics([made.nic_id], HERE)


# -- lost answers ------------------------------------------------------------------------------------------------------


def test_answer_lost_after_the_work(make: Make) -> None:
    """The trap of the SDK's own retry: one NIC is made, the caller is told that it does not know."""
    world = make()
    before = world.count()
    world.fault("CreateNics", "drop_reply")
    error = refusal(world.client())
    assert isinstance(error, errors.Unreachable)
    assert error.ambiguous
    assert world.count() == before + 1
    assert len(world.client().describe_nics(name=NAME)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_bad_gateway_may_hide_the_work(make: Make, when: str) -> None:
    world = make()
    before = world.count()
    world.fault("CreateNics", "http_status", status=502, when=when)
    error = refusal(world.client())
    assert isinstance(error, errors.Unreachable)
    assert error.ambiguous
    assert world.count() == before + (1 if when == "after" else 0)


def test_internal_error_after_the_work(make: Make) -> None:
    world = make()
    before = world.count()
    world.fault("CreateNics", "ret_code", ret_code=5000, when="after")
    assert refusal(world.client()).ambiguous
    assert (world.count(), world.calls("CreateNics")) == (before + 1, 1)


def test_reads_are_tried_again(make: Make) -> None:
    world = make()
    cloud = world.client()
    world.fault("DescribeNics", "drop_reply")
    world.fault("DescribeNics", "ret_code", ret_code=5100, skip=1)
    world.fault("DescribeNics", "http_status", status=503, skip=2)
    assert cloud.describe_nics(name=NAME) == []
    assert world.calls("DescribeNics") == 4
    assert len(world.slept) == 3
    world.fault("DescribeNics", "http_status", status=503, count=None)
    with pytest.raises(errors.Unreachable, match="HTTP status 503"):
        cloud.describe_nics(name=NAME)
    assert world.calls("DescribeNics") == 8


@pytest.mark.parametrize("action", ["AttachNics", "DetachNics", "DeleteNics", "ModifyNicAttributes"])
def test_writes_are_sent_once(make: Make, action: str) -> None:
    world = make()
    cloud = world.client()
    (made,) = cloud.create_nics("vxnet-a", 1, NAME)
    world.fault(action, "http_status", status=503, count=None)
    calls: dict[str, t.Callable[[], object]] = {
        "AttachNics": lambda: cloud.attach_nics([made.nic_id], HERE),
        "DetachNics": lambda: cloud.detach_nics([made.nic_id]),
        "DeleteNics": lambda: cloud.delete_nics([made.nic_id]),
        "ModifyNicAttributes": lambda: cloud.allow_foreign_sources(made.nic_id),
    }
    with pytest.raises(errors.Unreachable):
        calls[action]()
    assert world.calls(action) == 1


def test_what_was_just_made_may_not_be_seen_yet(make: Make) -> None:
    world = make(describe_lag=5.0)
    cloud = world.client()
    made = cloud.create_nics("vxnet-a", 1, NAME)
    assert cloud.describe_nics(name=NAME) == []
    world.emulator.advance(6)
    assert cloud.describe_nics(name=NAME) == made


# -- the role ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["by_accept", "double", "plain"])
def test_role_of_the_instance(make: Make, body: str) -> None:
    world = make(metadata_body=body, iam_signature_version="2")
    world.emulator.cloud.set_role(HERE, "cni")
    cloud = world.client("", wall=world.clock.now)
    assert len(cloud.create_nics("vxnet-a", 1, NAME)) == 1


def test_role_key_does_not_end_with_the_hour(make: Make) -> None:
    world = make()
    world.emulator.cloud.set_role(HERE, "cni")
    cloud = world.client("", wall=world.clock.now)
    for __ in range(4):
        cloud.describe_zones()
        world.emulator.advance(1800)


def test_role_key_that_is_refused_is_fetched_again(make: Make) -> None:
    world = make()
    world.emulator.cloud.set_role(HERE, "cni")
    cloud = world.client("", wall=world.clock.now)
    cloud.describe_zones()
    (key,) = [key for key in world.emulator.cloud.access_keys.values() if key.token]
    key.token = "another"
    cloud.create_nics("vxnet-a", 1, NAME)


def test_no_role_is_a_sentence(make: Make) -> None:
    error = refusal(make().client(""))
    assert isinstance(error, errors.AuthFailed)
    assert "no IAM role: put qy_access_key_id" in error.message
    assert not error.ambiguous
