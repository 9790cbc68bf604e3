# SPDX-License-Identifier: GPL-3.0-or-later
"""results.json and the samples beside it; the table that a run ends with."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from tests.bench.figures import WANTED, Measured
from tests.lab.table import table

HERE: t.Final = Path(__file__).resolve().parent
CLONE: t.Final = HERE.parents[1]

Row = dict[str, t.Any]  # of results.json
_ORDER: t.Final = {wanted.words: number for number, wanted in enumerate(WANTED.values())}
_VARYING: t.Final = ("part", "seconds", "steal", "load", "nics", "measured", "quick")  # from part to part


def read(directory: Path = HERE) -> list[Row]:
    """Nothing where nothing was measured yet; figures that are not wanted any more are left out."""
    path = directory / "results.json"
    found: list[Row] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [row for row in found if row["figure"] in _ORDER]


def named(rows: t.Iterable[Row]) -> dict[str, Row]:
    """By the names of `WANTED`."""
    names = {wanted.words: name for name, wanted in WANTED.items()}
    return {names[row["figure"]]: row for row in rows}


def kept(part: str, directory: Path = HERE) -> dict[str, t.Any]:
    """A part's raw file: `conditions`, `notes` and `samples`; empty for one that never ran."""
    path = directory / "raw" / f"{part}.json"
    found: dict[str, t.Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def keep(part: str, measured: Measured, conditions: t.Mapping[str, t.Any], directory: Path = HERE) -> list[Row]:
    """Write the samples; returns the rows for `write`."""
    raw = directory / "raw" / f"{part}.json"
    raw.parent.mkdir(exist_ok=True)
    content = {"conditions": conditions, "notes": measured.notes, "samples": measured.raw}
    raw.write_text(_packed(content), encoding="utf-8")
    beside = {"raw": f"raw/{raw.name}", "conditions": dict(conditions)}
    return [{**figure.shown(), **beside} for figure in measured.figures]


def write(rows: t.Iterable[Row], directory: Path = HERE) -> list[Row]:
    """In the order of `WANTED`, which they are returned in."""
    ordered = sorted(rows, key=lambda row: _ORDER[row["figure"]])
    text = json.dumps(ordered, indent=1, ensure_ascii=False)
    (directory / "results.json").write_text(text + "\n", encoding="utf-8")
    return ordered


def missing(rows: t.Iterable[Row]) -> list[str]:
    """Names of wanted figures that are not there."""
    there = {row["figure"] for row in rows}
    return [name for name, wanted in WANTED.items() if wanted.words not in there]


def shown(rows: t.Sequence[Row]) -> str:
    """For a terminal: each figure with what it was found under, and below the table what all of them share."""
    head = ("figure", "ratio", "bar", "", "n", "ours p50 p95 p99", "theirs p50 p95 p99", "NICs", "steal", "load", "raw")
    cells = [
        (
            row["figure"], f"{row['ratio']:.3f}", bar(row), "" if row["holds"] else "MISSED", str(row["n"]),
            spread(row["ours"]), spread(row["theirs"]), row["conditions"]["nics"],
            str(row["conditions"]["steal"]), "-".join(map(str, row["conditions"]["load"])), row["raw"],
        )
        for row in rows
    ]  # fmt: skip
    return table(head, cells) + "\n\n" + versions(row["conditions"] for row in rows)


def bar(row: Row) -> str:
    """With the direction that it has; empty for a figure that is only told."""
    wanted = WANTED[next(iter(named([row])))]
    if wanted.bar is None:
        return ""
    return f"{'>=' if wanted.floor else '<='} {wanted.bar:.2f}"


def versions(conditions: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    """A line for each set of versions: parts without a lab know none of its nodes'."""
    lines = dict.fromkeys(
        ", ".join(f"{name} {what}" for name, what in told.items() if name not in _VARYING) for told in conditions
    )
    return "\n".join(lines)


def spread(side: t.Mapping[str, t.Any], between: str = " ") -> str:
    return between.join(number(side[name]) for name in ("p50", "p95", "p99")) + f" {side['unit']}"


def number(value: float) -> str:
    """With four digits that count."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _packed(content: t.Mapping[str, t.Any]) -> str:
    """JSON with a line for each thing at the top of the samples, since there are thousands of numbers below."""
    parts = [f'"{name}": {json.dumps(content[name], ensure_ascii=False)}' for name in ("conditions", "notes")]
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in content["samples"].items()]
    parts.append('"samples": {\n' + ",\n".join(lines) + "\n }")
    return "{\n " + ",\n ".join(parts) + "\n}\n"
