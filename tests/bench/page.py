# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/performance.md's tables and plots, and README's sentence, of results.json: `python -m tests.bench.page`.

The words around them are written by hand, and so name no number that a run would change.
"""

from __future__ import annotations

import re
import typing as t

from tests.bench import results
from tests.bench.figures import PARTS, WANTED
from tests.bench.plots import PLOTS
from tests.bench.results import CLONE, Row, number
from tests.bench.svg import FOOT, TOP, Sheet

PAGE: t.Final = CLONE / "docs/performance.md"
README: t.Final = CLONE / "README.md"
PICTURES: t.Final = CLONE / "docs/images"
Kept = t.Mapping[str, t.Any]  # of a part's raw file
_MARK: t.Final = re.compile(
    r"(<!-- (figures|conditions|in short):?([ \w-]*), drawn by tests/bench/page\.py -->\n\n).*?(?=\n\n|\n\Z)", re.S
)


def drawn(text: str, rows: t.Sequence[Row], raw: t.Mapping[str, Kept]) -> str:
    """The page with its tables as they are to be; KeyError for a figure that nobody wants.

    `raw`: by parts, in the order of the page.
    """
    named = results.named(rows)

    def table(found: re.Match[str]) -> str:
        if found[2] == "conditions":
            return found[1] + "\n".join(_conditions(filter(None, (kept.get("conditions") for kept in raw.values()))))
        if found[2] == "in short":
            return found[1] + in_short(named)
        return found[1] + "\n".join(_figures({name: named.get(name) for name in found[3].split()}))

    return _MARK.sub(table, text)


def figures_of(text: str) -> list[str]:
    """The names of those that the page has a row for."""
    return [name for found in _MARK.finditer(text) if found[2] == "figures" for name in found[3].split()]


def pictures(rows: t.Sequence[Row], raw: t.Mapping[str, Kept]) -> dict[str, str]:
    """File name ► content."""
    named = results.named(rows)
    samples = {part: {**kept.get("notes", {}), **kept.get("samples", {})} for part, kept in raw.items()}
    return {f"performance-{name}.svg": plot(named, samples) or _blank(name) for name, plot in PLOTS.items()}


def in_short(named: t.Mapping[str, Row]) -> str:
    """README's paragraph. Figures that are not there are left out."""
    told = [words.format(number(named[name]["ratio"])) for name, words in _SHORT.items() if name in named]
    if not told:
        return "Nothing is measured yet: [performance](docs/performance.md)."
    more = "[Performance](docs/performance.md) has all figures, what they were found under, and what they cannot show."
    return f"Measured beside what people use today, in one run on one machine: {'; '.join(told)}. {more}"


_SHORT: t.Final = {
    "add-p50": "an ADD takes {} times what `host-device` + `host-local` take (p50)",
    "add-p95": "{} times at p95",
    "burst-last": "the last of 50 pods at once is there after {} times their time",
    "cold-60": "60 NICs from empty come {} times as fast as one at a time",
    "throughput": "from pod to pod there is {} times the throughput of node to node",
    "throughput-vxlan": "{} times that of VXLAN",
}


def draw() -> None:
    rows, raw = results.read(), {part: results.kept(part) for part in PARTS}
    for path in (PAGE, README):
        path.write_text(drawn(path.read_text(encoding="utf-8"), rows, raw), encoding="utf-8")
    for name, picture in pictures(rows, raw).items():
        (PICTURES / name).write_text(picture, encoding="utf-8")


def _figures(found: t.Mapping[str, t.Optional[Row]]) -> t.Iterator[str]:
    yield "| figure | ratio | bar | | ours: p50 · p95 · p99 | theirs: p50 · p95 · p99 | n |"
    yield "|---|---|---|---|---|---|---|"
    for name, row in found.items():
        if row is None:
            yield f"| {WANTED[name].words} | not measured | | | | | |"
            continue
        bar = results.bar(row).replace(">=", "at least").replace("<=", "at most")
        holds = "" if not bar else "holds" if row["holds"] else "**missed**"
        sides = " | ".join(results.spread(row[side], " · ") for side in ("ours", "theirs"))
        yield f"| {row['figure']} | {number(row['ratio'])} | {bar} | {holds} | {sides} | {row['n']} |"


def _conditions(parts: t.Iterable[t.Mapping[str, t.Any]]) -> t.Iterator[str]:
    found = list(parts)
    yield "| part | measured | took | stolen | load before and after | NICs | samples |"
    yield "|---|---|---|---|---|---|---|"
    for told in found:
        when = told["measured"] + (", quick" if told["quick"] else "")
        load = " and ".join(f"{load:g}" for load in told["load"])
        raw = f"[raw/{told['part']}.json](../tests/bench/raw/{told['part']}.json)"
        cells = (told["part"], when, f"{told['seconds']:.0f} s", f"{told['steal']} ticks", load, told["nics"], raw)
        yield f"| {' | '.join(cells)} |"
    for line in results.versions(found).splitlines():
        yield f"| with | {line} | | | | | |"


def _blank(name: str) -> str:
    sheet = Sheet(f"{name}: not measured yet", "Nothing is measured yet", TOP + FOOT)
    sheet.text(24, 64, "`make bench` draws this picture", "small")
    return sheet.done()


if __name__ == "__main__":
    draw()
