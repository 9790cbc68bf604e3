# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight's sentences: each says what is wrong and what to do, and none is told for a node that works."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from plugins.module_utils._ansible import preflight
from plugins.module_utils._ansible.preflight import Host, Report
from plugins.module_utils.hostnic.errors import AuthFailed, Denied, HostnicError, InvalidConfig, Unreachable
from plugins.module_utils.hostnic.model import CloudNic, Vxnet

HERE, PRIMARY = "i-0a1b2c3d", "52:54:00:00:00:01"
PODS = Vxnet("vxnet-pods", "172.16.1.0/24", "172.16.1.1", "rtr-1", 200)
FULL = Vxnet("vxnet-full", "172.16.2.0/24", "172.16.2.1", "rtr-1", 0)
LOOSE = Vxnet("vxnet-loose")


def nic(nic_id: str = PRIMARY, role: int = 1) -> CloudNic:
    return CloudNic(nic_id, "", "vxnet-host", "172.16.0.2", "in-use", HERE, role)


@dataclass
class Cloud:
    """Answers what it was made with; an error instead of an answer is raised."""

    zones: t.Union[dict[str, str], HostnicError] = field(default_factory=lambda: {"pek3a": "active"})
    nics: list[CloudNic] = field(default_factory=lambda: [nic()])
    vxnets: list[Vxnet] = field(default_factory=lambda: [PODS])

    def describe_zones(self) -> dict[str, str]:
        if isinstance(self.zones, HostnicError):
            raise self.zones
        return self.zones

    def describe_nics(self, instance_id: str) -> list[CloudNic]:
        return [item for item in self.nics if item.instance_id == instance_id]

    def describe_vxnets(self, vxnet_ids: t.Sequence[str]) -> list[Vxnet]:
        return [vxnet for vxnet in self.vxnets if vxnet.vxnet_id in vxnet_ids]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for name, mac in (("lo", "00:00:00:00:00:00"), ("eth0", PRIMARY.upper()), ("eth1", "52:54:00:00:00:02")):
        (tmp_path / "net" / name).mkdir(parents=True)
        (tmp_path / "net" / name / "address").write_text(f"{mac}\n")
    (tmp_path / "net/bonding_masters").write_text("")
    (tmp_path / "route").write_text(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010010AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth1\t000110AC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    return Host(tmp_path / "net", tmp_path / "route")


def ask(cloud: Cloud, host: Host, vxnets: t.Sequence[str] = ("vxnet-pods",), zone: str = "pek3a") -> Report:
    report = Report()
    preflight.check_cloud(t.cast("t.Any", cloud), HERE, zone, vxnets, host, report)
    return report


def test_a_node_that_works_gets_no_sentence(host: Host) -> None:
    assert ask(Cloud(), host) == Report()


@pytest.mark.parametrize(
    ("cloud", "vxnets", "sentence"),
    [
        (Cloud(zones={"sh1a": "", "gd2": ""}), ["vxnet-pods"], "unknown to this account, which has gd2, sh1a"),
        (Cloud(nics=[]), ["vxnet-pods"], f"the cloud shows no primary NIC of {HERE} in zone pek3a"),
        (Cloud(nics=[nic(role=0)]), ["vxnet-pods"], f"the cloud shows no primary NIC of {HERE}"),
        (Cloud(nics=[nic("52:54:00:00:00:99")]), ["vxnet-pods"], "52:54:00:00:00:99 is no link of this machine. Write"),
        (Cloud(), ["vxnet-nosuch"], "vxnet vxnet-nosuch is unknown in zone pek3a: set qingagent_vxnet"),
        (Cloud(vxnets=[LOOSE]), ["vxnet-loose"], "vxnet vxnet-loose is in no router"),
        (Cloud(vxnets=[FULL]), ["vxnet-full"], "vxnet vxnet-full has no free address"),
        (Cloud(zones=AuthFailed("the key is unknown")), ["vxnet-pods"], "the key is unknown"),
        (Cloud(zones=Unreachable("no answer")), ["vxnet-pods"], "no answer. The node itself must reach the API"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_problem_with_a_remedy(
    host: Host, cloud: Cloud, vxnets: t.Sequence[str], sentence: str
) -> None:
    report = ask(cloud, host, vxnets)
    assert len(report.problems) == 1
    assert sentence in report.problems[0]


def test_all_that_is_wrong_is_told_at_once(host: Host) -> None:
    report = ask(Cloud(nics=[], vxnets=[LOOSE]), host, ["vxnet-loose", "vxnet-nosuch"])
    assert len(report.problems) == 3


def test_a_full_vxnet_beside_another_is_a_warning(host: Host) -> None:
    report = ask(Cloud(vxnets=[PODS, FULL]), host, ["vxnet-pods", "vxnet-full"])
    assert report.problems == [] and "vxnet-full has no free address" in report.warnings[0]


def test_a_full_vxnet_does_not_stop_a_node_that_has_its_nics(host: Host) -> None:
    report = ask(Cloud(nics=[nic(), nic("52:54:00:00:00:07", 0)], vxnets=[FULL]), host, ["vxnet-full"])
    assert report.problems == [] and report.warnings


def test_a_key_that_may_not_list_zones_is_no_problem(host: Host) -> None:
    report = ask(Cloud(zones=Denied("DescribeZones is not for this key")), host)
    assert report.problems == [] and "DescribeZones is not for this key" in report.unchecked[0]


def iface(name: str, host: Host) -> Report:
    report = Report()
    preflight.check_iface(name, host, report)
    return report


def test_the_hosts_own_link(host: Host) -> None:
    assert iface("eth0", host) == Report()
    assert iface("ens3", host).problems == [
        "iface ens3 is no link of this machine: set qingagent_iface to eth0, which carries the default route"
    ]
    other = iface("eth1", host)
    assert other.problems == [] and "the default route goes by eth0" in other.warnings[0]
    host.routes.write_text("Iface\n")
    assert iface("ens3", host).problems == ["iface ens3 is no link of this machine"]


def test_a_node_without_nft_is_stopped() -> None:
    without, with_nft = Report(), Report()
    preflight.check_network("lo", None, without)
    preflight.check_network("lo", "/usr/sbin/nft", with_nft)
    assert (
        without.problems == ["nft is not installed: install the nftables package, the agent makes its rules with it"]
        and with_nft.problems == []
    )


def test_a_link_that_is_not_there_has_no_source_check_to_look_at() -> None:
    report = Report()
    preflight.check_network("nosuch", "/usr/sbin/nft", report)
    assert report.problems == [] and "net/ipv4/conf/nosuch/rp_filter" in " ".join(report.unchecked)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"vxnet": ["vxnet-xxxxxxx"]}, "placeholder"),
        ({"vxnet": ["vxnet-pods"], "idle-ttl": "soon"}, "^qingagent_idle_ttl must be a duration"),
        ({"vxnet": ["vxnet-pods"], "pool-low": "many"}, "^qingagent_pool_low must be"),
        ({"vxnet": ["vxnet-pods"], "pool-lo": 1}, "pool-low"),
    ],
)
def test_settings_are_refused_by_the_roles_names(settings: dict[str, t.Any], sentence: str) -> None:
    with pytest.raises(InvalidConfig, match=sentence):
        preflight.load_settings(settings)


def test_what_the_environment_says_here_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QINGAGENT_ZONE", "mars1")
    settings, origins = preflight.load_settings({"vxnet": ["vxnet-pods"]})
    assert (settings.zone, origins["zone"]) == ("pek3a", "default")


def test_the_first_of_several_checks_that_fails_does_not_hide_the_others() -> None:
    report = Report()

    def fail() -> str:
        raise InvalidConfig("no good")

    assert report.attempt(fail) is None and report.attempt(lambda: 7) == 7
    assert report.problems == ["no good"]
