# SPDX-License-Identifier: GPL-3.0-or-later
"""The page about a fleet: what is said of which answers, that nothing of them is believed, and how large it gets."""

from __future__ import annotations

import html.parser
import json
import re
import time
import typing as t
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from plugins.module_utils.hostnic.states import State
from plugins.plugin_utils.report import answers, page, picture, problems, render
from tests.support import fleets
from tests.support.fleets import Raw, told

AT: t.Final = "2026-03-04 03:00 UTC"
SECRET: t.Final = "5ecretThatNobodyMayEverSeeInAnyPage000"


def read(nodes: t.Mapping[str, Raw], vxnets: t.Any = None, sweep: t.Any = None, **more: t.Any) -> answers.Fleet:
    return answers.fleet(nodes, {"vxnets": []} if vxnets is None else vxnets, sweep or {"strays": []}, **more)


def shown(fleet: answers.Fleet) -> str:
    return render.document(fleet, AT)[1]


@cache
def answered(size: int) -> Raw:
    return fleets.fleet(size)


@cache
def large(size: int) -> answers.Fleet:
    raw = answered(size)
    return answers.fleet(raw["nodes"], raw["vxnets"], raw["sweep"])


def words(document: str) -> str:
    """What a reader sees."""
    found: list[str] = []

    class Reader(html.parser.HTMLParser):
        def handle_data(self, data: str) -> None:
            found.append(data)

    Reader().feed(re.sub(r"<style>.*?</style>", "", document, flags=re.DOTALL))
    return " ".join(" ".join(found).split())


# -- pictures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_every_state_of_a_nic_has_a_figure(state: State) -> None:
    assert picture.kind_of(state, "pool") in picture.BY_KEY.keys() - {"o", "f"}


def test_figures_differ_as_well_as_colours() -> None:
    css = (render.TEMPLATE / "page.css").read_text(encoding="utf-8")
    assert len({kind.figure for kind in picture.KINDS}) == len(picture.KINDS)
    for scheme in re.findall(r"--u:.*?}", css, re.DOTALL):
        colours = re.findall(r"--([uhqrwbgof]):(#\w+)", scheme)
        assert {key for key, __ in colours} == picture.BY_KEY.keys()
        assert len(dict(colours)) == len({colour for __, colour in colours})


def test_squares_that_lie_side_by_side_are_one_run() -> None:
    drawn = picture.draw({"u": 22, "r": 3, "f": 1})
    assert [(run.kind, run.path) for run in drawn.runs] == [
        ("u", "M0 0h280v14h-280z"),
        ("u", "M0 14h28v14h-28z"),
        ("r", "M28 14h42v14h-42z"),
        ("f", "M70 14h14v14h-14z"),
    ]
    assert (drawn.width, drawn.height, drawn.said) == (280, 28, "22 used, 3 ready, 1 free place")


def test_a_picture_has_bounds_and_its_words_have_none() -> None:
    drawn = picture.draw({"u": 10**9})
    assert drawn.height == picture.MOST // picture.COLUMNS * picture.PITCH
    assert drawn.said == "1000000000 used"


@pytest.mark.parametrize(("state", "kind"), [("GATEWAY", "g"), ("BROKEN", "b"), ("ATTACHING", "w"), ("NEWER", "o")])
def test_a_gateway_nic_is_drawn_as_what_is_wrong_with_it(state: str, kind: str) -> None:
    assert picture.kind_of(state, "pool" if kind == "o" else "gateway") == kind


# -- what is wrong -----------------------------------------------------------------------------------------------------

UNREACHABLE: t.Final = {"unreachable": True, "msg": "Connection timed out"}
STOPPED: t.Final = {"unasked": {"agent": "no agent answers"}, "via": "journal"}


def finding(severity: str = "warning", what: str = "rp_filter is 1") -> Raw:
    return {"findings": [{"check": "rp", "severity": severity, "what": what, "remedy": "set it to 2"}]}


def broken(number: int = 1) -> Raw:
    return {"nics": [fleets.nic(number, 0, 5, state="BROKEN"), fleets.nic(number, 1, 5)]}


