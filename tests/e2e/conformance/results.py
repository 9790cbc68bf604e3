# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of an ADD's result, in each version's shape."""

from __future__ import annotations

import typing as t

from tests.e2e.conformance.cell import Cell
from tests.e2e.conformance.rows import LISTED, NEWEST, VERSIONS, Row

Result = t.Mapping[str, t.Any]
FAMILY_WITH_ADDRESS: t.Final = ("0.3.0", "0.3.1", "0.4.0")


def addresses(version: str, result: Result) -> list[str]:
    return [one["address"] for one in result["ips"]] if version in LISTED else [result["ip4"]["ip"]]


def gateway(version: str, result: Result) -> str:
    """Of the last address, "" for none."""
    return str((result["ips"][-1] if version in LISTED else result["ip4"]).get("gateway", ""))


def routes(version: str, result: Result) -> dict[str, str]:
    """Network ► gateway."""
    listed = result["routes"] if version in LISTED else result["ip4"]["routes"]
    assert all(set(route) <= {"dst", "gw"} for route in listed), listed
    return {route["dst"]: route.get("gw", "") for route in listed}


def shape(cell: Cell) -> None:
    result = cell.added().result
    if cell.version not in LISTED:
        assert set(result) == {"cniVersion", "ip4"}, result
        assert set(result["ip4"]) == {"ip", "gateway", "routes"}
        return
    assert set(result) == {"cniVersion", "interfaces", "ips", "routes"}, result
    (interface,), (address,) = result["interfaces"], result["ips"]
    assert set(interface) == {"name", "mac", "sandbox"} | ({"mtu"} if cell.version == NEWEST else set())
    family = {"version"} if cell.version in FAMILY_WITH_ADDRESS else set()
    assert set(address) == {"address", "gateway", "interface"} | family


def own_version(cell: Cell) -> None:
    assert cell.added().result["cniVersion"] == cell.version


def address_of_the_kernel(cell: Cell) -> None:
    one = cell.added()
    assert addresses(cell.version, one.result) == one.pod.addresses()
    assert one.pod.addresses()[0].endswith("/24")  # the vxnet's


def interface(cell: Cell) -> None:
    one = cell.added()
    (told,) = one.result["interfaces"]
    assert (told["name"], told["mac"]) == ("eth0", one.pod.links()["eth0"]["address"])


def sandbox(cell: Cell) -> None:
    one = cell.added()
    assert [told["sandbox"] for told in one.result["interfaces"]] == [one.pod.path]


def index(cell: Cell) -> None:
    (address,) = cell.added().result["ips"]
    assert address["interface"] == 0


def family(cell: Cell) -> None:
    (address,) = cell.added().result["ips"]
    assert address.get("version") == ("4" if cell.version in FAMILY_WITH_ADDRESS else None)


def routes_of_the_kernel(cell: Cell) -> None:
    one = cell.added()
    assert routes(cell.version, one.result) == one.pod.routes() == {"0.0.0.0/0": one.router}
    assert gateway(cell.version, one.result) == one.router


def mtu(cell: Cell) -> None:
    one = cell.added()
    (told,) = one.result["interfaces"]
    assert told.get("mtu") == (one.pod.links()["eth0"]["mtu"] if cell.version == NEWEST else None)


def without_dns(cell: Cell) -> None:
    assert "dns" not in cell.added().result


ADD: t.Final = ("ADD",)
ROWS: t.Final = (
    Row("result-shape", "exactly the keys of its version: `ip4` alone before 0.3.0, then `interfaces`, `ips`, `routes`",
        ADD, shape, runtimes=True),
    Row("result-version", "cniVersion is the configuration's", ADD, own_version, runtimes=True),
    Row("result-address", "the address with the vxnet's prefix length, as the kernel has it", ADD,
        address_of_the_kernel, runtimes=True),
    Row("result-routes", "the routes and the gateway, as the kernel has them", ADD, routes_of_the_kernel),
    Row("result-interface", "the interface's name and MAC, as the kernel has them", ADD, interface, LISTED),
    Row("result-sandbox", "`sandbox` is the value of CNI_NETNS", ADD, sandbox, LISTED),
    Row("result-index", "`ips[].interface` is the interface's place in the list", ADD, index, LISTED),
    Row("result-family", "`ips[].version` is there up to 0.4.0, and gone from 1.0.0", ADD, family, LISTED),
    Row("result-mtu", "`mtu` of the interface is there in 1.1.0, and not before", ADD, mtu, LISTED),
    Row("result-dns", "`dns` is left out where there is none", ADD, without_dns),
    Row("result-pci", "`pciID` of the interface", ADD, None, VERSIONS[-1:],
        note="the lab's links have no PCI address; its place in the result is tested in tests/unit/test_cni_spec.py"),
)  # fmt: skip
