# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of isGateway, ipam.routes and defaultRoute: what the pod gets."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from hostnic.cni import routes
from hostnic.cni.netconf import ConfRoute, NetConf
from hostnic.errors import InvalidConfig
from hostnic.model import KnownVxnet, Route
from tests.support.cni import GATEWAY_ADDRESS, HOST_ADDRESS, VXNET

ROUTER = VXNET.gateway
SERVICES = "10.96.0.0/12"
BY_ROUTER = Route("0.0.0.0/0", ROUTER)
BY_HOST = Route("0.0.0.0/0", GATEWAY_ADDRESS)
OWN_HOST = Route(f"{HOST_ADDRESS}/32", GATEWAY_ADDRESS)


def conf(*pairs: tuple[str, str], gateway: bool = False, default: str = "router") -> NetConf:
    return NetConf(is_gateway=gateway, routes=tuple(ConfRoute(dst, gw) for dst, gw in pairs), default_route=default)


@pytest.mark.parametrize(
    ("config", "by_host", "expected"),
    [
        (conf(), False, [BY_ROUTER]),
        (conf((SERVICES, ""), gateway=True), True, [BY_ROUTER, Route(SERVICES, GATEWAY_ADDRESS), OWN_HOST]),
        (conf((SERVICES, "0.0.0.0"), gateway=True), True, [BY_ROUTER, Route(SERVICES, GATEWAY_ADDRESS), OWN_HOST]),
        (conf((SERVICES, "172.16.1.9"), gateway=True), True, [BY_ROUTER, Route(SERVICES, "172.16.1.9"), OWN_HOST]),
        (conf((SERVICES, "172.16.1.9")), False, [BY_ROUTER, Route(SERVICES, "172.16.1.9")]),
        (conf((SERVICES, "0.0.0.0")), True, [BY_ROUTER, Route(SERVICES, GATEWAY_ADDRESS)]),
        (conf((SERVICES, "")), False, [BY_ROUTER, Route(SERVICES, ROUTER)]),
        (conf(default="gateway"), True, [BY_HOST]),
        (conf((SERVICES, ""), default="gateway"), True, [BY_HOST, Route(SERVICES, GATEWAY_ADDRESS)]),
        (conf(gateway=True, default="gateway"), True, [BY_HOST, OWN_HOST]),
        (conf(("0.0.0.0/0", "0.0.0.0")), True, [BY_HOST]),
        (conf(("0.0.0.0/0", "172.16.1.9")), False, [Route("0.0.0.0/0", "172.16.1.9")]),
    ],
)
def test_what_the_pod_gets(config: NetConf, by_host: bool, expected: list[Route]) -> None:
    assert routes.needs_gateway(config) is by_host
    assert list(routes.of_pod(config, VXNET, GATEWAY_ADDRESS if by_host else "", HOST_ADDRESS)) == expected


DOCUMENT = Path(__file__).parents[2] / "docs" / "cni.md"
ROW = re.compile(r"^\| (true|false) \| (router|gateway|none) \| (.+?) \| (.*?) ?\| (.+?) \| (.*?) ?\|$", re.MULTILINE)
GIVEN = {"absent": "", "0.0.0.0": "0.0.0.0", "an address": "172.16.1.9"}
BY = {"router": ROUTER, "gateway": GATEWAY_ADDRESS, "the address": "172.16.1.9"}
ROWS = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))


def test_the_page_has_a_row_for_each_combination() -> None:
    every = product(("false", "true"), ("router", "gateway", "none"), GIVEN)
    assert sorted(row[:3] for row in ROWS) == sorted(every)


@pytest.mark.parametrize("row", ROWS, ids=[" ".join(row[:3]) for row in ROWS])
def test_a_pod_gets_what_the_page_says(row: tuple[str, ...]) -> None:
    is_gateway, default, gw, default_by, route_by, host_by = row
    config = conf((SERVICES, GIVEN[gw]), gateway=is_gateway == "true", default=default)
    expected = {"0.0.0.0/0": default_by, SERVICES: route_by, f"{HOST_ADDRESS}/32": host_by}
    found = routes.of_pod(config, VXNET, GATEWAY_ADDRESS if routes.needs_gateway(config) else "", HOST_ADDRESS)
    assert {route.dst: route.via for route in found} == {dst: BY[by] for dst, by in expected.items() if by}


@pytest.mark.parametrize("host", ["", "172.16.1.31"], ids=["unknown", "in the pod's vxnet"])
def test_no_host_route_where_it_would_say_nothing(host: str) -> None:
    config = conf((SERVICES, ""), gateway=True)
    assert len(routes.of_pod(config, VXNET, GATEWAY_ADDRESS, host)) == 2


def test_a_host_route_that_is_configured_stays_as_it_is() -> None:
    config = conf((f"{HOST_ADDRESS}/32", ROUTER), gateway=True)
    assert Route(f"{HOST_ADDRESS}/32", ROUTER) in routes.of_pod(config, VXNET, GATEWAY_ADDRESS, HOST_ADDRESS)


def test_a_gw_that_the_pod_cannot_reach_is_refused() -> None:
    other = KnownVxnet("vxnet-b", "172.16.2.0/24", "172.16.2.1", "rtr-1")
    with pytest.raises(InvalidConfig, match=r"172\.16\.1\.9 .* vxnet-b"):
        routes.of_pod(conf((SERVICES, "172.16.1.9")), other, "", "")


def test_the_gateway_of_the_result_is_the_default_routes() -> None:
    assert routes.default_gateway([Route(SERVICES, "1.1.1.1"), BY_HOST]) == GATEWAY_ADDRESS
    assert routes.default_gateway([]) == ""
