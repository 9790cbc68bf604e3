# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings on a host: each says what is there and what helps, and none is told of a host that is right."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from hostnic.errors import LinkFailed
from hostnic.net import host_findings
from hostnic.net.host_findings import accepts_gateways, dropping_chains, drops_by_policy, reverse_path

# as nft 1.0.6 prints it
LISTING = """{"nftables": [
{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
{"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 1, "type": "filter", "hook": "forward",
 "prio": 0, "policy": "drop"}},
{"chain": {"family": "ip", "table": "filter", "name": "INPUT", "handle": 2, "type": "filter", "hook": "input",
 "prio": 0, "policy": "drop"}},
{"chain": {"family": "ip", "table": "filter", "name": "plain", "handle": 3}},
{"chain": {"family": "inet", "table": "hard", "name": "ahead", "handle": 1, "type": "filter", "hook": "forward",
 "prio": -10, "policy": "drop"}},
{"chain": {"family": "inet", "table": "hard", "name": "open", "handle": 2, "type": "filter", "hook": "forward",
 "prio": 10, "policy": "accept"}},
{"chain": {"family": "ip6", "table": "filter", "name": "FORWARD", "handle": 1, "type": "filter", "hook": "forward",
 "prio": 0, "policy": "drop"}},
{"chain": {"family": "ip", "table": "qingcni", "name": "ours", "handle": 1, "type": "filter", "hook": "forward",
 "prio": 0, "policy": "drop"}}]}"""
NOTHING = '{"nftables": [{"metainfo": {"version": "1.0.6"}}]}'


def test_only_forwarding_of_ipv4_by_others_counts() -> None:
    assert dropping_chains(LISTING) == ["ip filter FORWARD", "inet hard ahead"]
    assert dropping_chains(NOTHING) == []


@pytest.mark.parametrize("answer", ["", "{}", "[]", '{"nftables": [{"chain": {"hook": "forward", "policy": "drop"}}]}'])
def test_an_answer_of_another_shape_is_told(answer: str) -> None:
    with pytest.raises(LinkFailed, match="nft's answer is not understood"):
        dropping_chains(answer)


@pytest.mark.parametrize(
    ("rules", "drops"),
    [
        ("-P FORWARD DROP\n", True),
        ("-P FORWARD DROP\n-A FORWARD -j KUBE-FORWARD\n", True),
        ("-P FORWARD ACCEPT\n-A FORWARD -i docker0 -j DROP\n", False),
        ("-P FORWARD DROP\n-A FORWARD -i qg+ -j ACCEPT\n-A FORWARD -o qg+ -j ACCEPT\n", False),
        ("-P FORWARD DROP\n-A FORWARD -i qg+ -j ACCEPT\n", True),
        ("", False),
    ],
)
def test_the_policy_in_legacy_iptables(rules: str, drops: bool) -> None:
    assert drops_by_policy(rules) is drops


def rule(*expr: t.Any) -> str:
    return json.dumps({"nftables": [{"metainfo": {}}, {"chain": {}}, *({"rule": {"expr": one}} for one in expr)]})


