# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's arithmetic: percentiles, bars, and a run that tells what it did not find."""

from __future__ import annotations

import json
import random
import re
import socket
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench import conditions, page, pingpong, results, svg
from tests.bench.__main__ import Part, bench
from tests.bench.figures import PARTS, WANTED, Figure, Measured, Setting, Spread, compared

KEYS = ["figure", "ratio", "bar", "holds", "n", "ours", "theirs"]  # of each in results.json, with what is beside it
SPREAD = Spread(1.0, 2.0, 3.0, "ms")
SIDE = asdict(SPREAD)


def figure(name: str, ratio: float) -> Figure:
    return Figure(name, ratio, 3, SPREAD, SPREAD)


# -- percentiles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "spread"),
    [
        (range(1, 101), (50.5, 95, 99)),
        (range(100, 0, -1), (50.5, 95, 99)),
        (range(1, 301), (150.5, 285, 297)),
        ([7], (7, 7, 7)),
        ([1, 1, 1, 9], (1, 9, 9)),
    ],
)
def test_percentiles_are_samples_that_were_seen(values: t.Sequence[float], spread: tuple[float, ...]) -> None:
    assert Spread.of(values, "ms") == Spread(*spread, "ms")


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no samples"):
        Spread.of([], "ms")


def test_a_ratio_is_of_the_percentile_that_is_asked_for() -> None:
    ours, theirs = [1, 1, 1, 12], [2, 2, 2, 4, 4]
    assert compared("add-p50", ours, theirs, "ms").ratio == 0.5
    assert compared("add-p95", ours, theirs, "ms", "p95").ratio == 3
    assert compared("add-p50", ours, theirs, "ms").n == 4


def test_what_is_kept_has_no_more_digits_than_count() -> None:
    shown = compared("add-p50", [0.1, 0.2], [0.3, 0.4], "ms").shown()
    assert (shown["ratio"], shown["ours"]["p50"]) == (0.42857, 0.15)


# -- bars --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ratio", "holds"),
    [
        ("process", 1.10, True),
        ("process", 1.1001, False),
        ("process", 0.2, True),
        ("throughput", 0.98, True),
        ("throughput", 0.9799, False),
        ("throughput", 1.7, True),
        ("cold-60", 29.9, False),
        ("cold-60", 60.0, True),
        ("add-bridge", 70.0, True),
    ],
)
def test_a_bar_is_a_floor_where_more_is_better(name: str, ratio: float, holds: bool) -> None:
    assert figure(name, ratio).holds is holds


def test_every_bar_is_the_one_that_was_promised() -> None:
    promised = {
        "process": 1.10, "add-p50": 1.00, "add-p95": 1.00, "back-to-back": 1.25, "add-floor": 1.20, "del-p50": 1.15,
        "burst-last": 1.00, "burst-median": 0.70, "cold-60": 30, "throughput": 0.98, "latency": 1.03,
        "fleet-warm": 1.25, "fleet-rejected": 0.02, "fleet-steady": 1, "add-60": 1.05,
    }  # fmt: skip
    assert {name: WANTED[name].bar for name in promised} == promised
    assert {name for name, wanted in WANTED.items() if wanted.floor} == {"cold-60", "throughput"}
    assert len({wanted.words for wanted in WANTED.values()}) == len(WANTED)


# -- a run -------------------------------------------------------------------------------------------------------------


def setting(told: t.Optional[list[str]] = None) -> Setting:
    return Setting(quick=True, tell=([] if told is None else told).append, dice=random.Random(1))


def part(**ratios: float) -> Part:
    """That finds these; `_` in a name stands for `-`."""
    found = tuple(figure(name.replace("_", "-"), ratio) for name, ratio in ratios.items())
    return lambda __: Measured(found, {"ours": [1.5, 2.5]}, "5 on each node", {"why": "because"})


def failing(__: Setting) -> Measured:
    raise RuntimeError("out of order")


@pytest.fixture
def whole() -> Part:
    """Every wanted figure, each on its bar."""
    ratios = {name.replace("-", "_"): wanted.bar or 1.0 for name, wanted in WANTED.items()}
    return part(**ratios)


