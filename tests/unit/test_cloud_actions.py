# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole adapter against the emulated cloud: each action, each refusal, each way of losing an answer."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest

from hostnic import errors
from hostnic.cloud.build import connect
from hostnic.cloud.limiter import RateLimiter
from hostnic.cloud.qingcloud import QingCloud
from hostnic.config import Settings
from hostnic.model import CloudNic, Vxnet
from hostnic.ports import Cloud
from tests.emulator import Emulator, ManualClock
from tests.emulator import Settings as CloudSettings

HERE, THERE = "i-0a1b2c3d", "i-other000"
NAME = f"qingcni_{HERE}"
WORLD: t.Final = {
    "zone": "pek3a",
    "access_keys": [{"access_key_id": "AK", "secret_access_key": "SK", "owner": "usr-00000001"}],
    "routers": [{"router_id": "rtr-1", "vpc_network": "192.168.0.0/16", "owner": "usr-00000001"}],
    "vxnets": [
        {"vxnet_id": "vxnet-a", "ip_network": "192.168.1.0/24", "router_id": "rtr-1", "owner": "usr-00000001"},
        {"vxnet_id": "vxnet-b", "ip_network": "192.168.2.0/23", "router_id": "rtr-1", "owner": "usr-00000001"},
        {"vxnet_id": "vxnet-lone", "owner": "usr-00000001"},
        {"vxnet_id": "vxnet-0", "vxnet_type": 2, "owner": "usr-00000001"},
    ],
    "instances": [
        {"instance_id": HERE, "primary": {"vxnet_id": "vxnet-a"}, "owner": "usr-00000001"},
        {"instance_id": THERE, "primary": {"vxnet_id": "vxnet-a"}, "owner": "usr-00000001"},
    ],
}


class World:
    """The emulator with `settings`, and how to get a client of it."""

    def __init__(self, directory: Path, **settings: t.Any) -> None:
        self.clock = ManualClock()
        self.emulator = Emulator(CloudSettings().changed(settings), world=WORLD, clock=self.clock)
        self._directory = directory
        self.slept: list[float] = []

    def client(self, text: str = "qy_access_key_id: AK\nqy_secret_access_key: SK\n", **more: t.Any) -> QingCloud:
        host, port = self.emulator.url.rpartition("/")[2].split(":")
        meta = self.emulator.metadata_url.rpartition(":")[2]
        path = self._directory / "client.yaml"
        path.write_text(
            f"{text}host: '{host}'\nport: {port}\nprotocol: http\nuri: /iaas\nzone: pek3a\nconnection_timeout: 5\n"
            f"credential_proxy_host: '127.0.0.1'\ncredential_proxy_port: {meta}\n"
        )
        path.chmod(0o600)
        arguments = {"limiter": RateLimiter(1e6, 1000), "sleep": self.slept.append, **more}
        return connect(Settings(access_file=str(path)), **arguments)

    def fault(self, action: str, kind: str, **more: t.Any) -> None:
        self.emulator.faults.order({"action": action, "kind": kind, **more})

    def calls(self, action: str) -> int:
        return int(self.emulator.counters.to_dict()["calls"].get(action, 0))

    def count(self) -> int:
        return len(self.emulator.cloud.nics)


@pytest.fixture
def make(tmp_path: Path) -> t.Iterator[t.Callable[..., World]]:
    with contextlib.ExitStack() as stack:

        def made(**settings: t.Any) -> World:
            world = World(tmp_path, **settings)
            stack.enter_context(world.emulator)
            return world

        yield made


Make = t.Callable[..., World]


def ids(nics: t.Iterable[CloudNic]) -> list[str]:
    return [nic.nic_id for nic in nics]


# -- the life of a NIC -------------------------------------------------------------------------------------------------


