# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent_account_rate`: divided by the nodes of real inventories by Ansible itself, told where it is too low."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml

from plugins.module_utils.hostnic.config import Settings, values
from tests.support.ansible import ansible

OTHER = {"hosts": {"jumphost": {}, "monitor": {}}}


class Inventory:
    """Of hosts that nobody connects to, and what the role says for the first of them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def rate(self, nodes: int, *words: str, group: str = "qingcloud_nodes", **given: t.Any) -> str:
        hosts: dict[str, t.Any] = {f"node{number}": {} for number in range(nodes)}
        (self._directory / "inventory.yml").write_text(yaml.safe_dump({group: {"hosts": hosts}, "others": OTHER}))
        role = {"name": "qingcloud.cni.qingagent", "tasks_from": "rate"}
        tell = {"msg": "the rate is {{ _qingagent_settings['api-rate'] }}"}
        play = {
            "hosts": group,
            "gather_facts": False,
            "tasks": [
                {"ansible.builtin.import_role": role},
                {"ansible.builtin.debug": tell, "run_once": True},
            ],
        }
        (self._directory / "play.yml").write_text(yaml.safe_dump([play]))
        inventory = ("-i", f"{self._directory}/inventory.yml")
        self.said = ansible(
            "ansible-playbook", f"{self._directory}/play.yml", *inventory, "-e", json.dumps(given), *words
        )
        return re.findall(r"the rate is (\S+)", self.said)[0]


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return Inventory(tmp_path)


@pytest.mark.parametrize(
    ("nodes", "account", "share"),
    [(4, "50/s", 12.5), (3, 10, 3.333), (3, "1", 0.333), (5, "1.0 /s", 0.2)],
)
def test_each_node_has_its_share_and_all_together_no_more(
    inventory: Inventory, nodes: int, account: t.Any, share: float
) -> None:
    found = values.parse("rate", inventory.rate(nodes, qingagent_account_rate=account), "api-rate")
    assert found == share and "less than" not in inventory.said


def test_a_limit_does_not_make_the_shares_larger(inventory: Inventory) -> None:
    assert inventory.rate(4, "--limit", "node2", qingagent_account_rate="10/s") == "2.5/s"


def test_without_the_group_all_of_the_inventory_counts(inventory: Inventory) -> None:
    """More than there are, so that the budget holds in any case."""
    assert inventory.rate(2, group="workers", qingagent_account_rate="10/s") == "2.5/s"
    assert inventory.rate(2, group="workers", qingagent_account_rate="10/s", qingagent_account_nodes=5) == "2.0/s"


def test_without_a_budget_each_agent_has_its_default(inventory: Inventory) -> None:
    assert values.parse("rate", inventory.rate(2), "api-rate") == Settings().api_rate


def test_an_agents_own_rate_wins_even_where_it_is_the_default(inventory: Inventory) -> None:
    assert inventory.rate(100, qingagent_account_rate="10/s", qingagent_api_rate="5/s") == "5/s"
    assert "less than" not in inventory.said


def test_below_what_an_agent_needs_it_is_said_once(inventory: Inventory) -> None:
    assert inventory.rate(3, qingagent_account_rate="0.5/s") == "0.2/s"
    sentence = "0.5/s calls a second make less than 0.2 for each of 3 nodes"
    assert inventory.said.replace("\n", " ").count(sentence) == 1


def test_what_is_no_rate_is_refused_by_its_name(inventory: Inventory) -> None:
    with pytest.raises(AssertionError, match="qingagent_account_rate must be a number of calls a second"):
        inventory.rate(1, qingagent_account_rate="many")
