# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/services.md says what the end-to-end tests assert, and shows the rules that the agent lays."""

from __future__ import annotations

import re

from hostnic.net.nft import Ruleset
from tests.e2e.services import cases
from tests.e2e.services.cases import CASES, Case
from tests.support.services_page import PAGE, TABLES, drawn, names

EVERY = (*CASES, *cases.PRIMARY_CASES, *cases.ALONE_CASES, *cases.BY_HOST_CASES, *cases.HALF_BY_HOST_CASES)


def test_the_tables_are_those_of_the_tests() -> None:
    text = PAGE.read_text()
    assert sorted(names(text)) == sorted(TABLES)
    assert drawn(text) == text, "python -m tests.support.services_page"


def test_a_wrong_source_on_the_page_is_found() -> None:
    text = PAGE.read_text()
    wrong = text.replace("| 30 | out > h1:NodePort Local > a2 | h1.a |", "| 30 | out > h1:NodePort Local > a2 | out |")
    assert wrong != text and drawn(wrong) == text


def test_the_rules_are_the_agents() -> None:
    said = re.findall(r"^\| [123] \| `(.+?)` \|", PAGE.read_text(), re.MULTILINE)
    laid = Ruleset(("172.16.1.0/24",), primary="eth0", primary_is_gateway=True).text().replace("counter ", "")
    assert len(said) == 3
    assert [line.strip() for line in laid.splitlines() if line.endswith("masquerade")] == said


def test_there_are_38_cases_of_different_names() -> None:
    assert len(CASES) == 38
    assert len({case.name for case in CASES}) == 38
    assert len({case.number for case in EVERY}) == len(EVERY)


def test_no_host_is_passed_between_pods() -> None:
    """Nor between a pod and outside."""
    plain = [case for case in CASES if not case.via and "h" not in case.client[0] + case.server[0]]
    assert [case.number for case in plain] == ["14", "15", "16", "17", "18", "19"]
    assert not [case for case in plain if "h" in case.path]
    assert {case.source for case in plain} == {"a1", "out"}


def test_replies_take_the_links_of_their_requests_back() -> None:
    case = Case("x", "b3", "", "h1", "b3", "b3>r, r>h1")
    assert (case.requests, case.replies) == (("b3>r", "r>h1"), ("h1>r", "r>b3"))


def test_every_way_over_a_service_is_masqueraded_but_to_the_clients_own_host() -> None:
    """Nothing else is, and a server sees the last host of the path by the link that it uses there."""
    for case in EVERY:
        to_own_host = case.at == case.server
        last = case.requests[-1].partition(">")[0]
        if case.via and not to_own_host and case not in cases.HALF_BY_HOST_CASES and case.number != "22b":
            assert case.nat, case
            sender = next(hop for hop in case.requests if hop.partition(">")[0].startswith(case.at)).partition(">")[0]
            assert case.source == sender or last == "r", case
        elif case.number != "22b":
            assert not case.nat and case.source in (case.client, last), case


def test_what_masquerade_all_takes_over() -> None:
    ours = {case.number for case in CASES if case.nat in ("1", "2")}
    taken = {case.number for case in CASES if case.masquerader(True) == "kube-proxy" != case.nat}
    assert ours - taken == {"30", "31", "31b", "32", "33", "35"}  # NodePort Local, hostPort
    assert taken - ours == {"22b"}
    assert next(case for case in CASES if case.number == "7").masquerader(True) == ""