# Answers of node1 beside a sound node ► what is said of it first, how bad it is.
WRONG: t.Final[t.Mapping[str, tuple[Raw, str, str]]] = {
    "unreachable": (UNREACHABLE, "Unreachable: nothing is known of the node", "error"),
    "not asked": ({"failed": True, "msg": "no python"}, "Reached, but it could not be asked", "error"),
    "no answers": ({"answers": "[[]"}, "Reached, but it could not be asked", "error"),
    "agent silent": (told(fleets.node(1, **STOPPED)), "The agent does not answer", "error"),
    "the doctor's": (told(fleets.node(1, doctor=finding())), "rp_filter is 1", "warning"),
    "the doctor's worst": (told(fleets.node(1, doctor=finding("error"))), "rp_filter is 1", "error"),
    "the agent's": (
        told(
            fleets.node(1, status={"problems": [{"severity": "error", "what": "wrong key", "remedy": "take another"}]})
        ),
        "wrong key",
        "error",
    ),
    "broken": (told(fleets.node(1, **broken())), "NICs are broken", "warning"),
    "drained": (told(fleets.node(1, plan={"cap": 9, "draining": True}, status=None)), "Drained", "warning"),
    "another package runs": (
        told(fleets.node(1, version={"digest": "bbbb"})),
        "The agent runs another package than the one that is installed",
        "warning",
    ),
    "an odd package": (
        told(fleets.node(1, version={"digest": "bbbb"}, installed={"digest": "bbbb"})),
        "A package runs that most other nodes do not have",
        "warning",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_first_and_at_the_node(case: str) -> None:
    answer, sentence, severity = WRONG[case]
    fleet = read({"node1": answer, "node2": told(fleets.node(2)), "node3": told(fleets.node(3))})
    told_page = page.page(fleet, AT)
    [first] = [one for one in told_page.problems if one.what.startswith(sentence)]
    assert (first.severity, [link.name for link in first.links]) == (severity, ["node1"])
    assert first.remedy
    view = told_page.nodes[0]
    assert any(one.what.startswith(sentence) for one in view.findings)
    assert view.link.mark == severity and told_page.nodes[1].link.mark == ""
    text = words(shown(fleet))
    assert text.index(sentence) < text.rindex("In figures") and text.count(sentence) == 2
    assert "1 of 3 nodes" in told_page.verdict


def test_a_sound_fleet_is_called_so() -> None:
    fleet = read({f"node{number}": told(fleets.node(number)) for number in (1, 2)})
    assert problems.find(fleet) == () and page.page(fleet, AT).verdict == "Nothing is wrong as far as was asked."


def test_errors_come_before_warnings_and_the_most_nodes_first() -> None:
    nodes = {f"node{number}": told(fleets.node(number, doctor=finding())) for number in range(1, 5)}
    nodes["node5"] = told(fleets.node(5, **broken(5)))
    nodes["node6"] = UNREACHABLE
    found = problems.find(read(nodes))
    assert [(one.severity, len(one.nodes)) for one in found] == [("error", 1), ("warning", 4), ("warning", 1)]


def test_what_the_agent_says_of_each_broken_nic_is_told_at_the_node_and_counted_above() -> None:
    raw = fleets.node(1, **broken(), plan={"cap": 9, "draining": True})
    rows = [f"NIC {nic['nic_id']} is broken: no link" for nic in raw["nics"] if nic["state"] == "BROKEN"]
    rows.append("this node is drained")
    raw["status"] = {"problems": [{"severity": "warning", "what": row, "remedy": "wait"} for row in rows]}
    fleet = read({"node1": told(raw), "node2": told(fleets.node(2))})
    assert [one.what for one in problems.find(fleet)] == [
        "NICs are broken: their links are nowhere", "this node is drained",
    ]  # fmt: skip
    assert {one.what for one in page.page(fleet, AT).nodes[0].findings} > set(rows)


def test_what_is_said_of_all_alike_is_said_once() -> None:
    nodes = {f"node{number}": UNREACHABLE for number in range(1, 4)}
    [one] = page.page(read(nodes), AT).problems
    assert (one.more, one.where) == ("Connection timed out", "on all 3 nodes")
    assert {link.more for link in one.links} == {""}


def test_the_clouds_own_problems() -> None:
    raw = fleets.fleet(2, 10, wrong=False)
    free = {"vxnet-pods0": 0, "vxnet-pods1": 9, "vxnet-mine": 3, "vxnet-other": 0}
    rows = [
        {"vxnet_id": name, "network": "172.16.1.0/24", "available": count, "reason": "" if count else "it is full"}
        for name, count in free.items()
    ]
    vxnets = {"vxnets": rows}
    fleet = answers.fleet(raw["nodes"], vxnets, fleets.sweep(2), ["vxnet-mine"])
    said = [(one.severity, one.what) for one in problems.find(fleet)]
    assert said == [
        ("error", "No NIC can be made in vxnet-pods0"),
        ("warning", "NICs of dead instances take addresses: 2"),
        ("warning", "Only 3 addresses are free in vxnet-mine"),
        ("warning", "Only 9 addresses are free in vxnet-pods1"),
    ]
    text = words(shown(fleet))
    assert "52:54:aa:00:00:01 vxnet-pods0 i-0000dead is ceased not yet" in text
    assert "vxnet-other" not in text


def test_what_nobody_has_answered_is_said_to_be_unknown() -> None:
    silent = told(fleets.node(1, doctor=None, unasked={"doctor": "the package there has none yet: run upgrade.yml"}))
    checks = {"findings": [], "unchecked": [{"check": check, "why": "no key"} for check in ("clock", "api")]}
    fleet = answers.fleet(
        {"node1": silent, "node2": told(fleets.node(2, doctor=checks))},
        {"failed": True, "msg": "zone is not set"},
        {},
    )
    text = words(shown(fleet))
    assert "Not asked: doctor on 1 node the package there has none yet: run upgrade.yml node1" in text
    assert "Not checked by the doctor: api, clock on 1 node no key node2" in text
    assert "How many addresses are free in vxnets zone is not set" in text
    assert "Whether NICs of dead instances are left is unknown: it was not asked" in text
    assert "free ones unknown" in text and "? free addresses the cloud was not asked" in text.replace(
        "free addresses ?", "? free addresses"
    )


# -- figures and parts -------------------------------------------------------------------------------------------------


def test_figures_are_the_sum_of_the_answers() -> None:
    raw = fleets.fleet(3, 30)
    fleet = answers.fleet(raw["nodes"], raw["vxnets"], raw["sweep"])
    figures = {name: (number, more) for number, name, more in page.page(fleet, AT).figures}
    assert figures == {
        "nodes": ("3", "2 without an answer"),
        "pods": ("38", "1 node not counted"),
        "NICs": ("60", "9 ready for a pod"),
        "free places": ("3", "for NICs on nodes"),
        "free addresses": ("138", "in 2 vxnets"),
    }
    assert sum(len(node.nics) for node in fleet.nodes) == 60


def test_a_vxnet_is_shared_by_these_nodes_others_and_nobody() -> None:
    raw = fleets.fleet(1, 10, wrong=False)
    fleet = answers.fleet(raw["nodes"], raw["vxnets"], raw["sweep"])
    view = page.page(fleet, AT).vxnets[0]
    assert [(part.key, part.said) for part in view.parts] == [
        ("ours", "5 of these nodes"), ("others", "118 of others"), ("free", "131 free"),
    ]  # fmt: skip
    assert sum(float(part.share) for part in view.parts) == pytest.approx(100, abs=0.05)
    assert [(link.name, link.more) for link in view.nodes] == [("node1", "5")]


def test_versions_are_told_with_those_that_differ_marked() -> None:
    nodes = {f"node{number}": told(fleets.node(number)) for number in (1, 2)}
    nodes["node3"] = told(fleets.node(3, version={"digest": "aaaa", "version": "0.0.9"}, installed={"digest": "aaaa"}))
    nodes["node4"] = told(fleets.node(4, **STOPPED, version=None))
    nodes["node5"] = UNREACHABLE
    versions = page.page(read(nodes), AT).versions
    assert [(one.digest, one.usual, [link.name for link in one.nodes]) for one in versions] == [
        (fleets.DIGEST, True, ["node1", "node2", "node4"]),
        ("aaaa", False, ["node3"]),
        ("", False, ["node5"]),
    ]
    assert versions[0].nodes[2].more == "installed, does not run"


def test_pods_are_told_by_name_and_what_else_they_are_by_attachment() -> None:
    row = fleets.nic(1, 0, 5)
    bare = {**fleets.lease(1, 0, row), "args": {}, "container_id": "0123456789abcdef"}
    for lease, name in (
        (fleets.lease(1, 0, row), "shop/frontend-7d9f8b6c5d-00000"),
        (bare, "qingcloud/0123456789ab/eth0"),
    ):
        node = answers.node("node1", told(fleets.node(1, nics=[row], leases=[lease])))
        assert node.nics[0].pod == name
        assert f"<td>{name}\n" in shown(read({"node1": told(fleets.node(1, nics=[row], leases=[lease]))}))


def test_nodes_stand_in_the_order_of_their_numbers() -> None:
    nodes = {name: told(fleets.node(1)) for name in ("node10", "node9", "b1", "node1")}
    assert [node.name for node in read(nodes).nodes] == ["b1", "node1", "node9", "node10"]


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, ""), (0, "0 s"), (59.9, "59 s"), (60, "1 m"), (7300, "2 h"), (9e5, "10 d")]
)
def test_ages_are_said_as_people_do(seconds: t.Optional[float], said: str) -> None:
    assert render.age(seconds) == said


