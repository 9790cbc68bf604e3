# SPDX-License-Identifier: GPL-3.0-or-later
"""Each action of the adapter against the emulated cloud: the life of a NIC, filters, networks."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest

from hostnic import errors
from hostnic.model import CloudNic, Vxnet
from hostnic.ports import Cloud
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
    assert cloud.being_detached() == frozenset()
    world.emulator.advance(10)
    assert cloud.describe_jobs([job]) == {job: "successful"}
    attached = cloud.describe_nics(name=NAME)
    assert [(nic.attached, nic.instance_id) for nic in attached] == [(True, HERE)] * 2

    with pytest.raises(errors.Denied):
        cloud.delete_nics(ids(made))
    cloud.detach_nics(ids(made))
    assert cloud.being_detached() == set(ids(made))
    world.emulator.advance(10)
    assert cloud.being_detached() == frozenset()
    cloud.delete_nics(ids(made))
    assert cloud.describe_nics(nic_ids=ids(made)) == []
    with pytest.raises(errors.NotFound):
        cloud.delete_nics(ids(made))


@pytest.mark.parametrize("total", ["filtered", "all"])
def test_jobs_that_are_over_detach_nothing_however_jobs_are_counted(make: Make, total: str) -> None:
    world = make(total_count=total)
    cloud = world.client()
    made = cloud.create_nics("vxnet-a", 2, NAME)
    cloud.attach_nics(ids(made), HERE)
    world.emulator.advance(10)
    assert cloud.being_detached() == frozenset()
    cloud.detach_nics(ids(made[:1]))
    assert cloud.being_detached() == {made[0].nic_id}


def test_create_with_wanted_addresses(make: Make) -> None:
    cloud = make().client()
    made = cloud.create_nics("vxnet-a", 2, NAME, ["192.168.1.77", "192.168.1.78"])
    assert sorted(nic.private_ip for nic in made) == ["192.168.1.77", "192.168.1.78"]
    assert {nic.private_ip for nic in cloud.describe_nics(nic_ids=ids(made))} == {"192.168.1.77", "192.168.1.78"}
    with pytest.raises(errors.HostnicError, match="an address for each"):
        cloud.create_nics("vxnet-a", 1, NAME, ["192.168.1.80", "192.168.1.81"])
    with pytest.raises(errors.HostnicError, match="1 to 252"):
        cloud.create_nics("vxnet-a", 0, NAME)


@pytest.mark.parametrize(
    "wanted",
    [
        ["192.168.1.77"],  # taken
        ["192.168.1.80", "192.168.1.80"],
        ["192.168.1.1"],  # the gateway's
        ["192.168.9.9"],  # another network's
        ["192.168.1.999"],
    ],
)
def test_an_address_that_is_refused_is_told_from_a_key_that_may_not(make: Make, wanted: list[str]) -> None:
    world = make()
    cloud = world.client()
    cloud.create_nics("vxnet-a", 1, NAME, ["192.168.1.77"])
    before = world.count()
    with pytest.raises(errors.Denied) as caught:
        cloud.create_nics("vxnet-a", len(wanted), NAME, wanted)
    assert (caught.value.details["subject"], caught.value.ambiguous) == ("address", False)
    world.fault("CreateNics", "ret_code", ret_code=1400, message="PermissionDenied, can't handle this request")
    with pytest.raises(errors.Denied) as caught:
        cloud.create_nics("vxnet-a", 1, NAME, ["192.168.1.81"])
    assert "subject" not in caught.value.details
    assert world.count() == before


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
    # Where all NICs of the account are counted, only an empty page is the end, asked for twice; that this is so is
    # found out once.
    calls = world.calls("DescribeNics")
    assert calls == (3 if total == "filtered" else 6)
    assert sorted(ids(cloud.describe_nics(nic_ids=ids(made)))) == sorted(ids(made))
    assert world.calls("DescribeNics") == calls + 3


@pytest.mark.parametrize("total", ["filtered", "all"])
@pytest.mark.parametrize("order", ["created", "newest", "id", "random"])
@pytest.mark.parametrize("match", ["exact", "prefix", "substring"])
def test_all_of_a_name_are_found_once_each(make: Make, match: str, order: str, total: str) -> None:
    world = make(describe_order=order, nic_name_match=match, total_count=total)
    cloud = world.client()
    assert cloud.describe_nics(name=NAME) == []
    made = cloud.create_nics("vxnet-b", 150, NAME)
    cloud.create_nics("vxnet-b", 70, f"x{NAME}y")
    assert sorted(ids(cloud.describe_nics(name=NAME))) == sorted(ids(made))
    assert world.slept == []


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
