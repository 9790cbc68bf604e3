# SPDX-License-Identifier: GPL-3.0-or-later
"""The nftables table, loaded by the real nft into a throw-away namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import typing as t
from contextlib import closing

import pytest

from hostnic.errors import LinkFailed
from hostnic.net import netns
from hostnic.net.netlink import NETFILTER, Netlink
from hostnic.net.nft import Ruleset
from hostnic.net.nft_table import Identity, NftTable, identity
from tests.kernel.net_world import World

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft"),
]

RULES = Ruleset(("172.16.1.0/24", "172.16.2.0/24"), ("172.16.1.0/24",), "eth0")


@pytest.fixture
def world() -> t.Iterator[World]:
    with World() as world:
        yield world


class Nft:
    """Runs nft in the world's host; counts."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.runs = 0

    def __call__(self, script: str) -> None:
        self.runs += 1
        done = self.run("-f", "-", script=script)
        if done.returncode:
            raise LinkFailed(done.stderr)

    def run(self, *arguments: str, script: str = "") -> subprocess.CompletedProcess[str]:
        command = ["ip", "netns", "exec", self.world.host, "nft", *arguments]
        return subprocess.run(command, input=script, capture_output=True, text=True, check=False)

    def look(self) -> Identity:
        """As the agent in the world's host would."""
        with closing(netns.once(f"/run/netns/{self.world.host}", lambda: Netlink(NETFILTER))) as channel:
            return identity(channel)

    def tables(self) -> list[str]:
        return self.run("list", "tables").stdout.split("\n")[:-1]

    def ruleset(self) -> list[dict[str, t.Any]]:
        listed = json.loads(self.run("-j", "-s", "list", "table", "ip", "qingcni").stdout)["nftables"]
        return [{kind: {k: v for k, v in item.items() if k != "handle"} for kind, item in entry.items()}
                for entry in listed if "metainfo" not in entry]  # fmt: skip


@pytest.mark.parametrize(
    "rules",
    [
        RULES,
        Ruleset(()),
        Ruleset(("10.0.0.0/24", "10.0.0.0/25", "10.0.1.0/24"), ("10.0.0.0/8", "10.0.0.0/16"), "a.b-c_d@e+f"),
        Ruleset(("172.16.1.0/24",), ("172.16.1.0/24",), primary_is_gateway=True),
        Ruleset(("172.16.1.0/24",), ("172.16.1.0/24",), mark=0x80000000, symmetric_replies=False),
    ],
)
def test_nft_takes_every_shape_twice_in_a_row(world: World, rules: Ruleset) -> None:
    nft = Nft(world)
    assert NftTable(nft, nft.look).apply(rules)
    once = nft.ruleset()
    assert NftTable(nft, nft.look).apply(rules), "another process knows nothing and applies again"
    assert nft.ruleset() == once
    assert nft.tables() == ["table ip qingcni"]


def test_the_same_is_not_applied_again_and_other_tables_stay(world: World) -> None:
    nft = Nft(world)
    nft.run("-f", "-", script="table ip kube { chain c { counter accept; }; }")
    table = NftTable(nft, nft.look)
    assert table.apply(RULES) and not table.apply(RULES)
    assert nft.runs == 1
    assert table.apply(Ruleset(("172.16.9.0/24",)))
    assert "172.16.1.0" not in nft.run("list", "ruleset").stdout
    assert nft.tables() == ["table ip kube", "table ip qingcni"]
    table.delete()
    table.delete()
    assert nft.tables() == ["table ip kube"]
    assert table.apply(RULES), "it is wanted again"


def test_a_table_that_was_flushed_away_comes_back(world: World) -> None:
    nft = Nft(world)
    table = NftTable(nft, nft.look)
    table.apply(RULES)
    before = nft.ruleset()
    assert not table.apply(RULES)
    nft.run("flush", "ruleset")
    assert table.apply(RULES) and not table.apply(RULES)
    assert nft.ruleset() == before


@pytest.mark.parametrize(
    "change",
    ["delete chain ip qingcni output", "add chain ip qingcni more", "add set ip qingcni more { type mark; }"],
)
def test_a_table_that_somebody_has_changed_is_replaced(world: World, change: str) -> None:
    nft = Nft(world)
    table = NftTable(nft, nft.look)
    table.apply(RULES)
    before = nft.ruleset()
    assert nft.run(*change.split(" ", 4)).returncode == 0
    assert nft.ruleset() != before
    assert table.apply(RULES)
    assert nft.ruleset() == before


def test_a_table_of_the_same_name_that_is_another_is_replaced(world: World) -> None:
    nft = Nft(world)
    table = NftTable(nft, nft.look)
    table.apply(RULES)
    NftTable(nft, nft.look).apply(Ruleset(("10.0.0.0/8",)))
    assert table.apply(RULES)


def test_other_tables_do_not_matter(world: World) -> None:
    nft = Nft(world)
    table = NftTable(nft, nft.look)
    table.apply(RULES)
    nft.run("add", "table", "ip", "kube-proxy")
    assert not table.apply(RULES)


def test_a_table_that_nft_refuses_leaves_the_old_one(world: World) -> None:
    nft = Nft(world)
    table = NftTable(nft, nft.look)
    table.apply(RULES)
    before = nft.ruleset()

    def broken(script: str) -> None:
        nft(script.replace("masquerade", "masquerade everything"))

    with pytest.raises(LinkFailed):
        NftTable(broken).apply(Ruleset(("172.16.9.0/24",)))
    assert nft.ruleset() == before