# -- whether anything has changed --------------------------------------------------------------------------------------


def test_time_that_passes_is_no_change_and_anything_else_is() -> None:
    now = fleets.node(1)
    later = {**now, "now": fleets.NOW + 3600}
    base = read({"node1": told(now)})
    assert page.fingerprint(read({"node1": told(later)})) == page.fingerprint(base)
    assert shown(read({"node1": told(later)})) != shown(base)
    for change in ({"leases": []}, {"plan": {"cap": 1}}, {"doctor": finding()}, {"via": "journal"}):
        assert page.fingerprint(read({"node1": told({**now, **change})})) != page.fingerprint(base), change
    assert page.fingerprint(replace(base, strays="unknown")) != page.fingerprint(base)


def test_a_page_tells_which_answers_it_shows() -> None:
    fleet = large(3)
    assert render.digest(shown(fleet)) == page.fingerprint(fleet)
    assert render.digest("<html>") == ""


# -- answers that nobody should give -----------------------------------------------------------------------------------

EVIL: t.Final = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}{% raw %}"


def planted(value: t.Any, evil: t.Any) -> t.Any:
    """The same with every text in it exchanged, but for what decides what is shown."""
    if isinstance(value, dict):
        kept = ("state", "purpose", "via", "severity", "nic_id")
        return {key: one if key in kept else planted(one, evil) for key, one in value.items()}
    if isinstance(value, list):
        return [planted(one, evil) for one in value]
    return evil if isinstance(value, str) else value