def test_create_attach_detach_delete(make: Make) -> None:
    world = make()
    cloud: Cloud = world.client()
    made = cloud.create_nics("vxnet-a", 2, NAME)
    assert [(nic.nic_name, nic.vxnet_id, nic.status, nic.instance_id, nic.role) for nic in made] == [
        (NAME, "vxnet-a", "available", "", 0)
    ] * 2
    assert all(nic.private_ip.startswith("192.168.1.") for nic in made)
    assert cloud.describe_nics(nic_ids=ids(made)) == made

    job = cloud.attach_nics(ids(made), HERE)
    assert cloud.describe_jobs([job]) == {job: "pending"}
    world.emulator.advance(10)
    assert cloud.describe_jobs([job]) == {job: "successful"}
    attached = cloud.describe_nics(name=NAME)
    assert [(nic.attached, nic.instance_id) for nic in attached] == [(True, HERE)] * 2

    with pytest.raises(errors.Denied):
        cloud.delete_nics(ids(made))
    cloud.detach_nics(ids(made))
    world.emulator.advance(10)
    cloud.delete_nics(ids(made))
    assert cloud.describe_nics(nic_ids=ids(made)) == []
    with pytest.raises(errors.NotFound):
        cloud.delete_nics(ids(made))


def test_create_with_wanted_addresses(make: Make) -> None:
    cloud = make().client()
    made = cloud.create_nics("vxnet-a", 2, NAME, ["192.168.1.77", "192.168.1.78"])
    assert sorted(nic.private_ip for nic in made) == ["192.168.1.77", "192.168.1.78"]
    with pytest.raises(errors.HostnicError, match="an address for each"):
        cloud.create_nics("vxnet-a", 1, NAME, ["192.168.1.80", "192.168.1.81"])
    with pytest.raises(errors.HostnicError, match="1 to 252"):
        cloud.create_nics("vxnet-a", 0, NAME)


@pytest.mark.parametrize("missing", ["null", "empty", "absent"])
def test_nic_without_an_address(make: Make, missing: str) -> None:
    cloud = make(missing_private_ip=missing).client()
    (made,) = cloud.create_nics("vxnet-lone", 1, NAME)
    assert made.private_ip == ""
    assert cloud.describe_nics(nic_ids=[made.nic_id]) == [made]


def test_upper_case_ids_are_lower_case_ids(make: Make) -> None:
    cloud = make(nic_id_case="lower").client()
    (made,) = cloud.create_nics("vxnet-a", 1, NAME)
    assert made.nic_id == made.nic_id.lower()
    assert ids(cloud.describe_nics(nic_ids=[made.nic_id.upper()])) == [made.nic_id]
    cloud.delete_nics([made.nic_id.upper()])


def test_foreign_sources(make: Make) -> None:
    world = make()
    cloud = world.client()
    (made,) = cloud.create_nics("vxnet-a", 1, NAME)
    assert world.emulator.cloud.nics[made.nic_id].enable_aspoof == 1
    cloud.allow_foreign_sources(made.nic_id.upper())
    assert world.emulator.cloud.nics[made.nic_id].enable_aspoof == 0


# -- filters -----------------------------------------------------------------------------------------------------------


def test_by_instance_is_that_instance_only(make: Make) -> None:
    world = make()
    cloud = world.client()
    cloud.create_nics("vxnet-a", 3, NAME)
    assert [nic.role for nic in cloud.describe_nics(instance_id=HERE)] == [1]


@pytest.mark.parametrize("match", ["exact", "prefix", "substring"])
def test_by_name_is_exact_whatever_the_server_does(make: Make, match: str) -> None:
    cloud = make(nic_name_match=match).client()
    (ours,) = cloud.create_nics("vxnet-a", 1, NAME)
    for other in (f"{NAME}x", f"x{NAME}", NAME.upper()):
        cloud.create_nics("vxnet-a", 1, other)
    assert cloud.describe_nics(name=NAME) == [ours]


def test_filters_add_up(make: Make) -> None:
    world = make()
    cloud = world.client()
    mine, other = cloud.create_nics("vxnet-a", 1, NAME)[0], cloud.create_nics("vxnet-a", 1, "other")[0]
    assert cloud.describe_nics(nic_ids=[mine.nic_id, other.nic_id], name=NAME) == [mine]
    assert cloud.describe_nics(name=NAME, instance_id=HERE) == []


