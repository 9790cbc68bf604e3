# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done so that NICs are in a state: decided from what was seen, and refused where it must not be."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from hostnic.errors import Denied, HostnicError, InvalidConfig, NotFound
from hostnic.model import CloudNic
from hostnic.nics import Plan, Seen, Use, Wanted, owner_of, plan

NAME = "qingcni_i-1"
BY_COUNT = Wanted("attached", NAME, "i-1", vxnet_id="vxnet-a")


def nic(number: int, where: str = "", name: str = NAME, vxnet: str = "vxnet-a", role: int = 0) -> CloudNic:
    """Its number is its age as well: 1 is the oldest."""
    status = "in-use" if where else "available"
    return CloudNic(
        f"52:54:00:00:00:{number:02x}", name, vxnet, f"10.0.0.{number}", status, where, role, created=float(number)
    )


def ids(*numbers: int) -> list[str]:
    return [nic(number).nic_id for number in numbers]


def decide(wanted: Wanted, *seen: t.Union[CloudNic, Seen]) -> Plan:
    return plan(wanted, [one if isinstance(one, Seen) else Seen(one) for one in seen])


def told(decided: Plan) -> dict[str, t.Any]:
    """Without what is nothing."""
    found = {
        "create": decided.create,
        "attach_new": decided.attach_new,
        "attach": [one.nic_id for one in decided.attach],
        "detach": [one.nic_id for one in decided.detach],
        "delete": [one.nic_id for one in decided.delete],
        "left": list(decided.left),
    }
    return {name: value for name, value in found.items() if value}


IDLE, BUSY, UNKNOWN = Use.IDLE, Use.BUSY, Use.UNKNOWN
ATTACHED_1, ATTACHED_2 = Seen(nic(1, "i-1"), IDLE), Seen(nic(2, "i-1"), IDLE)
IN_A_POD, SOMEWHERE = Seen(nic(3, "i-1"), BUSY), Seen(nic(4, "i-1"), UNKNOWN)
FREE_5, FREE_6 = Seen(nic(5)), Seen(nic(6))
STRANGERS = (
    Seen(nic(7, name="qingcni_i-2")),
    Seen(nic(8, "i-1", role=1)),
    Seen(nic(9, "i-2")),
    Seen(nic(10, vxnet="vxnet-b")),
)


@pytest.mark.parametrize(
    ("state", "count", "expected"),
    [
        ("present", None, {}),
        ("present", 5, {}),
        ("present", 7, {"create": 2}),
        ("attached", None, {}),
        ("attached", 3, {}),  # the one that nobody knows of counts, the one in a pod does not
        ("attached", 4, {"attach": ids(5)}),
        ("attached", 6, {"attach": ids(5, 6), "create": 1, "attach_new": True}),
        ("attached", 0, {}),
        ("detached", 1, {}),
        ("detached", 3, {"detach": ids(2)}),
        ("detached", 4, {"detach": ids(2, 1)}),
        ("absent", 1, {"delete": ids(6), "left": ids(4)}),
        ("absent", 3, {"detach": ids(2), "delete": ids(6, 5, 2), "left": ids(4)}),
        ("absent", None, {"detach": ids(2, 1), "delete": ids(6, 5, 2, 1), "left": ids(4)}),
    ],
)
def test_by_count(state: str, count: t.Optional[int], expected: dict[str, t.Any]) -> None:
    seen = (FREE_6, ATTACHED_2, *STRANGERS, IN_A_POD, ATTACHED_1, FREE_5, SOMEWHERE)
    assert told(decide(replace(BY_COUNT, state=state, count=count), *seen)) == expected


def test_what_nobody_knows_of_is_never_detached_by_count() -> None:
    with pytest.raises(Denied, match="4 NICs called qingcni_i-1 are attached to i-1, and only that node knows"):
        decide(replace(BY_COUNT, state="detached"), *(Seen(nic(n, "i-1"), UNKNOWN) for n in range(1, 5)))
    with pytest.raises(Denied, match="run this there"):
        decide(replace(BY_COUNT, state="detached", count=3), FREE_5, ATTACHED_1, SOMEWHERE)


def test_more_detached_than_there_are() -> None:
    with pytest.raises(NotFound, match="only 2 NICs called qingcni_i-1 are not in use, of 3"):
        decide(replace(BY_COUNT, state="detached", count=3), FREE_5, ATTACHED_1, IN_A_POD)


