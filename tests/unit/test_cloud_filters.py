# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of the API, and what is made of the answers of a server that ignores every filter."""

from __future__ import annotations

import typing as t

import pytest

from hostnic import errors
from hostnic.cloud import items
from hostnic.cloud.connection import Connection
from hostnic.cloud.qingcloud import QingCloud
from hostnic.cloud.retry import Patience
from hostnic.model import CloudNic, Instance, InstanceNic

Answer = dict[str, t.Any]


class Scripted:
    """In place of a `Connection`: keeps what was asked, answers with the next line, the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, Answer]] = []

    def call(self, action: str, params: t.Mapping[str, t.Any], within: t.Optional[float] = None) -> Answer:
        self.asked.append((action, dict(params)))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def cloud(api: Scripted) -> QingCloud:
    return QingCloud(t.cast(Connection, api), Patience(retries=0))


def row(number: int, **changes: t.Any) -> Answer:
    return {
        "nic_id": f"52:54:00:00:00:{number:02X}", "nic_name": "ours", "vxnet_id": "vxnet-a", "private_ip": "10.0.0.1",
        "status": "in-use", "instance_id": "i-here", "role": 0, **changes,
    }  # fmt: skip


EVERYTHING: t.Final = {
    "ret_code": 0,
    "total_count": 4,
    "nic_set": [row(1), row(2, instance_id="i-there"), row(3, nic_name="theirs"), row(1)],
}


def test_instance_is_asked_for_and_looked_at() -> None:
    api = Scripted(EVERYTHING)
    found = cloud(api).describe_nics(instance_id="i-here")
    assert [nic.nic_id[-2:] for nic in found] == ["01", "03"]
    assert api.asked == [("DescribeNics", {"instances": ["i-here"], "offset": 0, "limit": 100})]


def test_name_is_asked_for_and_looked_at() -> None:
    api = Scripted(EVERYTHING)
    assert [nic.nic_id[-2:] for nic in cloud(api).describe_nics(name="ours")] == ["01", "02"]
    assert api.asked == [("DescribeNics", {"nic_name": "ours", "offset": 0, "limit": 100})]


def test_ids_are_asked_for_and_looked_at() -> None:
    api = Scripted(EVERYTHING)
    wanted = ["52:54:00:00:00:02", "52:54:00:00:00:0A", "52:54:00:00:00:02"]
    assert [nic.nic_id[-2:] for nic in cloud(api).describe_nics(nic_ids=wanted)] == ["02"]
    assert api.asked[0][1]["nics"] == ["52:54:00:00:00:02", "52:54:00:00:00:0a"]


def test_networks_and_jobs_that_were_not_asked_for() -> None:
    vxnets = {"total_count": 2, "vxnet_set": [{"vxnet_id": "vxnet-a"}, {"vxnet_id": "vxnet-b"}]}
    assert [vxnet.vxnet_id for vxnet in cloud(Scripted(vxnets)).describe_vxnets(["vxnet-a"])] == ["vxnet-a"]
    jobs = {
        "total_count": 2,
        "job_set": [{"job_id": "j-1", "status": "working"}, {"job_id": "j-2", "status": "failed"}],
    }
    assert cloud(Scripted(jobs)).describe_jobs(["j-1"]) == {"j-1": "working"}


def test_pages_shorter_than_asked_are_followed() -> None:
    """A server may clamp `limit` to less than 100."""
    pages = [{"total_count": 5, "nic_set": [row(1), row(2)]}, {"total_count": 5, "nic_set": [row(3), row(4)]},
             {"total_count": 5, "nic_set": [row(5)]}]  # fmt: skip
    api = Scripted(*pages)
    assert len(cloud(api).describe_nics(name="ours")) == 5
    assert [params["offset"] for __, params in api.asked] == [0, 2, 4]


def test_without_a_total_the_empty_page_is_the_end() -> None:
    api = Scripted({"nic_set": [row(1)]}, {"nic_set": None})
    assert len(cloud(api).describe_nics(name="ours")) == 1


def test_server_that_never_ends() -> None:
    with pytest.raises(errors.Unreachable, match="never ends"):
        cloud(Scripted({"nic_set": [row(1)]})).describe_nics(name="ours")


def test_many_ids_go_in_chunks() -> None:
    api = Scripted({"total_count": 0, "nic_set": []})
    cloud(api).describe_nics(nic_ids=[f"52:54:00:00:{n // 256:02x}:{n % 256:02x}" for n in range(250)])
    assert [len(params["nics"]) for __, params in api.asked] == [100, 100, 50]


def test_null_everywhere() -> None:
    nothing = dict.fromkeys(["nic_name", "vxnet_id", "private_ip", "status", "instance_id", "role"])
    assert items.nic({"nic_id": "52:54:00:00:00:01", **nothing}) == CloudNic("52:54:00:00:00:01", "", "", "", "", "", 0)
    assert items.nic({"nic_id": None}) is None
    assert items.nic({}) is None
    assert cloud(Scripted({"nic_set": None, "total_count": None})).describe_nics(name="ours") == []


def test_all_of_an_account_is_asked_for_without_a_filter() -> None:
    api = Scripted(EVERYTHING)
    assert [nic.nic_id[-2:] for nic in cloud(api).all_nics()] == ["01", "02", "03"]
    assert api.asked == [("DescribeNics", {"offset": 0, "limit": 100})]


def test_instances_by_id_and_all() -> None:
    rows = [{"instance_id": "i-1"}, {"instance_id": "i-2", "status": "ceased"}, {"instance_id": None}]
    api = Scripted({"total_count": 3, "instance_set": rows})
    assert [(one.instance_id, one.gone) for one in cloud(api).describe_instances(["i-2", "", "i-2"])] == [("i-2", True)]
    assert [one.instance_id for one in cloud(api).describe_instances()] == ["i-1", "i-2"]
    assert cloud(api).describe_instances([]) == []
    asked = [("DescribeInstances", {**params, "offset": 0, "limit": 100}) for params in ({"instances": ["i-2"]}, {})]
    assert api.asked == asked


def test_an_instance_with_all_that_is_told_of_it() -> None:
    seen = items.instance({
        "instance_id": "i-1", "instance_name": "node1", "status": "running", "transition_status": "stopping",
        "instance_type": "c1m1", "zone_id": "pek3a", "image": {"image_id": "img-1"},
        "vxnets": [{"vxnet_id": "vxnet-a", "nic_id": "52:54:00:00:00:0A", "private_ip": "10.0.0.2", "role": 1}, {}],
        "tags": [{"tag_id": "tag-1", "tag_name": "blue"}, {"tag_name": "lost"}],
        "create_time": "2024-05-01T08:00:00Z", "status_time": "2024-05-01T08:00:09",
    })  # fmt: skip
    assert seen == Instance(
        "i-1", "node1", "running", "stopping", "c1m1", "pek3a", "img-1", "",
        (InstanceNic("52:54:00:00:00:0a", "vxnet-a", "10.0.0.2", 1),), (("tag-1", "blue"),), 1714550400.0, 1714550409.0,
    )  # fmt: skip
    assert items.instance({"instance_id": "i-1", "image": None, "vxnets": None, "tags": None}) == Instance("i-1")


@pytest.mark.parametrize(
    ("router", "network"),
    [
        (None, ("", "", "rtr-v")),
        ({}, ("", "", "rtr-v")),
        ({"ip_network": None, "manager_ip": None, "router_id": None}, ("", "", "rtr-v")),
        ({"ip_network": "", "manager_ip": ""}, ("", "", "rtr-v")),
        ({"ip_network": "10.0.1.0/24", "manager_ip": ""}, ("", "", "rtr-v")),
        (
            {"ip_network": "10.0.1.7/24", "manager_ip": "10.0.1.1", "router_id": "rtr-1"},
            ("10.0.1.0/24", "10.0.1.1", "rtr-1"),
        ),
        ({"ip_network": "nonsense/24", "manager_ip": "10.0.1.1"}, ("", "", "rtr-v")),
    ],
)
def test_router_of_a_vxnet(router: t.Any, network: tuple[str, str, str]) -> None:
    vxnet = items.vxnet({"vxnet_id": "vxnet-a", "router": router, "vpc_router_id": "rtr-v", "available_ip_count": None})
    assert vxnet is not None
    assert (vxnet.network, vxnet.gateway, vxnet.router_id, vxnet.available) == (*network, None)


@pytest.mark.parametrize("answer", [{}, {"nics": None}, {"nics": [{"nic_id": None}]}, {"nics": [{"nic_id": "a"}] * 3}])
def test_created_but_not_told_which(answer: Answer) -> None:
    with pytest.raises(errors.Unreachable) as caught:
        cloud(Scripted(answer)).create_nics("vxnet-a", 2, "ours")
    assert caught.value.ambiguous


@pytest.mark.parametrize("given", ["192.168.1.9", ""])
def test_created_with_another_address(given: str) -> None:
    made = {"nics": [{"nic_id": "a", "private_ip": "192.168.1.7"}, {"nic_id": "b", "private_ip": given}]}
    if not given:  # a server that does not tell
        assert len(cloud(Scripted(made)).create_nics("vxnet-a", 2, "ours", ["192.168.1.7", "192.168.1.8"])) == 2
        return
    with pytest.raises(errors.Unreachable, match=r"not asked for: 192\.168\.1\.9") as caught:
        cloud(Scripted(made)).create_nics("vxnet-a", 2, "ours", ["192.168.1.7", "192.168.1.8"])
    assert caught.value.ambiguous
    assert len(cloud(Scripted(made)).create_nics("vxnet-a", 2, "ours")) == 2


@pytest.mark.parametrize("answer", [{}, {"job_id": None}, {"job_id": ""}])
def test_attached_but_no_job(answer: Answer) -> None:
    with pytest.raises(errors.Unreachable) as caught:
        cloud(Scripted(answer)).attach_nics(["52:54:00:00:00:01"], "i-here")
    assert caught.value.ambiguous
