# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent_account_rate`: divided by the nodes of real inventories, by Ansible itself; a warning where it is low."""

from __future__ import annotations

import base64
import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml

from plugins.module_utils.hostnic.config import Settings
from plugins.module_utils.hostnic.configuration import values
from tests.support.ansible import CLONE, ansible

OTHER = {"hosts": {"jumphost": {}, "monitor": {}}}


class Inventory:
    """Of hosts that nobody connects to, and what the role works out for the first of them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def told(self, nodes: int, *words: str, group: str = "qingcloud_nodes", **given: t.Any) -> dict[str, t.Any]:
        """`rate` as it is written to the agent's file, `problems` and `warnings` for preflight."""
        hosts: dict[str, t.Any] = {f"node{number}": {} for number in range(nodes)}
        (self._directory / "inventory.yml").write_text(yaml.safe_dump({group: {"hosts": hosts}, "others": OTHER}))
        wanted = {
            "rate": "{{ _qingagent_settings['api-rate'] }}",
            "problems": "{{ _qingagent_problems }}",
            "warnings": "{{ _qingagent_warnings }}",
        }
        files = [str(CLONE / f"roles/qingagent/{name}/main.yml") for name in ("defaults", "vars")]
        task = {"ansible.builtin.debug": {"msg": "told:{{ wanted | to_json | b64encode }}"}, "vars": {"wanted": wanted}}
        play = {"hosts": group, "gather_facts": False, "vars_files": files, "tasks": [{**task, "run_once": True}]}
        (self._directory / "play.yml").write_text(yaml.safe_dump([play]))
        inventory = ("-i", f"{self._directory}/inventory.yml")
        said = ansible("ansible-playbook", f"{self._directory}/play.yml", *inventory, "-e", json.dumps(given), *words)
        [line] = re.findall(r"told:([A-Za-z0-9+/=]+)", said)
        found: dict[str, t.Any] = json.loads(base64.b64decode(line))
        return found


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return Inventory(tmp_path)


@pytest.mark.parametrize(
    ("nodes", "account", "share"),
    [(4, "50/s", 10.25), (7, 10, 1.171), (3, "1", 0.273), (1000, "50 /s", 0.041)],
)
def test_each_node_has_its_share_and_all_together_no_more(
    inventory: Inventory, nodes: int, account: t.Any, share: float
) -> None:
    told = inventory.told(nodes, qingagent_account_rate=account)
    assert values.parse("rate", told["rate"], "api-rate") == share
    assert told["problems"] == told["warnings"] == []


def test_a_limit_does_not_make_the_shares_larger(inventory: Inventory) -> None:
    assert inventory.told(4, "--limit", "node2", qingagent_account_rate="10/s")["rate"] == "2.05/s"


def test_without_the_group_all_of_the_inventory_counts(inventory: Inventory) -> None:
    """More than there are, so that the budget holds in any case."""
    assert inventory.told(2, group="workers", qingagent_account_rate="10/s")["rate"] == "2.05/s"


def test_more_nodes_elsewhere_may_be_told(inventory: Inventory) -> None:
    assert inventory.told(2, qingagent_account_rate="10/s", qingagent_account_nodes=5)["rate"] == "1.64/s"


def test_without_a_budget_each_agent_has_its_default(inventory: Inventory) -> None:
    assert values.parse("rate", inventory.told(2)["rate"], "api-rate") == Settings().api_rate


def test_many_agents_without_a_budget_are_warned_of(inventory: Inventory) -> None:
    assert inventory.told(10)["warnings"] == []
    [warning] = inventory.told(11)["warnings"]
    assert warning.startswith("qingagent_account_rate is not set: 11 agents may call QingCloud 5 times a second each")
    assert inventory.told(11, qingagent_api_rate="1/s")["warnings"] == []


def test_an_agents_own_rate_wins_even_where_it_is_the_default(inventory: Inventory) -> None:
    told = inventory.told(100, qingagent_account_rate="10/s", qingagent_api_rate="5/s")
    assert told == {"rate": "5/s", "problems": [], "warnings": []}


def test_below_what_an_agent_needs_there_is_a_warning(inventory: Inventory) -> None:
    told = inventory.told(3, qingagent_account_rate="0.05/s")
    assert told["rate"] == "0.03/s" and told["problems"] == []
    assert "0.05/s calls a second make less than 0.03 for each of 3 nodes" in told["warnings"][0]


def test_what_is_no_rate_is_refused_by_its_name(inventory: Inventory) -> None:
    [problem] = inventory.told(1, qingagent_account_rate="many")["problems"]
    assert problem.startswith("qingagent_account_rate must be a number of calls a second")
    assert problem.endswith("not many")
