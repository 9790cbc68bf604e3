# SPDX-License-Identifier: GPL-3.0-or-later
"""CHECK names all that differs from what ADD made, and nothing that a later plugin of the chain may change."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from types import MappingProxyType

import pytest

from hostnic.cni import check
from hostnic.cni.check import Expected
from hostnic.model import Lease, Nic, PodState, Route
from hostnic.states import State

MAC, OTHER_MAC, SANDBOX, NETNS = "52:54:00:00:00:01", "02:00:00:00:00:99", "/run/netns/x", 7
NIC = Nic(MAC, "vxnet-a", "172.16.1.9", State.IN_USE, 0.0)
LEASE = Lease("pods", "c1", "eth0", MAC, 0.0, NETNS, 3)
DEFAULT, SERVICES = Route("0.0.0.0/0", "172.16.1.1"), Route("10.96.0.0/12", "172.16.1.11")
EXPECTED = Expected("eth0", SANDBOX, "172.16.1.9/24", (DEFAULT, SERVICES))
SEEN = PodState(MAC, MAC, 3, True, 1500, ("172.16.1.9/24",), (DEFAULT, SERVICES))
PREVIOUS = MappingProxyType({"interfaces": [{"name": "br0"}, {"name": "eth0", "mac": MAC, "sandbox": SANDBOX}]})


def found(
    expected: Expected = EXPECTED,
    lease: t.Optional[Lease] = LEASE,
    nic: t.Optional[Nic] = NIC,
    netns: int = NETNS,
    seen: t.Optional[PodState] = SEEN,
    previous: t.Mapping[str, t.Any] = PREVIOUS,
) -> list[str]:
    return check.differences(expected, lease, nic, netns, seen, previous)


def seen(**changes: t.Any) -> list[str]:
    return found(seen=replace(SEEN, **changes))


def after(mac: str = MAC, **changes: t.Any) -> dict[str, t.Any]:
    """What the last plugin of the chain said."""
    return {"interfaces": [{"name": "eth0", "mac": mac, "sandbox": SANDBOX, **changes}]}


def test_what_add_made_has_no_differences() -> None:
    assert found() == []


@pytest.mark.parametrize(
    "told",
    [
        seen(addresses=("172.16.1.9/24", "10.1.1.1/32")),
        seen(routes=(DEFAULT, SERVICES, Route("192.168.0.0/16", "172.16.1.1"))),
        found(seen=replace(SEEN, mac=OTHER_MAC), previous=after(OTHER_MAC)),
        found(seen=replace(SEEN, mac=OTHER_MAC, permanent=OTHER_MAC), previous=after(OTHER_MAC)),
        found(replace(EXPECTED, mtu=1400), seen=SEEN, previous=after(mtu=1500)),
        found(lease=replace(LEASE, netns_inode=0)),
        found(previous=after(MAC.upper())),
    ],
    ids=[
        "an address more",
        "a route more",
        "mac",
        "mac of a link without a permanent one",
        "mtu",
        "no inode known",
        "capitals",
    ],
)
def test_what_a_later_plugin_has_changed_and_told_is_fine(told: list[str]) -> None:
    assert told == []


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (found(lease=None), "the agent has no lease for it"),
        (found(nic=None), "the agent has no lease for it"),
        (found(nic=replace(NIC, state=State.BROKEN)), f"its NIC {MAC} is BROKEN"),
        (found(netns=8), f"its NIC {MAC} was moved into another network namespace"),
        (found(seen=None), "the pod has no interface eth0"),
        (found(previous={}), f"prevResult lists no interface eth0 of {SANDBOX}"),
        (found(previous={"interfaces": [{"name": "eth0", "sandbox": "y"}]}), "prevResult lists no interface eth0 of"),
        (seen(mac=OTHER_MAC), f"eth0 has the MAC {OTHER_MAC}, not {MAC}"),
        (seen(mac=OTHER_MAC, permanent=OTHER_MAC), f"eth0 is the link {OTHER_MAC}, not NIC {MAC}"),
        (seen(up=False), "eth0 is down"),
        (seen(addresses=("10.0.0.1/8",)), "eth0 lacks the address 172.16.1.9/24 (it has 10.0.0.1/8)"),
        (seen(addresses=()), "eth0 lacks the address 172.16.1.9/24 (it has none)"),
        (seen(routes=(DEFAULT,)), "the route to 10.96.0.0/12 via 172.16.1.11 is not there"),
        (seen(routes=(SERVICES, Route("0.0.0.0/0", "172.16.1.2"))), "the route to 0.0.0.0/0 via 172.16.1.1 is not"),
        (found(replace(EXPECTED, mtu=1400)), "eth0 has the MTU 1500, not 1400"),
        (found(replace(EXPECTED, mtu=1400), previous=after(mtu=1400)), "eth0 has the MTU 1500, not 1400"),
        (found(replace(EXPECTED, mtu=1400), previous=after(mtu=1300)), "eth0 has the MTU 1500, not 1300"),
        (found(replace(EXPECTED, missing=("no gateway",))), "no gateway"),
    ],
)
def test_every_difference_has_its_sentence(told: list[str], sentence: str) -> None:
    assert any(one.startswith(sentence) for one in told), told


def test_all_differences_are_told_at_once() -> None:
    assert len(seen(up=False, addresses=(), routes=())) == 4
