# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.bench [--quick] [--only PART ...]``: ratios in one run, beside what people use today.

Each part is a module with `measure`. A lab that runs is borrowed, once site.yml has brought it to what this clone is;
where there is none, the first part that asks has one made, which is gone in the end. Writes results.json and raw/, and
draws the tables and pictures of docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import random
import sys
import time
import traceback
import typing as t
from pathlib import Path

from tests.bench import conditions, contenders, page, results
from tests.bench.figures import PARTS, Measured, Setting
from tests.e2e.cluster import Cluster, lab
from tests.lab import site
from tests.lab.lab import Lab
from tests.lab.paths import LAB_JSON

Part = t.Callable[[Setting], Measured]


class Borrowed:
    """The lab that runs, or one of our own until `close`."""

    def __init__(self, tell: t.Callable[[str], object]) -> None:
        self._tell = tell
        self._ready = False
        self._made = False

    def __call__(self) -> Lab:
        if not self._ready:
            if LAB_JSON.exists():
                self._tell("a lab runs: site.yml, so that it has what this clone is")
                site.play(Lab.load(), "site")
            else:
                self._tell("no lab runs: bringing one up")
                self._made = True
                lab("up")
            self._ready = True
        return Lab.load().refreshed()

    def close(self) -> None:
        """As it was: without the NICs that were made for the parts, or gone."""
        if self._made:
            lab("down")
        elif self._ready:
            contenders.give_back(Cluster(Lab.load()))
        self._made = self._ready = False


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Ratios beside what people use today.")
    parser.add_argument("--quick", action="store_true", help="the same figures of fewer samples")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seed", type=int, default=None, help="of the order of contenders; told by each run")
    given = parser.parse_args(argv)
    seed = given.seed if given.seed is not None else int(time.time())
    tell(f"seed {seed}")
    chosen = {part: functools.partial(_measure, part) for part in PARTS if part in (given.only or PARTS)}
    with contextlib.closing(Borrowed(tell)) as borrowed:
        setting = Setting(given.quick, tell, random.Random(seed), borrowed)
        status = bench(chosen, setting, full=not given.only)
    page.draw()
    return status


def bench(parts: t.Mapping[str, Part], setting: Setting, *, full: bool, directory: Path = results.HERE) -> int:
    """Each of the parts, one after the other. `full`: every wanted figure has to be found by them."""
    rows = [] if full else [row for row in results.read(directory) if row["conditions"]["part"] not in parts]
    failed = []
    for name, part in parts.items():
        try:
            rows += results.keep(name, *_run(name, part, setting), directory)
        except Exception:  # of whatever kind: the other parts are worth their time all the same
            traceback.print_exc()
            failed.append(name)
        rows = results.write(rows, directory)
    found = [row for row in rows if row["conditions"]["part"] in parts]
    complaints = [f"missed: {row['figure']}: {row['ratio']}, {results.bar(row)}" for row in found if not row["holds"]]
    complaints += [f"failed: {name}" for name in failed]
    complaints += [f"not measured: {name}" for name in (results.missing(found) if full else ())]
    sys.stdout.write("\n".join(("", results.shown(found), "", *complaints, "")))
    return 1 if complaints else 0


def _measure(part: str, setting: Setting) -> Measured:
    module: t.Any = importlib.import_module(f"tests.bench.{part}")
    measured: Measured = module.measure(setting)
    return measured


def _run(name: str, part: Part, setting: Setting) -> tuple[Measured, dict[str, t.Any]]:
    """With the conditions of it."""
    setting.tell(f"{name} ...")
    before = conditions.now()
    measured = part(setting)
    spent = conditions.between(before, conditions.now())
    setting.tell(f"{name}: {spent['seconds']:.0f} s, {spent['steal']} ticks stolen")
    today = time.strftime("%Y-%m-%d")
    told = {"part": name, "measured": today, "quick": setting.quick, "nics": measured.nics}
    return measured, {**told, **spent, **conditions.machine()}


def tell(line: str) -> None:
    """Progress, on standard output at once."""
    sys.stdout.write(f"bench: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
