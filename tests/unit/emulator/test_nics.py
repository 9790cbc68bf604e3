# SPDX-License-Identifier: GPL-3.0-or-later
"""CreateNics, DescribeNics, ModifyNicAttributes, DeleteNics."""

from __future__ import annotations

import re

import pytest

from tests.unit.emulator.rig import (
    ALONE,
    BASE,
    FOREIGN,
    NODE,
    NODES,
    OTHER_OWNER,
    OWNER,
    PODS,
    PODS_B,
    UNMANAGED,
    Rig,
)

NOWHERE = "52:54:00:ff:ff:ff"


class TestCreate:
    def test_makes_free_nics_with_addresses(self, rig: Rig) -> None:
        made = rig.ok("CreateNics", vxnet=PODS, count=2, nic_name="pool")["nics"]
        assert [nic["private_ip"] for nic in made] == ["172.16.1.2", "172.16.1.3"]
        item = rig.nic(made[0]["nic_id"])
        assert re.fullmatch("52:54(:[0-9a-f]{2}){4}", item["nic_id"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", item["create_time"])
        wanted = {
            "nic_name": "pool",
            "status": "available",
            "instance_id": "",
            "vxnet_id": PODS,
            "private_ip": "172.16.1.2",
            "role": 0,
            "sequence": 0,
            "owner": OWNER,
            "tags": [],
            "eip": None,
            "security_group": "",
        }
        assert {name: item[name] for name in wanted} == wanted

    def test_count_is_one_unless_given(self, rig: Rig) -> None:
        assert len(rig.ok("CreateNics", vxnet=PODS)["nics"]) == 1

    @pytest.mark.parametrize("count", ["0", "253", "-1", "many"])
    def test_count_outside_1_to_252(self, raw: Rig, count: str) -> None:
        raw.refused(1100, "CreateNics", vxnet=PODS, count=count)

    def test_a_vxnet_has_252_addresses(self, rig: Rig) -> None:
        made = rig.ok("CreateNics", vxnet=PODS, count=252)["nics"]
        addresses = {nic["private_ip"] for nic in made}
        assert len(addresses) == 252
        assert addresses.isdisjoint({"172.16.1.0", "172.16.1.1", "172.16.1.254", "172.16.1.255"})
        assert rig.refused(2500, "CreateNics", vxnet=PODS).startswith("QuotasExceeded")

    def test_all_or_none_when_there_are_too_few(self, raw: Rig) -> None:
        raw.create(250)
        raw.set(vxnet_full_code=5200)
        raw.refused(5200, "CreateNics", vxnet=PODS, count=3)
        raw.create(2)

    @pytest.mark.parametrize(("reserved", "capacity"), [(0, 253), (12, 241)])
    def test_reserved_addresses(self, raw: Rig, reserved: int, capacity: int) -> None:
        raw.set(reserved_addresses=reserved)
        items = raw.ok("DescribeVxnets", vxnets=[PODS])["vxnet_set"]
        assert items[0]["available_ip_count"] == capacity
        raw.create(capacity - 1)
        raw.create(1)
        raw.refused(2500, "CreateNics", vxnet=PODS)

    def test_private_ips(self, rig: Rig) -> None:
        asked = ["172.16.1.77", "172.16.1.66"]
        made = rig.ok("CreateNics", vxnet=PODS, count=2, private_ips=asked)["nics"]
        assert [nic["private_ip"] for nic in made] == asked
        rig.refused(1400, "CreateNics", vxnet=PODS, count=1, private_ips=asked[:1])

    @pytest.mark.parametrize("address", ["172.16.9.9", "172.16.1.1", "172.16.1.254", "172.16.1.255", "pool"])
    def test_private_ips_outside(self, raw: Rig, address: str) -> None:
        raw.refused(1100, "CreateNics", vxnet=PODS, private_ips=[address])
        raw.set(bad_private_ip_code=1400)
        raw.refused(1400, "CreateNics", vxnet=PODS, private_ips=[address])

    def test_duplicate_private_ip_code(self, raw: Rig) -> None:
        raw.set(duplicate_private_ip_code=2110)
        raw.refused(2110, "CreateNics", vxnet=PODS, count=2, private_ips=["172.16.1.7"] * 2)

    def test_private_ips_that_do_not_match_count(self, raw: Rig) -> None:
        asked = ["172.16.1.70", "172.16.1.71"]
        raw.refused(1100, "CreateNics", vxnet=PODS, count=3, private_ips=asked)
        raw.set(private_ips_mismatch="ips")
        assert len(raw.ok("CreateNics", vxnet=PODS, count=3, private_ips=asked)["nics"]) == 2
        raw.set(private_ips_mismatch="count")
        made = raw.ok("CreateNics", vxnet=PODS_B, count=3, private_ips=["172.16.2.2", "172.16.2.9"])["nics"]
        assert [nic["private_ip"] for nic in made] == ["172.16.2.2", "172.16.2.9", "172.16.2.3"]

    def test_the_replay_makes_more(self, rig: Rig) -> None:
        assert rig.create(1, nic_name="x") != rig.create(1, nic_name="x")

    def test_disable_ip(self, rig: Rig) -> None:
        assert rig.ok("CreateNics", vxnet=PODS, disable_ip=1)["nics"][0]["private_ip"] is None

    def test_missing_private_ip_forms(self, raw: Rig) -> None:
        raw.set(missing_private_ip="empty")
        assert raw.ok("CreateNics", vxnet=PODS, disable_ip=1)["nics"][0]["private_ip"] == ""
        raw.set(missing_private_ip="absent")
        assert set(raw.ok("CreateNics", vxnet=PODS, disable_ip=1)["nics"][0]) == {"nic_id"}

    @pytest.mark.parametrize("vxnet", [ALONE, UNMANAGED])
    def test_without_a_router(self, raw: Rig, vxnet: str) -> None:
        assert raw.ok("CreateNics", vxnet=vxnet)["nics"][0]["private_ip"] is None
        raw.set(create_without_router="refuse")
        raw.refused(1400, "CreateNics", vxnet=vxnet)

    def test_base_network(self, raw: Rig) -> None:
        raw.refused(1400, "CreateNics", vxnet=BASE)
        raw.set(base_network_nics="allow")
        nics = raw.create(1, BASE)
        raw.attach(nics)
        raw.set(base_network_nics="refuse")
        raw.emu.advance(60)
        raw.ok("DetachNics", nics=nics)
        raw.emu.advance(60)
        raw.refused(1400, "AttachNics", nics=nics, instance=NODE)

    def test_unknown_and_foreign_vxnets(self, rig: Rig) -> None:
        assert rig.refused(2100, "CreateNics", vxnet="vxnet-nosuch1").startswith("ResourceNotFound")
        assert rig.refused(1400, "CreateNics", vxnet=FOREIGN).startswith("PermissionDenied")
        rig.refused(1100, "CreateNics", count=1)

    def test_names_too_long(self, raw: Rig) -> None:
        raw.set(nic_name_max=4)
        raw.refused(1100, "CreateNics", vxnet=PODS, nic_name="12345")
        raw.set(nic_name_too_long="truncate")
        nic_id = raw.create(1, nic_name="12345")[0]
        assert raw.nic(nic_id)["nic_name"] == "1234"

    def test_account_quota(self, raw: Rig) -> None:
        raw.set(nics_per_account=5)  # three are primary
        raw.create(2)
        assert raw.refused(2500, "CreateNics", vxnet=PODS).startswith("QuotasExceeded")

    def test_security_group_and_mac_prefix(self, raw: Rig) -> None:
        raw.set(secondary_security_group="sg-00000001", mac_prefix="02:00:5e")
        nic_id = raw.create()[0]
        assert nic_id.startswith("02:00:5e:")
        assert raw.nic(nic_id)["security_group"] == "sg-00000001"

    def test_macs_are_not_given_twice(self, raw: Rig) -> None:
        raw.set(mac_prefix="52:54:00:00:ff")
        assert len(set(raw.create(200))) == 200
        raw.create(56, PODS_B)
        raw.refused(5200, "CreateNics", vxnet=PODS_B)


class TestAddressOrder:
    def taken(self, raw: Rig, count: int = 3) -> list[int]:
        made = raw.ok("CreateNics", vxnet=PODS, count=count)["nics"]
        return [int(nic["private_ip"].rpartition(".")[2]) for nic in made]

    def test_orders(self, raw: Rig) -> None:
        assert self.taken(raw) == [2, 3, 4]
        raw.set(address_order="highest")
        assert self.taken(raw) == [253, 252, 251]
        raw.set(address_order="random")
        assert self.taken(raw, 20) != list(range(5, 25))

    def test_next_does_not_go_back(self, raw: Rig) -> None:
        nics = raw.create(3)
        raw.ok("DeleteNics", nics=nics)
        assert self.taken(raw) == [2, 3, 4]
        raw.set(address_order="next")
        assert self.taken(raw) == [5, 6, 7]

    def test_reuse_delay(self, raw: Rig) -> None:
        raw.set(address_reuse_delay=30)
        raw.ok("DeleteNics", nics=raw.create(1))
        assert self.taken(raw, 1) == [3]
        raw.emu.advance(31)
        assert self.taken(raw, 1) == [2]


class TestModify:
    def test_name_and_aspoof(self, rig: Rig) -> None:
        nic = rig.create()[0]
        rig.ok("ModifyNicAttributes", nic=nic, nic_name="new", enable_aspoof=0)
        assert rig.nic(nic)["nic_name"] == "new"
        assert rig.emu.cloud.nics[nic].enable_aspoof == 0
        rig.refused(1100, "ModifyNicAttributes", nic=nic, enable_aspoof=2)

    def test_aspoof_may_be_refused_or_shown(self, raw: Rig) -> None:
        nic = raw.create()[0]
        assert "enable_aspoof" not in raw.nic(nic)
        raw.set(aspoof_change="refuse", aspoof_refused_code=1101, aspoof_shown=True)
        raw.refused(1101, "ModifyNicAttributes", nic=nic, enable_aspoof=0)
        assert raw.nic(nic)["enable_aspoof"] == 1
        raw.ok("ModifyNicAttributes", nic=nic, nic_name="new")

    def test_address_of_a_free_nic(self, rig: Rig) -> None:
        nic = rig.create()[0]
        rig.ok("ModifyNicAttributes", nic=nic, private_ip="172.16.1.99")
        assert rig.nic(nic)["private_ip"] == "172.16.1.99"
        assert rig.ok("CreateNics", vxnet=PODS)["nics"][0]["private_ip"] == "172.16.1.2"

    def test_vxnet_of_a_free_nic(self, rig: Rig) -> None:
        nic = rig.create()[0]
        rig.ok("ModifyNicAttributes", nic=nic, vxnet=PODS_B)
        item = rig.nic(nic)
        assert (item["vxnet_id"], item["private_ip"]) == (PODS_B, "172.16.2.2")

    def test_of_an_attached_nic(self, raw: Rig) -> None:
        nic = raw.attached()[0]
        raw.refused(1400, "ModifyNicAttributes", nic=nic, vxnet=PODS_B)
        raw.refused(1400, "ModifyNicAttributes", nic=nic, private_ip="172.16.1.99")
        raw.set(modify_attached_address="allow")
        raw.ok("ModifyNicAttributes", nic=nic, private_ip="172.16.1.99")
        assert raw.nic(nic)["private_ip"] == "172.16.1.99"

    def test_unknown_and_foreign(self, rig: Rig, other: Rig) -> None:
        rig.refused(2100, "ModifyNicAttributes", nic=NOWHERE, nic_name="x")
        other.refused(1400, "ModifyNicAttributes", nic=rig.create()[0], nic_name="x")


class TestDelete:
    def test_gone_and_the_address_free(self, rig: Rig) -> None:
        nics = rig.create(2)
        reply = rig.ok("DeleteNics", nics=nics)
        assert set(reply) == {"action", "ret_code"}
        assert rig.ok("DescribeNics", nics=nics)["nic_set"] == []
        assert rig.ok("CreateNics", vxnet=PODS)["nics"][0]["private_ip"] == "172.16.1.2"

    def test_may_show_for_a_while(self, raw: Rig) -> None:
        nic = raw.create()[0]
        raw.set(delete_lag=5)
        raw.ok("DeleteNics", nics=[nic])
        assert raw.nic(nic)["status"] == "available"
        raw.refused(2100, "DeleteNics", nics=[nic])
        raw.emu.advance(5)
        assert raw.ok("DescribeNics", nics=[nic])["nic_set"] == []

    def test_attached_unknown_foreign_and_none(self, rig: Rig, other: Rig) -> None:
        rig.refused(1400, "DeleteNics", nics=rig.attached())
        assert "ResourceNotFound" in rig.refused(2100, "DeleteNics", nics=[NOWHERE])
        other.refused(1400, "DeleteNics", nics=rig.create())
        rig.refused(1100, "DeleteNics", nics=[])

    def test_with_a_live_job(self, raw: Rig) -> None:
        nics = raw.create()
        raw.attach(nics)
        raw.refused(1400, "DeleteNics", nics=nics)

    def test_all_or_nothing(self, raw: Rig) -> None:
        nics = raw.create(2)
        raw.refused(2100, "DeleteNics", nics=[*nics, NOWHERE])
        assert raw.ok("DescribeNics", nics=nics)["total_count"] == 2
        raw.set(delete_all_or_nothing=False)
        raw.ok("DeleteNics", nics=[*nics, NOWHERE])
        assert raw.ok("DescribeNics", nics=nics)["total_count"] == 0

    def test_list_length(self, raw: Rig) -> None:
        raw.set(delete_list_max=2, list_too_long_code=2500)
        nics = raw.create(3)
        raw.refused(2500, "DeleteNics", nics=nics)
        raw.ok("DeleteNics", nics=nics[:2])

    def test_hex_case(self, raw: Rig) -> None:
        raw.set(mac_prefix="52:54:ab:cd:ef")
        nic = raw.create()[0]
        assert raw.ok("DescribeNics", nics=[nic.upper()])["total_count"] == 1
        raw.set(nic_id_case="lower")
        assert raw.ok("DescribeNics", nics=[nic.upper()])["total_count"] == 0
        raw.refused(2100, "DeleteNics", nics=[nic.upper()])


class TestDescribe:
    def ids(self, rig: Rig, **values: object) -> set[str]:
        return {item["nic_id"] for item in rig.ok("DescribeNics", limit=100, **values)["nic_set"]}

    def test_without_filter_all_of_the_account_in_the_zone(self, rig: Rig, other: Rig) -> None:
        mine = set(rig.create(3))
        theirs = set(other.create(1, FOREIGN))
        assert mine < self.ids(rig)
        assert not theirs & self.ids(rig)
        assert self.ids(other) == theirs

    def test_filters(self, rig: Rig, other: Rig) -> None:
        other.create(1, FOREIGN)
        a, b = rig.create(1, PODS, nic_name="a"), rig.create(1, PODS_B, nic_name="b")
        rig.attach(b)
        rig.emu.advance(60)
        primaries = self.ids(rig, vxnets=[NODES])
        assert len(primaries) == 3
        assert self.ids(rig, nics=a) == set(a)
        assert self.ids(rig, nic_name="b") == set(b)
        assert self.ids(rig, status="available") == set(a)
        assert self.ids(rig, status="in-use") == {*b, *primaries}
        assert self.ids(rig, vxnets=[PODS, PODS_B]) == {*a, *b}
        assert self.ids(rig, vxnets=[PODS_B], status="available") == set()
        assert self.ids(rig, instances=[NODE]) == {*b, "52:54:00:00:00:01"}
        assert self.ids(rig, owner=OWNER) == {*a, *b, *primaries}
        assert self.ids(rig, owner=OTHER_OWNER) == set()

    def test_vxnet_type(self, raw: Rig) -> None:
        managed, unmanaged = set(raw.create(1, PODS)), set(raw.create(1, UNMANAGED))
        assert self.ids(raw, vxnet_type=[0]) == unmanaged
        assert managed < self.ids(raw, vxnet_type=[1])
        assert managed | unmanaged < self.ids(raw, vxnet_type=[0, 1])
        raw.refused(1100, "DescribeNics", vxnet_type=[7])

    @pytest.mark.parametrize(
        ("rule", "wanted"),
        [("exact", {"pool"}), ("prefix", {"pool", "pool-b"}), ("substring", {"pool", "pool-b", "a-pool"})],
    )
    def test_name_match(self, raw: Rig, rule: str, wanted: set[str]) -> None:
        for name in ("pool", "pool-b", "a-pool", "else"):
            raw.create(1, nic_name=name)
        raw.set(nic_name_match=rule)
        found = raw.ok("DescribeNics", nic_name="pool")
        assert {item["nic_name"] for item in found["nic_set"]} == wanted
        assert found["total_count"] == len(wanted)

    def test_unknown_ids_are_left_out_or_an_error(self, raw: Rig) -> None:
        nics = raw.create()
        assert self.ids(raw, nics=[*nics, NOWHERE]) == set(nics)
        raw.set(unknown_nic="2100")
        raw.refused(2100, "DescribeNics", nics=[*nics, NOWHERE])

    def test_illegal_status(self, raw: Rig) -> None:
        raw.refused(1100, "DescribeNics", status="attached")
        raw.set(illegal_value_code=1101)
        raw.refused(1101, "DescribeNics", status="attached")

    def test_lag(self, raw: Rig) -> None:
        raw.set(describe_lag=5)
        nics = raw.create()
        assert self.ids(raw, nics=nics) == set()
        raw.emu.advance(5)
        assert self.ids(raw, nics=nics) == set(nics)

    def test_the_primary(self, rig: Rig) -> None:
        item = rig.nic("52:54:00:00:00:01")
        wanted = {"role": 1, "sequence": 0, "instance_id": NODE, "status": "in-use", "private_ip": "172.16.0.11"}
        assert {name: item[name] for name in wanted} == wanted
