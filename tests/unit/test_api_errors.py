# SPDX-License-Identifier: GPL-3.0-or-later
"""Each error that the API documents, at each action that the pool uses: status and a failing ADD name it and a remedy.

The real pool and client before the emulated cloud, which refuses one action for ever.
"""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

from hostnic import operate, status
from hostnic.errors import HostnicError
from hostnic.states import State
from tests.support.node import Node

# The error-code page of the API's documentation: https://docsv4.qingcloud.com, "error codes".
CODES: t.Final = (
    1100, 1101, 1200, 1300, 1400, 1500, 1510, 1520, 1600, 1610, 1620, 1630, 1640, 1650, 1660, 1661, 1662, 2000, 2100,
    2110, 2200, 2300, 2400, 2500, 3300, 4000, 4001, 4002, 4003, 4004, 4005, 5000, 5100, 5200, 5300, 5400, 5500, 5600,
    8000, 8001, 8002, 8003, 8004,
)  # fmt: skip
# Messages that give a code another meaning.
PARTICULAR: t.Final = (
    (2500, "QuotasExceeded, access too frequently, your requests will be rejected for a period of time"),
    (2500, "QuotasExceeded, you can only call the API [9] times a day"),
    (2500, "QuotasExceeded, no free private ip left in network [172.16.1.0/24]"),
    (1400, "PermissionDenied, you can only attach [64] nics to one instance at most"),
)
CASES: t.Final = (*((code, f"Composed, refused for the test of {code}") for code in CODES), *PARTICULAR)
# Codes that differ in nothing but their number: all of them at CreateNics, the first at the other actions.
FAMILIES: t.Final = (range(1500, 1521), range(1600, 1663), range(2200, 2301), range(4000, 4006), range(8000, 8005))
REST: t.Final = {code for family in FAMILIES for code in [one for one in CODES if one in family][1:]}
# A remedy is an order: it begins with one of these, or has it after what the API's own clock tells.
VERBS: t.Final = (
    "add", "allow", "ask", "check", "delete", "look", "lower", "name", "raise", "remove", "renew", "set", "take", "top",
    "wait",
)  # fmt: skip
PODS = "vxnet-pods001"
# What is no failure: a job or a NIC that the cloud does not know is over.
PASSES: t.Final = {("DescribeJobs", 2100), ("DescribeNics", 2100)}
# Where a code tells more than its own words.
MEANT: t.Final = {("DescribeVxnets", 2100): (f"the cloud has no vxnet {PODS}",)}


def refuse(node: Node, action: str, code: int, message: str) -> None:
    node.emulator.faults.order(
        {"action": action, "kind": "ret_code", "ret_code": code, "message": message, "count": None}
    )


def failed_add(node: Node) -> str:
    with pytest.raises(HostnicError) as caught:
        node.add("pod", 1)
    return caught.value.message


def at_growth(node: Node, case: tuple[str, int, str]) -> str:
    refuse(node, *case)
    if case[0] == "DescribeJobs":  # there is a job to ask about: no link tells that it is over
        node.emulator.faults.order({"action": "AttachNics", "kind": "job_stuck"})
    node.run(7.0 if case[0] == "DescribeJobs" else 0.5)
    return failed_add(node)


def at_a_gateway(node: Node, case: tuple[str, int, str]) -> str:
    """What a pod's routes ask for."""
    node.run(5)
    refuse(node, *case)
    never = node.clock.now()
    with pytest.raises(HostnicError):
        node.pool.gateway(PODS, never, lambda: False)
    node.run(2)
    with pytest.raises(HostnicError) as caught:
        node.pool.gateway(PODS, never, lambda: False)
    return caught.value.message


def at_shrinking(node: Node, case: tuple[str, int, str]) -> str:
    """No pod fails by that."""
    node.run(5)
    nic_id = node.engine.table.nics(State.READY)[0].nic_id
    refuse(node, *case)
    operate.give_back(node.engine, [nic_id])
    node.run(6)
    node.add("pod", 1)
    return ""


ACTIONS: t.Final[dict[str, t.Callable[[Node, tuple[str, int, str]], str]]] = {
    "CreateNics": at_growth,
    "AttachNics": at_growth,
    "DescribeNics": at_growth,
    "DescribeVxnets": at_growth,
    "DescribeJobs": at_growth,
    "ModifyNicAttributes": at_a_gateway,
    "DetachNics": at_shrinking,
    "DeleteNics": at_shrinking,
}


def is_order(remedy: str) -> bool:
    return re.match(rf"(?:.*: )?(?:{'|'.join(VERBS)})\b", remedy) is not None


def told(action: str, code: int, message: str, said: str) -> bool:
    return all(part in said for part in MEANT.get((action, code), (message, f"(ret_code {code})", f"refused {action}")))


@pytest.mark.parametrize("action", ACTIONS)
def test_status_and_the_failing_add_say_in_one_line_what_is_wrong_and_what_to_do(action: str, tmp_path: Path) -> None:
    wrong = []
    for code, message in CASES:
        if (action, code) in PASSES or (code in REST and action != "CreateNics"):
            continue
        with Node(tmp_path) as node:
            said = ACTIONS[action](node, (action, code, message))
            found = status.status(node.engine)["problems"]
        there = [one for one in found if told(action, code, message, one["what"]) and is_order(one["remedy"])]
        of_the_add = not said or (
            told(action, code, message, said) and any(said.endswith(one["remedy"]) for one in there)
        )
        lines = [said, *(f"{one['what']}: {one['remedy']}" for one in found)]
        if not there or not of_the_add or any("\n" in line or len(line) > 400 for line in lines):
            wrong.append((code, message, lines))
    assert not wrong, "\n".join(map(str, wrong))