def match(key: str, right: str = "qg*") -> dict[str, t.Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": right}}


COUNT, ACCEPT = {"counter": {"packets": 0, "bytes": 0}}, {"accept": None}


@pytest.mark.parametrize(
    ("listing", "accepts"),
    [
        (rule([match("iifname"), ACCEPT], [match("oifname"), COUNT, ACCEPT]), True),
        (rule([match("iifname"), ACCEPT]), False),
        (rule([match("iifname"), ACCEPT], [match("oifname", "eth0"), ACCEPT]), False),
        (rule([match("iifname"), ACCEPT], [match("oifname"), {"drop": None}]), False),
        (rule([{"match": {"op": "==", "left": {"ct": {"key": "mark"}}, "right": "qg*"}}, ACCEPT]), False),
        (rule(), False),
    ],
)
def test_a_chain_that_lets_gateways_pass(listing: str, accepts: bool) -> None:
    assert accepts_gateways(listing) is accepts


@pytest.mark.parametrize(("of_all", "of_iface"), [("1", "0"), ("0", "1"), ("1", "1")])
def test_a_strict_source_check_names_both_values_and_the_remedy(of_all: str, of_iface: str) -> None:
    (told,) = map(str, reverse_path("ens3", of_all, of_iface))
    assert f"rp_filter is {of_all} for all links and {of_iface} for ens3" in told
    assert "Set net/ipv4/conf/ens3/rp_filter to 2" in told


@pytest.mark.parametrize(("of_all", "of_iface"), [("0", "0"), ("2", "1"), ("1", "2"), ("0", "2")])
def test_a_source_check_that_is_off_or_loose_is_right(of_all: str, of_iface: str) -> None:
    assert reverse_path("ens3", of_all, of_iface) == []


def test_a_source_check_that_is_no_number_is_told() -> None:
    with pytest.raises(LinkFailed, match="not a number"):
        reverse_path("ens3", "", "1")


# -- the reader, with programs that answer from a table; the source check is that of this machine's lo --


class Programs:
    """Program ► what it prints; one that is absent is not installed."""

    def __init__(self, **answers: t.Union[str, LinkFailed]) -> None:
        self.answers = answers
        self.run: list[str] = []

    def __call__(self, command: t.Sequence[str]) -> str:
        self.run.append(" ".join(command))
        answer = self.answers.get(command[0].replace("-", "_"))
        if answer is None:
            raise FileNotFoundError(command[0])
        if isinstance(answer, LinkFailed):
            raise answer
        return answer


def look(tmp_path: Path, programs: Programs, tables: str = "filter\nnat\n") -> host_findings.Findings:
    (tmp_path / "names").write_text(tables)
    return host_findings.look("lo", programs, tmp_path / "names")


def test_chains_are_named_with_the_rules_that_help(tmp_path: Path) -> None:
    seen = look(tmp_path, Programs(nft=LISTING), "")
    told = [sentence for sentence in seen.found if "policy" in sentence]
    assert [sentence.split(" is drop")[0] for sentence in told] == [
        "the policy of chain ip filter FORWARD",
        "the policy of chain inet hard ahead",
    ]
    assert '`nft insert rule ip filter FORWARD iifname "qg*" accept`' in told[0]
    assert '`nft insert rule inet hard ahead oifname "qg*" accept`' in told[1]
    assert "the same for lo where it is the pods' gateway" in told[0]
    assert seen.unchecked == []


def test_legacy_iptables_are_asked_only_where_they_have_tables(tmp_path: Path) -> None:
    legacy = Programs(nft=NOTHING, iptables_legacy="-P FORWARD DROP\n")
    (told,) = [sentence for sentence in look(tmp_path, legacy).found if "policy" in sentence]
    assert "FORWARD of legacy iptables" in told and "`iptables-legacy -I FORWARD -i qg+ -j ACCEPT`" in told
    assert legacy.run == ["nft -j list chains", "iptables-legacy -S FORWARD"]
    for tables in ("", "nat\n"):
        quiet = Programs(nft=NOTHING, iptables_legacy="-P FORWARD DROP\n")
        assert [sentence for sentence in look(tmp_path, quiet, tables).found if "policy" in sentence] == []
        assert quiet.run == ["nft -j list chains"]
    (tmp_path / "names").unlink()
    assert host_findings.look("lo", quiet, tmp_path / "names").unchecked == []


def test_legacy_iptables_that_no_program_shows_are_not_looked_at(tmp_path: Path) -> None:
    seen = look(tmp_path, Programs(nft=NOTHING))
    assert not [sentence for sentence in seen.found if "policy" in sentence]
    assert seen.unchecked == ["forwarding in legacy iptables: iptables-legacy is not installed"]


def test_what_cannot_be_looked_at_does_not_hide_the_rest(tmp_path: Path) -> None:
    refused = LinkFailed("iptables-legacy -S FORWARD: Permission denied")
    seen = look(tmp_path, Programs(iptables_legacy=refused))
    assert seen.unchecked == [
        "forwarding in nftables: nft is not installed",
        "iptables-legacy -S FORWARD: Permission denied",
    ]
    seen = look(tmp_path, Programs(nft=LinkFailed("nft: no"), iptables_legacy="-P FORWARD DROP\n"))
    assert seen.unchecked == ["nft: no"] and "FORWARD of legacy iptables" in seen.found[0]


def test_a_link_that_is_not_there_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "names").touch()
    seen = host_findings.look("nosuch", Programs(nft=NOTHING), tmp_path / "names")
    assert seen.found == [] and "cannot read net/ipv4/conf/nosuch/rp_filter" in seen.unchecked[0]


def test_a_program_that_fails_or_is_absent() -> None:
    with pytest.raises(LinkFailed, match="sh -c echo no >&2; exit 3: no"):
        host_findings.run(("sh", "-c", "echo no >&2; exit 3"))
    with pytest.raises(FileNotFoundError):
        host_findings.run(("nosuch-program",))
    assert host_findings.run(("echo", "yes")) == "yes\n"