def test_every_text_is_shown_as_text() -> None:
    raw = fleets.node(1, 12, doctor=finding(), unasked={"doctor": "x"}, plan={"cap": 3})
    raw["status"] = {"problems": [{"severity": "error", "what": "x", "remedy": "x"}]}
    nodes = {EVIL: told(planted(raw, EVIL)), "b": {"unreachable": True, "msg": EVIL}, "c": {"msg": EVIL}}
    document = shown(answers.fleet(nodes, planted(fleets.vxnets(1), EVIL), planted(fleets.sweep(1), EVIL), [EVIL]))
    assert "&lt;script&gt;alert(1)" in document and "{{ 7*7 }}" in document
    tags = set(re.findall(r"<\s*(\w+)", document))
    assert not tags & {"script", "img", "iframe", "link", "object"}
    assert not re.search(r"<[^>]*\son\w+\s*=", document)
    assert "49{%" not in document


@pytest.mark.parametrize(
    "odd", [None, 7, "text", [], [1, [2]], {"a": 1}, True, "\ud800\x1b[31m\u202e", -1e300, 10**400]
)
def test_answers_of_no_shape_are_shown_as_far_as_they_go(odd: t.Any) -> None:
    sound = fleets.node(1, 4)
    for key in [*sound, "doctor.findings", "nics.0", "leases.0", "plan.cap"]:
        raw = json.loads(json.dumps(sound))
        name, __, inner = key.partition(".")
        if inner:
            raw[name][int(inner) if inner.isdigit() else inner] = odd
        else:
            raw[name] = odd
        document = shown(answers.fleet({"node1": told(raw)}, odd, odd))
        document.encode()
        assert "</html>" in document, key
    assert "</html>" in shown(
        answers.fleet({"node1": odd, "node2": {"answers": odd}}, {"vxnets": odd}, {"strays": odd})
    )


