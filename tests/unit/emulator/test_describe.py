# SPDX-License-Identifier: GPL-3.0-or-later
"""Paging, and the Describe actions besides DescribeNics."""

from __future__ import annotations

import pytest

from tests.emulator import Emulator, ManualClock
from tests.unit.emulator.rig import (
    ALONE,
    BASE,
    FOREIGN,
    KEY,
    NODE,
    NODE_B,
    NODES,
    OTHER_KEY,
    OWNER,
    PODS,
    PODS_B,
    ROUTER,
    STOPPED,
    UNMANAGED,
    Rig,
)


class TestPaging:
    @pytest.fixture(autouse=True)
    def many(self, raw: Rig) -> list[str]:
        return raw.create(125, nic_name="many")

    def page(self, rig: Rig, **values: object) -> tuple[list[str], int]:
        reply = rig.ok("DescribeNics", nic_name="many", **values)
        return [item["nic_id"] for item in reply["nic_set"]], reply["total_count"]

    def test_twenty_rows_unless_asked(self, rig: Rig, many: list[str]) -> None:
        assert self.page(rig) == (many[:20], 125)

    def test_offset_and_limit(self, rig: Rig, many: list[str]) -> None:
        assert self.page(rig, offset=100, limit=63) == (many[100:], 125)
        assert self.page(rig, offset=3, limit=2) == (many[3:5], 125)
        assert self.page(rig, offset=125) == ([], 125)

    def test_more_than_a_hundred(self, raw: Rig, many: list[str]) -> None:
        assert self.page(raw, limit=252) == (many[:100], 125)
        raw.set(limit_overflow="error")
        raw.refused(1100, "DescribeNics", limit=101)
        raw.ok("DescribeNics", limit=100)

    @pytest.mark.parametrize("limit", ["0", "-5", "all"])
    def test_limits_that_are_none(self, raw: Rig, limit: str) -> None:
        assert len(self.page(raw, limit=limit)[0]) == 20
        raw.set(limit_invalid="error")
        raw.refused(1100, "DescribeNics", limit=limit)

    def test_order(self, raw: Rig, many: list[str]) -> None:
        raw.set(describe_order="newest")
        assert self.page(raw, limit=100)[0] == many[::-1][:100]
        raw.set(describe_order="id")
        assert self.page(raw, limit=100)[0] == sorted(many)[:100]
        raw.set(describe_order="random")
        assert self.page(raw, limit=100)[0] != self.page(raw, limit=100)[0]

    def test_total_count_of_all(self, raw: Rig) -> None:
        raw.set(total_count="all")
        assert self.page(raw)[1] == 128


class TestVxnets:
    def test_a_joined_one(self, rig: Rig) -> None:
        rig.create(10)
        item = rig.ok("DescribeVxnets", vxnets=[PODS])["vxnet_set"][0]
        assert (item["vxnet_id"], item["vxnet_name"], item["vxnet_type"]) == (PODS, "pods-a", 1)
        assert (item["vpc_router_id"], item["available_ip_count"], item["owner"]) == (ROUTER, 242, OWNER)
        assert item["tunnel_type"] == "vxlan"
        assert "instance_ids" not in item
        assert item["router"] == {
            "router_id": ROUTER,
            "router_name": "vpc-a",
            "mode": 1,
            "ip_network": "172.16.1.0/24",
            "manager_ip": "172.16.1.1",
            "dyn_ip_start": "172.16.1.2",
            "dyn_ip_end": "172.16.1.254",
        }

    def test_verbose_names_instances(self, rig: Rig) -> None:
        item = rig.ok("DescribeVxnets", vxnets=[NODES], verbose=1)["vxnet_set"][0]
        assert item["instance_ids"] == [NODE, NODE_B, STOPPED]

    def test_not_joined(self, rig: Rig) -> None:
        item = rig.ok("DescribeVxnets", vxnets=[ALONE])["vxnet_set"][0]
        assert (item["router"], item["vpc_router_id"]) == (None, "")

    def test_base_networks_only_when_asked_for(self, rig: Rig) -> None:
        def ids(**values: object) -> set[str]:
            return {item["vxnet_id"] for item in rig.ok("DescribeVxnets", **values)["vxnet_set"]}

        assert ids() == {NODES, PODS, PODS_B, ALONE, UNMANAGED}
        assert ids(vxnets=[BASE]) == set()
        assert ids(vxnets=[BASE], vxnet_type=2) == {BASE}
        assert ids(vxnet_type=[2]) == {BASE}
        assert ids(vxnet_type=0) == {UNMANAGED}
        assert ids(search_word="pods") == {PODS, PODS_B}

    def test_dhcp_off(self, raw: Rig) -> None:
        raw.emu.cloud.add_vxnet("vxnet-nodhcp1", "172.16.9.0/24", router_id=ROUTER, dhcp=False, tunnel_type="vlan")
        item = raw.ok("DescribeVxnets", vxnets=["vxnet-nodhcp1"])["vxnet_set"][0]
        assert (item["router"]["dyn_ip_start"], item["router"]["dyn_ip_end"]) == ("", "")
        assert item["tunnel_type"] == "vlan"

    def test_settings(self, raw: Rig) -> None:
        raw.set(available_ip_count="dhcp_range", router_mode=3, tunnel_type="gre")
        item = raw.ok("DescribeVxnets", vxnets=[PODS])["vxnet_set"][0]
        assert (item["available_ip_count"], item["router"]["mode"], item["tunnel_type"]) == (253, 3, "gre")

    def test_unknown_and_foreign(self, raw: Rig) -> None:
        assert raw.ok("DescribeVxnets", vxnets=["vxnet-nosuch1", FOREIGN])["total_count"] == 0
        raw.set(unknown_vxnet="2100")
        raw.refused(2100, "DescribeVxnets", vxnets=["vxnet-nosuch1"])


