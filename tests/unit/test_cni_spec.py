# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from hostnic import errors, states, wire
from hostnic.cni import spec
from hostnic.cni.spec import Attached, CniError
from hostnic.model import Route
from hostnic.store.failure import StoreFailed

ATTACHED = Attached(
    ifname="eth0",
    mac="52:54:00:00:00:01",
    sandbox="/run/netns/x",
    address="172.16.1.101/24",
    gateway="172.16.1.1",
    routes=(Route("0.0.0.0/0", "172.16.1.1"), Route("10.0.0.0/8")),
)
INTERFACE = {"name": "eth0", "mac": "52:54:00:00:00:01", "sandbox": "/run/netns/x"}
ADDRESS = {"address": "172.16.1.101/24", "gateway": "172.16.1.1", "interface": 0}
ROUTES = [{"dst": "0.0.0.0/0", "gw": "172.16.1.1"}, {"dst": "10.0.0.0/8"}]


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0"])
def test_before_1_0_0_an_address_says_its_family(version: str) -> None:
    assert spec.result(version, ATTACHED) == {
        "cniVersion": version,
        "interfaces": [INTERFACE],
        "ips": [{**ADDRESS, "version": "4"}],
        "routes": ROUTES,
    }


def test_from_1_0_0_it_does_not() -> None:
    assert spec.result("1.0.0", ATTACHED) == {
        "cniVersion": "1.0.0",
        "interfaces": [INTERFACE],
        "ips": [ADDRESS],
        "routes": ROUTES,
    }


def test_1_1_0_tells_of_the_hardware_where_it_is_known() -> None:
    known = replace(ATTACHED, mtu=1500, pci_id="0000:00:05.0")
    assert spec.result("1.1.0", known)["interfaces"] == [{**INTERFACE, "mtu": 1500, "pciID": "0000:00:05.0"}]
    assert spec.result("1.1.0", ATTACHED)["interfaces"] == [INTERFACE]
    assert spec.result("1.0.0", known)["interfaces"] == [INTERFACE]


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_before_0_3_0_there_is_one_address_of_the_family_and_no_interface(version: str) -> None:
    ours = {"ip": "172.16.1.101/24", "gateway": "172.16.1.1", "routes": ROUTES}
    assert spec.result(version, ATTACHED) == {"cniVersion": version, "ip4": ours}
    theirs = {"ip4": {"ip": "10.1.1.2/24"}, "dns": {"domain": "x"}}
    assert spec.result(version, ATTACHED, theirs) == {**theirs, "cniVersion": version}
    other_family = {"ip6": {"ip": "fd00::2/64"}}
    assert spec.result(version, ATTACHED, other_family) == {**other_family, "cniVersion": version, "ip4": ours}


@pytest.mark.parametrize("version", ["0.2.0", "1.0.0"])
def test_an_address_without_a_gateway_says_nothing_of_one(version: str) -> None:
    told = spec.result(version, replace(ATTACHED, gateway="", routes=()))
    assert "gateway" not in told.get("ip4", {}) and all("gateway" not in one for one in told.get("ips", ()))


def test_dns_appears_where_it_is_configured() -> None:
    dns = {"nameservers": ["10.96.0.10"]}
    assert spec.result("1.0.0", Attached(**{**vars(ATTACHED), "dns": dns}))["dns"] == dns


def test_what_an_earlier_plugin_made_stays_in_front() -> None:
    before = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "br0"}, {"name": "eth9"}],
        "ips": [{"address": "10.1.1.2/24", "interface": 1}],
        "routes": [{"dst": "10.1.0.0/16"}],
        "dns": {"domain": "x"},
    }
    after = spec.result("1.0.0", ATTACHED, before)
    assert after["interfaces"] == [{"name": "br0"}, {"name": "eth9"}, INTERFACE]
    assert after["ips"] == [{"address": "10.1.1.2/24", "interface": 1}, {**ADDRESS, "interface": 2}]
    assert after["routes"] == [{"dst": "10.1.0.0/16"}, *ROUTES]
    assert after["dns"] == {"domain": "x"}


def test_an_earlier_result_may_lack_everything() -> None:
    assert spec.result("1.0.0", ATTACHED, {"interfaces": None}) == spec.result("1.0.0", ATTACHED)


# -- errors -----------------------------------------------------------------------------------------------------------

DOCUMENT = Path(__file__).parents[2] / "docs" / "wire.md"
ROW = re.compile(r"^\| (\d+) \| (.*?) ?\| (.+) \|$", re.MULTILINE)
KINDS = [
    kind
    for kind in (*vars(errors).values(), wire.WireError, wire.ProtocolMismatch, StoreFailed)
    if isinstance(kind, type) and issubclass(kind, errors.HostnicError) and kind is not errors.HostnicError
]


def documented() -> dict[int, set[str]]:
    section = DOCUMENT.read_text(encoding="utf-8").split("## Error codes")[1]
    return {int(code): {kind for kind in kinds.split(", ") if kind} for code, kinds, __ in ROW.findall(section)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_error_has_its_documented_code(kind: type[errors.HostnicError]) -> None:
    assert kind.__name__ in documented()[spec.code_of(kind("x"))]


def test_the_page_lists_every_code_and_no_kind_that_does_not_exist() -> None:
    constants = {value for name, value in vars(spec).items() if name.isupper() and isinstance(value, int)}
    assert documented().keys() == constants
    assert set.union(*documented().values()) == {kind.__name__ for kind in KINDS}


def test_transient_is_try_again() -> None:
    assert {spec.code_of(kind("x")) for kind in KINDS if kind.transient} == {11}
    assert 11 not in {spec.code_of(kind("x")) for kind in KINDS if not kind.transient}


def test_a_defect_is_none_of_the_specifications_codes() -> None:
    assert spec.code_of(states.IllegalTransition("x")) == spec.INTERNAL >= 100


def test_an_error_says_version_code_sentence_kind_and_facts() -> None:
    error: errors.HostnicError = errors.VxnetFull("no address left", vxnet_id="vxnet-a", asked=3)
    assert spec.error_object(error, "0.4.0") == {
        "cniVersion": "0.4.0",
        "code": 112,
        "msg": "no address left",
        "details": "VxnetFull; asked=3; vxnet_id=vxnet-a",
    }
    told: dict[str, t.Any] = spec.error_object(CniError(7, "bad"))
    assert (told["code"], told["details"], told["cniVersion"]) == (7, "", spec.NEWEST)