def test_what_no_line_can_hold_is_shown_as_being_there() -> None:
    assert answers.text("a\x1b[31m\n b\u202ec\ud800") == "a\ufffd[31m b\ufffdc\ufffd"
    assert answers.text("x" * 1000, 5) == "xxxx…"


def test_secrets_are_in_no_page() -> None:
    """Neither what nobody asked for nor what a sentence lets slip."""
    extra = {"secret_access_key": SECRET, "config": {"token": SECRET}}
    raw = fleets.node(1, **extra, doctor=finding(what=f"GET /iaas/?signature={SECRET} is refused"))
    raw["nics"][0].update(extra)
    raw["leases"][0]["args"]["TOKEN"] = SECRET
    failed = {"failed": True, "msg": f"secret_access_key: {SECRET}", "invocation": {"module_args": extra}}
    document = shown(answers.fleet({"node1": told(raw), "node2": failed}, {**failed}, {**failed}))
    assert SECRET not in document and "is refused" in document


# -- size --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 300])
def test_the_page_of_a_fleet_is_small_and_soon_there(size: int) -> None:
    """From answers to the document. What is bounded is processor time, which other tests at work do not add to; the
    bound is the promise, and a page takes a quarter of it.
    """
    raw = answered(size)
    began = time.process_time()
    document = shown(answers.fleet(raw["nodes"], raw["vxnets"], raw["sweep"]))
    took = time.process_time() - began
    assert len(document.encode()) < 2_000_000
    assert document.count('<article class="node"') == size
    assert took < 2.0


def test_the_largest_answers_make_no_large_page() -> None:
    """Of each node much, in characters that take the most bytes, and nothing alike."""
    long, nodes = "\N{SNOWMAN}<" * 400, {}
    for number in range(300):
        rows = [{"severity": "error", "what": f"{number} {row} {long}", "remedy": long} for row in range(6)]
        nics = [fleets.nic(number, index, 60, state="BROKEN", note=long) for index in range(4)]
        unasked = {"agent": f"{number} {long}", **{str(one): f"{number} {long}" for one in range(6)}}
        raw = fleets.node(number, 1, nics=nics, leases=[], status={"problems": rows}, unasked=unasked)
        nodes[f"{number}{long}"] = told(raw)
    assert all(answers.node("", raw).nics for raw in nodes.values())
    view, document = render.document(answers.fleet(nodes, {"msg": long}, fleets.sweep(3000)), AT)
    assert view.brief and len(document.encode()) < 2_000_000
    assert "the report says all" in words(document) and document.count('<article class="node"') == 300


def test_tables_of_nics_are_left_out_where_nobody_would_read_them() -> None:
    few, many = large(3), large(300)
    assert page.page(few, AT).tables and not page.page(many, AT).tables
    view = page.page(many, AT).nodes[0]
    assert {nic.kind for nic in view.nics} <= set("bho") and len(view.nics) + view.left_out == 60
    assert "with fewer nodes (<code>--limit</code>)" in shown(many)
    assert "with fewer nodes" not in shown(few)


# -- what the page needs -----------------------------------------------------------------------------------------------


def test_the_page_refers_to_nothing_but_itself() -> None:
    document = shown(large(3))
    for name, value in re.findall(r'\b(href|src|url\()="?([^")]+)', document):
        assert value.startswith("#"), f"{name} {value}"
    assert not re.search(r"@import|@font-face|https?:", document)
    anchors = set(re.findall(r'href="#(\w+)"', document))
    assert anchors <= set(re.findall(r'id="(\w+)"', document))
    assert len(re.findall(r'id="(\w+)"', document)) == len(set(re.findall(r'id="(\w+)"', document)))


def test_templates_decide_nothing() -> None:
    """Words are worked out in Python, where they are tested; no expression switches escaping off."""
    text = (render.TEMPLATE / "page.html.j2").read_text(encoding="utf-8")
    assert "| safe" not in text and "autoescape" not in text and "set " not in text
    assert Path(render.TEMPLATE, "page.css").stat().st_size < 12_000