def test_vxnet_instances(rig: Rig) -> None:
    nic = rig.attached()[0]
    items = rig.ok("DescribeVxnetInstances", vxnet=PODS)["instance_set"]
    assert [(item["instance_id"], item["nic_id"], item["sequence"]) for item in items] == [(NODE, nic, 1)]
    assert (items[0]["private_ip"], items[0]["vxnet_id"], items[0]["status"]) == ("172.16.1.2", PODS, "running")
    assert rig.ok("DescribeVxnetInstances", vxnet=NODES, instances=[NODE_B])["total_count"] == 1
    assert rig.ok("DescribeVxnetInstances", vxnet=NODES, status="stopped")["total_count"] == 1
    rig.refused(2100, "DescribeVxnetInstances", vxnet="vxnet-nosuch1")
    rig.refused(1100, "DescribeVxnetInstances")


def test_routers(rig: Rig) -> None:
    item = rig.ok("DescribeRouters", routers=[ROUTER], verbose=1)["router_set"][0]
    assert (item["router_id"], item["vpc_network"], item["status"]) == (ROUTER, "172.16.0.0/16", "active")
    assert {each["vxnet_id"] for each in item["vxnets"]} == {NODES, PODS, PODS_B, FOREIGN}
    assert "vxnets" not in rig.ok("DescribeRouters", vxnet=PODS)["router_set"][0]
    assert rig.ok("DescribeRouters", vxnet=ALONE)["total_count"] == 0
    assert rig.ok("DescribeRouters", status=["active"], search_word="vpc")["total_count"] == 1
    rig.refused(2100, "DescribeRouters", routers=["rtr-nosuch00"])
    rig.refused(1100, "DescribeRouters", status=["broken"])


def test_unknown_router_and_job_may_be_left_out(raw: Rig) -> None:
    raw.set(unknown_router="omit", unknown_job="omit")
    assert raw.ok("DescribeRouters", routers=["rtr-nosuch00"])["router_set"] == []
    assert raw.ok("DescribeJobs", jobs=["j-nosuch00"])["job_set"] == []


def test_instances(rig: Rig) -> None:
    nic = rig.attached()[0]
    item = rig.ok("DescribeInstances", instances=[NODE], verbose=1)["instance_set"][0]
    assert (item["instance_id"], item["instance_name"], item["status"]) == (NODE, "node-1", "running")
    assert (item["transition_status"], item["zone_id"], item["volume_ids"]) == ("", "lab1", [])
    assert [(each["vxnet_id"], each["nic_id"], each["role"]) for each in item["vxnets"]] == [
        (NODES, "52:54:00:00:00:01", 1),
        (PODS, nic, 0),
    ]
    assert rig.ok("DescribeInstances", status=["stopped"])["instance_set"][0]["instance_id"] == STOPPED
    assert rig.ok("DescribeInstances", search_word="node-1")["total_count"] == 1
    assert rig.ok("DescribeInstances")["total_count"] == 3
    rig.refused(1100, "DescribeInstances", status=["asleep"])


