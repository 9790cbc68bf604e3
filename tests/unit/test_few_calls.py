# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent asks the cloud for, and what it does not: one account may have a thousand nodes."""

from __future__ import annotations

import random
import typing as t
from pathlib import Path

import pytest

from hostnic.config import Settings
from hostnic.states import State
from tests.bench.account import ZONE, Account, Agent
from tests.support.node import Node

FILLED: t.Final = {"DescribeNics": 2, "DescribeVxnets": 1, "CreateNics": 1, "AttachNics": 1}


def calls(node: Node) -> dict[str, int]:
    """Since it was asked last."""
    found: dict[str, int] = node.emulator.counters.to_dict()["calls"]
    node.emulator.counters.reset()
    return found


@pytest.fixture
def crowded(tmp_path: Path) -> t.Iterator[Node]:
    """A node that has a share of an account's calls."""
    with Node(tmp_path, api_rate=0.2) as node:
        yield node


def test_five_calls_fill_a_pool(crowded: Node) -> None:
    crowded.run(10)
    assert crowded.states() == {State.READY: 3}
    assert calls(crowded) == FILLED


def test_where_there_are_enough_two_more_look_for_nics_of_our_name(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.run(10)
        assert node.states() == {State.READY: 3}
        assert calls(node) == {**FILLED, "DescribeNics": 4}


def test_a_restart_costs_one_call(crowded: Node) -> None:
    crowded.run(10)
    calls(crowded)
    crowded.start_agent()
    crowded.run(10)
    assert calls(crowded) == {"DescribeNics": 1}


def test_at_rest_it_is_less_than_one_a_minute(crowded: Node) -> None:
    crowded.run(600)
    calls(crowded)
    crowded.run(3600)
    assert 20 <= sum(calls(crowded).values()) < 60


def test_all_of_our_name_are_read_in_the_end(crowded: Node) -> None:
    crowded.cloud.create_nics("vxnet-pods001", 1, "qingcni_i-node0001")
    crowded.run(60)
    assert len(crowded.engine.table.nics()) == 3
    crowded.run(900)
    assert len(crowded.engine.table.nics()) == 4


def test_a_stranger_is_not_forgotten_by_looks_that_do_not_show_it(crowded: Node) -> None:
    crowded.run(10)
    [made] = crowded.cloud.create_nics("vxnet-pods001", 1, "qingcni_i-node0001")
    crowded.engine.orders.look_wanted = True
    crowded.run(1)
    crowded.add_within(10, "pod", 1)  # which makes one of ours grow, and be looked at
    crowded.run(60)
    assert crowded.engine.table.nic(made.nic_id)


def test_looks_are_few_among_calls(tmp_path: Path) -> None:
    with Node(tmp_path, api_rate=0.05) as node:
        node.run(10)
        calls(node)
        node.run(100)
        assert calls(node) == {}


def test_vxnets_that_the_journal_knows_are_read_again_in_the_end(crowded: Node) -> None:
    crowded.run(10)
    crowded.start_agent()
    calls(crowded)
    crowded.run(900)
    assert calls(crowded)["DescribeVxnets"] == 1


def test_a_round_that_got_no_further_than_the_proof_does_not_prove_again(crowded: Node) -> None:
    fault = {"kind": "ret_code", "ret_code": 2500, "message": "QuotasExceeded, access too frequently"}
    crowded.emulator.faults.order({**fault, "action": "DescribeVxnets"})
    crowded.run(25)
    assert crowded.states() == {State.READY: 3}
    assert calls(crowded) == {**FILLED, "DescribeVxnets": 2}


def test_a_job_whose_links_are_there_is_not_asked_about(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.run(10)
        calls(node)
        for number in range(3):
            node.add_within(10, f"pod{number}", number)
        node.run(10)
        assert "DescribeJobs" not in calls(node)


def test_a_job_whose_links_do_not_come_is(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.emulator.faults.order({"kind": "job_stuck", "action": "AttachNics"})
        node.run(15)
        assert calls(node)["DescribeJobs"] >= 1


def test_a_vxnet_with_plenty_of_room_is_not_read_again(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.run(10)
        calls(node)
        node.add_within(10, "pod", 1)
        node.run(10)
        found = calls(node)
        assert (found["CreateNics"], "DescribeVxnets" in found) == (1, False)


def test_one_that_is_nearly_full_is(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.run(10)
        node.cloud.create_nics("vxnet-pods001", 220, "somebody-elses")
        node.run(300)  # what was read is old by then
        node.add_within(10, "pod", 1)
        node.run(10)
        calls(node)
        node.add_within(10, "another", 2)
        node.run(10)
        assert calls(node)["DescribeVxnets"] == 1


def test_links_that_come_while_a_call_waits_for_its_turn_are_seen(tmp_path: Path) -> None:
    """A job takes longer than usual, so it is asked about, 20 s later: the look after that is the only one needed."""
    account = Account(1, 1, {"job_working_seconds": 9.0}, tmp_path, seed=1)
    settings = Settings(zone=ZONE, access_file=str(account.access), vxnet=account.vxnets, api_rate=0.05)
    agent = Agent(account, account.instances[0], settings, random.Random(1))
    try:
        agent.start()
        assert account.hours.run(account.hours.now() + 200, lambda: agent.warm_at is not None)
        assert [call.action for call in account.calls] == [
            "DescribeNics", "DescribeVxnets", "CreateNics", "AttachNics", "DescribeJobs", "DescribeNics",
        ]  # fmt: skip
    finally:
        account.close()