def test_empty_lists_are_no_calls(make: Make) -> None:
    world = make()
    cloud = world.client()
    cloud.create_nics("vxnet-a", 1, NAME)
    assert cloud.describe_nics(nic_ids=[]) == []
    assert cloud.describe_nics(nic_ids=[], name=NAME) == []
    assert cloud.describe_vxnets([]) == []
    assert cloud.describe_jobs([]) == {}
    assert cloud.describe_jobs([""]) == {}
    assert (cloud.attach_nics([], HERE), cloud.detach_nics([])) == ("", "")
    cloud.delete_nics([])
    assert world.emulator.counters.to_dict()["calls"] == {"CreateNics": 1}


def test_unfiltered_calls_are_refused(make: Make) -> None:
    world = make()
    cloud = world.client()
    for wrong in ({}, {"name": ""}, {"instance_id": ""}):
        with pytest.raises(errors.HostnicError, match="refused|empty"):
            cloud.describe_nics(**t.cast(t.Any, wrong))
    assert world.emulator.counters.to_dict()["calls"] == {}


@pytest.mark.parametrize("total", ["filtered", "all"])
def test_more_than_a_page(make: Make, total: str) -> None:
    world = make(total_count=total)
    cloud = world.client()
    made = cloud.create_nics("vxnet-b", 252, NAME)
    assert sorted(ids(cloud.describe_nics(name=NAME))) == sorted(ids(made))
    assert world.calls("DescribeNics") == (3 if total == "filtered" else 4)
    assert sorted(ids(cloud.describe_nics(nic_ids=ids(made)))) == sorted(ids(made))


def test_rows_seen_twice_are_one(make: Make) -> None:
    cloud = make(describe_order="random").client()
    cloud.create_nics("vxnet-b", 150, NAME)
    found = ids(cloud.describe_nics(name=NAME))
    assert len(found) == len(set(found)) <= 150


@pytest.mark.parametrize("rule", ["omit", "2100"])
def test_unknown_ids_are_absent(make: Make, rule: str) -> None:
    world = make(unknown_nic=rule, unknown_vxnet=rule, unknown_job=rule)
    cloud = world.client()
    made = cloud.create_nics("vxnet-a", 5, NAME)
    asked = [*ids(made)[:2], "52:54:ff:ff:ff:01", *ids(made)[2:], "52:54:ff:ff:ff:02"]
    assert ids(cloud.describe_nics(nic_ids=asked)) == ids(made)
    job = cloud.attach_nics(ids(made), HERE)
    assert set(cloud.describe_jobs(["j-gone0001", job, "j-gone0002"])) == {job}
    assert [vxnet.vxnet_id for vxnet in cloud.describe_vxnets(["vxnet-a", "vxnet-none", "vxnet-b"])] == [
        "vxnet-a",
        "vxnet-b",
    ]


# -- networks, zones ---------------------------------------------------------------------------------------------------


def test_vxnets(make: Make) -> None:
    world = make()
    found = world.client().describe_vxnets(["vxnet-b", "vxnet-lone", "vxnet-b"])
    assert found[0] == Vxnet("vxnet-b", "192.168.2.0/23", found[0].gateway, "rtr-1", found[0].available)
    assert found[0].gateway.startswith("192.168.2.")
    assert found[0].prefix == 23
    assert (found[0].available or 0) > 400
    assert found[1].vxnet_id == "vxnet-lone"
    assert (found[1].network, found[1].gateway, found[1].router_id) == ("", "", "")
    assert len(found) == 2


def test_base_network_is_asked_for_again(make: Make) -> None:
    world = make()
    cloud = world.client()
    assert [vxnet.vxnet_id for vxnet in cloud.describe_vxnets(["vxnet-0", "vxnet-a"])] == ["vxnet-0", "vxnet-a"]
    assert world.calls("DescribeVxnets") == 2
    cloud.describe_vxnets(["vxnet-a"])
    assert world.calls("DescribeVxnets") == 3


def test_zones(make: Make) -> None:
    assert make().client().describe_zones() == {"pek3a": "active"}


# -- refusals ----------------------------------------------------------------------------------------------------------


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


def test_rate_limit_is_not_answered_with_more_calls(make: Make) -> None:
    world = make(rate_per_second=1.0, rate_burst=1)
    cloud = world.client()
    cloud.describe_zones()
    with pytest.raises(errors.RateLimited):
        cloud.describe_nics(name=NAME)
    assert world.calls("DescribeNics") == 1
    assert world.slept == []


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
    for _ in range(4):
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