def test_instances_by_their_tags(rig: Rig) -> None:
    rig.emu.cloud.add_tag("tag-nodes001", "nodes", [("instance", NODE), ("instance", NODE_B), ("vxnet", PODS)])
    rig.emu.cloud.add_tag("tag-other001", "other", [("instance", NODE_B)])

    def ids(**filters: object) -> list[str]:
        return [item["instance_id"] for item in rig.ok("DescribeInstances", **filters)["instance_set"]]

    assert ids(tags=["tag-nodes001"]) == [NODE, NODE_B]
    assert ids(tags=["tag-other001"]) == [NODE_B]
    assert ids(tags=["tag-nosuch00"]) == []
    item = rig.ok("DescribeInstances", instances=[NODE_B])["instance_set"][0]
    assert [(tag["tag_id"], tag["tag_name"]) for tag in item["tags"]] == [
        ("tag-nodes001", "nodes"),
        ("tag-other001", "other"),
    ]
    assert [tag["tag_name"] for tag in rig.ok("DescribeVxnets", vxnets=[PODS])["vxnet_set"][0]["tags"]] == ["nodes"]


def test_a_world_may_have_several_zones_and_tags() -> None:
    world = {
        "zone": "lab1",
        "zones": ["lab2"],
        "instances": [
            {"instance_id": "i-00000001", "eip": "192.0.2.1"},
            {"instance_id": "i-00000002", "zone": "lab2"},
        ],
        "tags": [
            {"tag_id": "tag-00000001", "tag_name": "a", "resources": {"instance": ["i-00000002"]}, "zone": "lab2"}
        ],
    }
    with Emulator(world=world, clock=ManualClock()) as emulator:
        assert {one.instance_id: one.zone_id for one in emulator.cloud.instances.values()} == {
            "i-00000001": "lab1",
            "i-00000002": "lab2",
        }
        assert [tag.tag_name for tag in emulator.cloud.tags_of("instance", "i-00000002")] == ["a"]
        assert emulator.cloud.instances["i-00000001"].eip == "192.0.2.1"


def test_unknown_instance(raw: Rig) -> None:
    assert raw.ok("DescribeInstances", instances=["i-nosuch00"])["total_count"] == 0
    raw.set(unknown_instance="2100")
    raw.refused(2100, "DescribeInstances", instances=["i-nosuch00"])


def test_jobs(rig: Rig, other: Rig) -> None:
    first = rig.attach(rig.create())
    rig.emu.advance(60)
    second = rig.attach(rig.create())
    assert rig.ok("DescribeJobs")["total_count"] == 2
    assert rig.ok("DescribeJobs", status=["pending"])["job_set"][0]["job_id"] == second
    assert rig.ok("DescribeJobs", jobs=[first, second], status=["successful"])["job_set"][0]["job_id"] == first
    assert rig.ok("DescribeJobs", job_action="DetachNics")["total_count"] == 0
    rig.refused(2100, "DescribeJobs", jobs=["j-nosuch00"])
    rig.refused(1100, "DescribeJobs", status=["lost"])
    other.refused(2100, "DescribeJobs", jobs=[first])


def test_zones_need_no_zone(rig: Rig) -> None:
    rig.emu.cloud.add_zone("lab2", status="faulty")
    zones = rig.ok("DescribeZones", zone="")["zone_set"]
    assert zones == [{"zone_id": "lab1", "status": "active"}, {"zone_id": "lab2", "status": "faulty"}]
    assert rig.ok("DescribeZones", status=["active"], zones=["lab1", "lab2"])["total_count"] == 1


def test_zones_are_apart(raw: Rig) -> None:
    raw.emu.cloud.add_zone("lab2")
    assert raw.ok("DescribeNics", zone="lab2")["total_count"] == 0
    raw.refused(2100, "CreateNics", vxnet=PODS, zone="lab2")


def test_access_keys(rig: Rig) -> None:
    keys = rig.ok("DescribeAccessKeys", access_keys=[KEY])["access_key_set"]
    assert [(key["access_key_id"], key["owner"]) for key in keys] == [(KEY, OWNER)]
    assert "secret_access_key" not in keys[0]
    assert rig.ok("DescribeAccessKeys", access_keys=[OTHER_KEY])["total_count"] == 0


def test_quota_left(rig: Rig) -> None:
    left = rig.ok("GetQuotaLeft", resource_types=["instance", "nic", "vxnet"])["quota_left_set"]
    assert left == [{"resource_type": "instance", "left": 197}, {"resource_type": "vxnet", "left": 194}]
    assert len(rig.ok("GetQuotaLeft")["quota_left_set"]) > 5