def test_a_run_that_finds_everything_holds(tmp_path: Path, whole: Part, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    assert bench({"latency": whole}, setting(told), full=True, directory=tmp_path) == 0
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [row["figure"] for row in rows] == [wanted.words for wanted in WANTED.values()]
    assert all([*row] == [*KEYS, "raw", "conditions"] for row in rows)
    assert rows[0]["ours"] == {"p50": 1.0, "p95": 2.0, "p99": 3.0, "unit": "ms"}
    assert {"steal", "load", "nics", "kernel", "python", "ansible-core"} <= rows[0]["conditions"].keys()
    kept = json.loads((tmp_path / rows[0]["raw"]).read_text())
    assert kept == {
        "conditions": rows[0]["conditions"], "notes": {"why": "because"}, "samples": {"ours": [1.5, 2.5]}
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "5 on each node" in printed and "raw/latency.json" in printed and f"kernel {rows[0]['conditions']['kernel']}"
    assert [line.split()[0] for line in told] == ["latency", "latency:"]


def test_a_missed_bar_is_told_with_its_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench({"burst": part(process=1.2, add_bridge=9.0)}, setting(), full=False, directory=tmp_path) == 1
    assert "missed: qingcni process over a bare python3 -I -S: 1.2, <= 1.10\n" in capsys.readouterr().out


def test_a_whole_run_has_to_find_every_wanted_figure(
    tmp_path: Path, whole: Part, capsys: pytest.CaptureFixture[str]
) -> None:
    bench({"latency": whole}, setting(), full=True, directory=tmp_path)
    capsys.readouterr()
    assert bench({"burst": part(process=1.0)}, setting(), full=True, directory=tmp_path) == 1
    printed = capsys.readouterr().out
    assert "not measured: add-p50\n" in printed and "not measured: process" not in printed
    assert [*results.named(results.read(tmp_path))] == ["process"]


def test_a_part_that_fails_leaves_the_others_their_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = {"fleet": failing, "burst": part(process=1.0)}
    assert bench(parts, setting(), full=False, directory=tmp_path) == 1
    printed = capsys.readouterr()
    assert "failed: fleet\n" in printed.out and "out of order" in printed.err
    assert [*results.named(results.read(tmp_path))] == ["process"]


def test_some_parts_replace_their_own_figures_only(tmp_path: Path) -> None:
    bench({"fleet": part(fleet_calls=2.0), "burst": part(process=1.0)}, setting(), full=False, directory=tmp_path)
    assert bench({"burst": part(burst_last=0.5)}, setting(), full=False, directory=tmp_path) == 0
    assert {name: row["ratio"] for name, row in results.named(results.read(tmp_path)).items()} == {
        "burst-last": 0.5,
        "fleet-calls": 2.0,
    }


def test_every_part_is_a_module_or_told() -> None:
    assert len(set(PARTS)) == len(PARTS) == 9


def test_steal_is_the_eighth_number_of_a_processor(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 88 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    before = conditions.now(stat)
    stat.write_text("cpu  1 2 3 4 5 6 7 99 9 10\n")
    spent = conditions.between(before, conditions.now(stat))
    assert spent["steal"] == 11 and spent["seconds"] < 60 and len(spent["load"]) == 2


def test_a_ping_pong_has_so_many_round_trips() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:
        served = pool.submit(pingpong.serve, listener)
        times = pingpong.ask("127.0.0.1", listener.getsockname()[1], 40)
        served.result(10)
    assert len(times) == 40 and all(0 < taken < 10e9 for taken in times)


# -- the page ----------------------------------------------------------------------------------------------------------

RAW: dict[str, dict[str, t.Any]] = {part: results.kept(part) for part in PARTS}


def test_the_page_says_what_was_measured() -> None:
    for path in (page.PAGE, page.README):
        text = path.read_text(encoding="utf-8")
        assert page.drawn(text, results.read(), RAW) == text, f"python -m tests.bench.page: {path.name}"


def test_every_wanted_figure_has_its_row_on_the_page() -> None:
    assert sorted(page.figures_of(page.PAGE.read_text(encoding="utf-8"))) == sorted(WANTED)


def test_every_picture_is_current_and_shown() -> None:
    drawn = page.pictures(results.read(), RAW)
    lie = {path.name: path.read_text(encoding="utf-8") for path in page.PICTURES.glob("performance-*.svg")}
    assert lie == drawn, "python -m tests.bench.page"
    shown = re.findall(r"\(images/(performance-.*?)\)", page.PAGE.read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(drawn)


@pytest.fixture
def rows(tmp_path: Path, whole: Part) -> list[results.Row]:
    bench({"latency": whole}, setting(), full=True, directory=tmp_path)
    return results.read(tmp_path)


def test_another_ratio_is_another_page(rows: list[results.Row]) -> None:
    text = "<!-- figures: process fleet-calls, drawn by tests/bench/page.py -->\n\n| stale |\n\nMore.\n"
    drawn = page.drawn(text, rows, {})
    assert "| qingcni process over a bare python3 -I -S | 1.1 | at most 1.10 | holds | 1 · 2 · 3 ms |" in drawn
    assert drawn.endswith("|\n\nMore.\n") and "stale" not in drawn
    rows[0].update(ratio=1.2, holds=False)
    assert "| 1.2 | at most 1.10 | **missed** |" in page.drawn(drawn, rows, {})
    assert page.drawn(text, [], {}).count("| not measured |") == 2


def test_what_was_measured_quickly_is_called_so(tmp_path: Path, rows: list[results.Row]) -> None:
    text = "<!-- conditions: parts, drawn by tests/bench/page.py -->\n\n| stale |\n"
    drawn = page.drawn(text, rows, {"latency": results.kept("latency", tmp_path), "burst": {}})
    [line] = [line for line in drawn.splitlines() if line.startswith("| latency")]
    assert ", quick |" in line and "| 5 on each node |" in line
    assert f"kernel {rows[0]['conditions']['kernel']}" in drawn


def test_pictures_are_well_formed_and_within_their_card(rows: list[results.Row]) -> None:
    raw = {
        "phases": {
            "samples": {
                "means": {"exec": 8.0, "move": 19.0},
                "spreads": {"exec": SIDE, "move": SIDE},
                "stacks": {"rtnl_newlink do_setlink rcu_barrier": 9, "rtnl_newlink do_setlink": 1, "rtnl_dumpit": 2},
            }
        },
        "fleet": {
            "notes": {"calls_a_second": 50.0},
            "samples": {"warm_after": [1, 2], "up_after": [1, 1], "warming_calls_and_rejected": [[9, 0], [9, 4]]},
        },
        "reconcile": {"samples": {"rounds": [{"nics": 1, "nodes": 1, "milliseconds": [3.0, 4.0]}]}},
        "burst": {"samples": {"pods": {"qingcni add": [[1.0, 2.0]], "host-device add": [[3.0, 4.0]]}}},
    }
    for name, picture in page.pictures(rows, {part: raw.get(part, {}) for part in PARTS}).items():
        assert "not measured" not in picture, name
        tree = ElementTree.fromstring(picture)
        width, height = float(tree.attrib["width"]), float(tree.attrib["height"])
        for mark in tree.iter():
            for key in mark.attrib.keys() & {"x", "x1", "x2", "cx"}:
                assert 0 <= float(mark.attrib[key]) <= width, (name, mark.attrib)
            for key in mark.attrib.keys() & {"y", "y1", "y2", "cy"}:
                assert 0 <= float(mark.attrib[key]) <= height, (name, mark.attrib)


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0, 40, False, [0, 10, 20, 30, 40]),
        (0, 1.3, False, [0, 0.5, 1]),
        (0.4, 2.2, True, [0.5, 1, 2]),
        (15, 2400, True, [20, 50, 100, 200, 500, 1000, 2000]),
        (0.5, 2400, True, [1, 10, 100, 1000]),
        (0, 7000, False, [0, 2000, 4000, 6000]),
    ],
)
def test_axes_have_round_numbers(low: float, high: float, log: bool, ticks: list[float]) -> None:
    axis = svg.Axis(low, high, 100, 200, log)
    assert axis.ticks() == ticks
    assert [axis.at(low), axis.at(high)] == [100, 200]