def test_what_is_said_too_little_for() -> None:
    with pytest.raises(InvalidConfig, match="vxnet is not given, and 2 more"):
        decide(replace(BY_COUNT, vxnet_id="", count=2))
    with pytest.raises(InvalidConfig, match="instance is not given"):
        decide(replace(BY_COUNT, instance_id="", count=2))
    assert told(decide(replace(BY_COUNT, vxnet_id="", count=2), FREE_5, FREE_6)) == {"attach": ids(5, 6)}


def test_addresses() -> None:
    wanted = replace(BY_COUNT, private_ips=("10.0.0.3", "10.0.0.5", "10.0.0.77"))
    decided = decide(wanted, IN_A_POD, FREE_5, FREE_6, ATTACHED_1)
    assert told(decided) == {"attach": ids(5), "create": 1, "attach_new": True}
    assert decided.private_ips == ("10.0.0.77",)
    assert told(decide(replace(wanted, state="absent"), IN_A_POD, FREE_5, FREE_6)) == {"delete": ids(5)}


THESE = Wanted("absent", NAME, nic_ids=tuple(ids(1, 5)))


@pytest.mark.parametrize(
    ("state", "seen", "expected"),
    [
        ("absent", (ATTACHED_1, FREE_5), {"detach": ids(1), "delete": ids(1, 5)}),
        ("absent", (FREE_5,), {"delete": ids(5)}),
        ("absent", (), {}),
        ("detached", (ATTACHED_1, FREE_5), {"detach": ids(1)}),
        ("attached", (ATTACHED_1, FREE_5), {"attach": ids(5)}),
        ("present", (ATTACHED_1, FREE_5), {}),
        ("absent", (Seen(nic(1, name="hostnic-gw_i-1")), FREE_5), {"delete": ids(1, 5)}),
        ("absent", (Seen(nic(1, name="qingcni_i-gone")), FREE_5), {"delete": ids(1, 5)}),
    ],
)
def test_by_id(state: str, seen: tuple[Seen, ...], expected: dict[str, t.Any]) -> None:
    where = "i-1" if state == "attached" else ""
    assert told(decide(replace(THESE, state=state, instance_id=where), *seen, FREE_6)) == expected


@pytest.mark.parametrize(
    ("state", "one", "error", "sentence"),
    [
        ("present", None, NotFound, "the cloud has no NIC 52:54:00:00:00:05"),
        ("absent", Seen(nic(5, "i-1", role=1)), Denied, "is the primary NIC of i-1"),
        ("absent", Seen(nic(5, name="operators-own")), Denied, "called 'operators-own', is not ours"),
        ("attached", Seen(nic(5, name="")), Denied, "without a name, is not ours"),
        ("detached", Seen(nic(5, "i-2"), IDLE), Denied, "is not ours"),
        ("detached", Seen(nic(5, "i-1"), UNKNOWN), Denied, "only i-1 knows whether a pod uses it"),
        ("absent", Seen(nic(5, "i-1"), BUSY), Denied, "a pod uses it"),
    ],
)
def test_named_and_left_alone_unless_forced(
    state: str, one: t.Optional[Seen], error: type[HostnicError], sentence: str
) -> None:
    wanted = replace(THESE, state=state, nic_ids=tuple(ids(5)), instance_id="i-1" if state == "attached" else "")
    seen = [one] if one else []
    with pytest.raises(error, match=sentence):
        decide(wanted, *seen)
    if one:
        assert told(decide(replace(wanted, force=True), *seen))


def test_a_nic_of_another_instance_is_not_taken_over_by_force() -> None:
    wanted = Wanted("attached", NAME, "i-1", tuple(ids(5)), force=True)
    with pytest.raises(Denied, match="is attached to i-2: detach it first"):
        decide(wanted, Seen(nic(5, "i-2")))


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("qingcni_i-1", "i-1"),
        ("hostnic-gw_i-1", "i-1"),
        ("other-gw_i-1", ""),
        ("hostnic_i-1", ""),
        ("qingcni_", ""),
        ("qingcni_x-1", ""),
        ("qingcni_i-1_i-2", ""),
        ("", ""),
    ],
)
def test_whose_name_it_is(name: str, owner: str) -> None:
    assert owner_of(name, "hostnic") == owner