class TestDeleteVxnets:
    def test_an_empty_one(self, raw: Rig) -> None:
        assert raw.ok("DeleteVxnets", vxnets=[ALONE])["vxnets"] == [ALONE]
        assert raw.ok("DescribeVxnets", vxnets=[ALONE])["total_count"] == 0

    def test_joined_or_in_use(self, raw: Rig) -> None:
        raw.refused(1400, "DeleteVxnets", vxnets=[PODS])

    def test_with_free_nics(self, raw: Rig) -> None:
        nics = raw.create(1, ALONE)
        raw.refused(1400, "DeleteVxnets", vxnets=[ALONE])
        raw.set(delete_vxnet_with_nics="allow")
        raw.ok("DeleteVxnets", vxnets=[ALONE])
        assert raw.ok("DescribeNics", nics=nics)["total_count"] == 0


class TestLeaveRouter:
    def test_takes_its_time(self, raw: Rig) -> None:
        reply = raw.ok("LeaveRouter", router=ROUTER, vxnets=[PODS])
        assert (reply["router_id"], reply["vxnets"]) == (ROUTER, [PODS])
        raw.set(router_job_working_seconds=30)
        raw.emu.advance(29)
        assert raw.job(reply["job_id"])["status"] == "working"
        raw.refused(1400, "LeaveRouter", router=ROUTER, vxnets=[PODS])
        raw.emu.advance(2)
        assert raw.job(reply["job_id"])["status"] == "successful"
        assert raw.ok("DescribeVxnets", vxnets=[PODS])["vxnet_set"][0]["vpc_router_id"] == ""

    def test_with_nics(self, raw: Rig) -> None:
        raw.create()
        raw.refused(1400, "LeaveRouter", router=ROUTER, vxnets=[PODS])
        raw.set(leave_router_with_nics="allow")
        raw.ok("LeaveRouter", router=ROUTER, vxnets=[PODS])

    def test_a_failed_job_leaves_it_joined(self, raw: Rig) -> None:
        raw.emu.faults.order({"action": "LeaveRouter", "kind": "job_failed"})
        job_id = raw.ok("LeaveRouter", router=ROUTER, vxnets=[PODS])["job_id"]
        raw.emu.advance(60)
        assert raw.job(job_id)["status"] == "failed"
        assert raw.ok("DescribeVxnets", vxnets=[PODS])["vxnet_set"][0]["vpc_router_id"] == ROUTER


class TestTags:
    def test_on_nics_if_so_set(self, raw: Rig) -> None:
        nic = raw.create()[0]
        tag = raw.ok("CreateTag", tag_name="pool")["tag_id"]
        pair = {
            f"resource_tag_pairs.1.{key}": value
            for key, value in (("tag_id", tag), ("resource_type", "nic"), ("resource_id", nic))
        }
        raw.refused(1100, "AttachTags", **pair)
        raw.set(nic_tags="allow")
        raw.ok("AttachTags", **pair)
        assert [each["tag_name"] for each in raw.nic(nic)["tags"]] == ["pool"]
        assert raw.ok("DescribeTags", verbose=1)["tag_set"][0]["resource_tag_pairs"][0]["resource_id"] == nic
        assert raw.ok("DescribeNics", tags=[tag])["total_count"] == 4
        raw.set(nic_tag_filter="filter")
        assert raw.ok("DescribeNics", tags=[tag])["total_count"] == 1
        raw.ok("DetachTags", **pair)
        assert raw.nic(nic)["tags"] == []
        raw.ok("DeleteTags", tags=[tag])
        assert raw.ok("DescribeTags")["total_count"] == 0

    def test_on_instances(self, raw: Rig) -> None:
        tag = raw.ok("CreateTag", tag_name="blue")["tag_id"]
        everything = raw.ok("DescribeInstances")["instance_set"]
        pair = (("tag_id", tag), ("resource_type", "instance"), ("resource_id", everything[0]["instance_id"]))
        raw.ok("AttachTags", **{f"resource_tag_pairs.1.{key}": value for key, value in pair})
        found = raw.ok("DescribeInstances", tags=[tag])["instance_set"]
        assert [one["instance_id"] for one in found] == [everything[0]["instance_id"]] and len(everything) > 1
        assert [each["tag_name"] for each in found[0]["tags"]] == ["blue"]

    def test_refused(self, raw: Rig, other: Rig) -> None:
        raw.refused(1100, "CreateTag", tag_name="fifteen-letters")
        tag = raw.ok("CreateTag", tag_name="pool")["tag_id"]
        raw.refused(2110, "CreateTag", tag_name="pool")
        raw.refused(1100, "AttachTags")
        other.refused(1400, "DeleteTags", tags=[tag])
        raw.refused(2100, "DeleteTags", tags=["tag-nosuch00"])
