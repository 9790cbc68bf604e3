# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of docs/performance.md, each from what results.json and the raw samples say; None without them."""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from tests.bench.figures import WANTED, Spread
from tests.bench.results import Row, number
from tests.bench.svg import FOOT, LEFT, OTHER, OURS, RIGHT, STEP, THEIRS, TOP, WIDTH, Axis, Sheet

FAR: t.Final = 8  # times the smallest: what lies so far apart has a logarithmic axis

Rows = t.Mapping[str, Row]  # by the names of figures
Samples = t.Mapping[str, t.Mapping[str, t.Any]]  # and notes, by parts; empty for one that never ran
Plot = t.Callable[[Rows, Samples], t.Optional[str]]
Line = tuple[str, str, t.Mapping[str, t.Any]]  # label, kind, p50 to p99 with their unit


def bars(rows: Rows, __: Samples) -> t.Optional[str]:
    """Every figure that has a bar, by how far it is from it."""
    found = {name: row for name, row in rows.items() if row["bar"] is not None}
    if not found:
        return None
    sheet = Sheet(
        "Every bar, and where the figure is",
        "For each figure with a bar, the ratio beside its bar; left of the red line is better",
        TOP + STEP * len(found) + FOOT,
    )
    part = {name: row["bar"] / row["ratio"] if WANTED[name].floor else row["ratio"] / row["bar"]
            for name, row in found.items() if row["ratio"]}  # fmt: skip
    low = min([0.5, *part.values()]) * 0.9
    axis = Axis(max(low, 0.005), max(1.3, *part.values()) * 1.05, 530, 730, log=True)
    sheet.axis(axis, "of the bar")
    sheet.line(axis.at(1), TOP - 20, axis.at(1), sheet.height - FOOT + 8, "bar")
    sheet.text(axis.at(1), TOP - 26, "the bar", "small", "middle")
    for place, (name, row) in enumerate(found.items()):
        y = TOP + STEP * place + 12
        sign = "≥" if WANTED[name].floor else "≤"
        sheet.text(24, y + 4, row["figure"], "small")
        sheet.dot(axis.at(part.get(name, axis.low)), y, OURS if row["holds"] else "missed", 5.5)
        sheet.text(750, y + 4, f"{number(row['ratio'])} {sign} {row['bar']:g}", "small" if row["holds"] else "missed")
    return sheet.done()


def add(rows: Rows, __: Samples) -> t.Optional[str]:
    """ADD, paced, of all contenders."""
    if "add-p50" not in rows:
        return None
    lines = [
        ("qingcni", OURS, rows["add-p50"]["ours"]),
        ("host-device + host-local", THEIRS, rows["add-p50"]["theirs"]),
    ]
    more = {"add-ptp": "ptp + host-local", "add-macvlan": "macvlan + host-local", "add-bridge": "bridge + host-local"}
    lines += [(label, OTHER, rows[name]["theirs"]) for name, label in more.items() if name in rows]
    if "add-floor" in rows:
        lines.append(("the floor: interpreter + move", OTHER, rows["add-floor"]["theirs"]))
    return _ranges("ADD, from exec to exit, paced", lines)


def delete(rows: Rows, __: Samples) -> t.Optional[str]:
    among = (
        ("DEL, paced: qingcni", OURS, "del-p50", "ours"),
        ("DEL, paced: host-device", THEIRS, "del-p50", "theirs"),
        ("DEL, the floor: interpreter + move", OTHER, "del-floor", "theirs"),
        ("ADD + DEL back to back: qingcni", OURS, "back-to-back", "ours"),
        ("ADD + DEL back to back: host-device", THEIRS, "back-to-back", "theirs"),
        ("ADD with 60 NICs", OURS, "add-60", "ours"),
        ("ADD with 5 NICs", OURS, "add-60", "theirs"),
    )
    lines = [(label, kind, rows[name][side]) for label, kind, name, side in among if name in rows]
    return _ranges("DEL, both back to back, and a node with many NICs", lines) if lines else None


def phases(__: Rows, samples: Samples) -> t.Optional[str]:
    """One after the other, each as long as its mean."""
    means: t.Mapping[str, float] = samples["phases"].get("means", {})
    if not means:
        return None
    spreads = samples["phases"]["spreads"]
    told = ", ".join(f"{name} {number(mean)} ms" for name, mean in means.items())
    sheet = Sheet("Where the time of an ADD goes", told, TOP + STEP * len(means) + FOOT)
    sheet.text(24, 56, "each phase begins where the one before has ended", "small")
    for x, kind, words in ((380, OTHER, "interpreter"), (480, THEIRS, "kernel"), (560, OURS, "plugin and agent")):
        sheet.dot(x, 29, kind, 5)
        sheet.text(x + 10, 33, words, "small")
    axis = Axis(0, sum(means.values()) * 1.02, 120, RIGHT)
    sheet.axis(axis, "ms")
    sheet.text(RIGHT + 22, 56, "mean · p50 · p95", "small")
    kinds, begins = {"exec": OTHER, "answer": OTHER, "move": THEIRS}, 0.0
    for place, (name, mean) in enumerate(means.items()):
        y = TOP + STEP * place + 2
        sheet.text(24, y + 14, name)
        sheet.box(axis.at(begins), y, axis.at(begins + mean) - axis.at(begins), 20, kinds.get(name, OURS))
        begins += mean
        spread = spreads[name]
        sheet.text(
            RIGHT + 22, y + 14, " · ".join(number(value) for value in (mean, spread["p50"], spread["p95"])), "small"
        )
    return sheet.done()


def move(__: Rows, samples: Samples) -> t.Optional[str]:
    """The kernel's stacks while the agent's messages are carried out: as wide as often seen, callers above."""
    stacks: t.Mapping[str, int] = samples["phases"].get("stacks", {})
    if not stacks:
        return None
    paths = {tuple(words.split()): count for words, count in stacks.items()}
    deepest, whole = max(map(len, paths)), sum(paths.values())
    sheet = Sheet(
        "What the kernel does meanwhile",
        "; ".join(f"{path[-1]} {count / whole:.0%}" for path, count in sorted(paths.items(), key=lambda one: -one[1])),
        TOP + 26 * deepest + 30,
    )
    sheet.text(24, 56, f"stacks of the agent's threads in messages to netlink, ADD and DEL: {whole} samples", "small")

    def draw(among: t.Mapping[tuple[str, ...], int], depth: int, x: float) -> None:
        for name in dict.fromkeys(path[depth] for path in among if len(path) > depth):
            below = {path: count for path, count in among.items() if len(path) > depth and path[depth] == name}
            many = sum(below.values())
            width = (WIDTH - 48) * many / whole
            told = f"{name}: {many / whole:.1%}"
            sheet.box(x, TOP + 26 * depth, width - 1, 24, THEIRS if "rcu" in name else OTHER, told)
            if width > 7.5 * len(told):
                sheet.text(x + 6, TOP + 26 * depth + 16, told, "inside")
            draw(below, depth + 1, x)
            x += width

    draw(paths, 0, 24)
    return sheet.done()


def burst(__: Rows, samples: Samples) -> t.Optional[str]:
    """How many of the pods have their network after how long; all rounds together."""
    pods: t.Mapping[str, list[list[float]]] = samples["burst"].get("pods", {})
    sides = {"qingcni": OURS, "host-device": THEIRS}
    times = [(name, kind, sum(pods[f"{name} add"], [])) for name, kind in sides.items() if f"{name} add" in pods]
    if not times:
        return None
    many = len(pods["qingcni add"][0])
    told = f"How many of {many} pods have their network, by time since all calls began"
    return _reached(
        f"{many} pods at once", told, "pods that have their network; all rounds together", times, many, "ms"
    )


def ready(__: Rows, samples: Samples) -> t.Optional[str]:
    """How many of the fleet's agents are there after how long, the first time and after a restart of all."""
    found = samples["fleet"]
    if "warm_after" not in found:
        return None
    times = [("pool is warm", OURS, found["warm_after"]), ("up again", THEIRS, found["up_after"])]
    many = len(found["warm_after"])
    told = f"How many of {many} agents have a warm pool, by time since all started; how many are up after a restart"
    return _reached(f"A fleet of {many}", told, "agents, by time since all of them started", times, many, "s")


def fleet(rows: Rows, samples: Samples) -> t.Optional[str]:
    """Calls a second while the fleet warms."""
    course: t.Sequence[t.Sequence[int]] = samples["fleet"].get("warming_calls_and_rejected", ())
    if not course or "fleet-warm" not in rows:
        return None
    most = max(calls for calls, __ in course)
    sheet = Sheet("What a fleet that warms asks of the API", "Calls a second of all agents, and those rejected", 320)
    axis, height = _axes(
        sheet, "calls a second, line: what the account allows; red: rejected", len(course), most * 1.08, "s"
    )
    limit = samples["fleet"].get("calls_a_second", 0)
    if limit:
        sheet.line(axis.start, height.at(limit), axis.end, height.at(limit), "bar")
    for second, (calls, rejected) in enumerate(course):
        left, width = axis.at(second), axis.at(second + 1) - axis.at(second)
        sheet.box(left, height.at(calls), width, height.at(0) - height.at(calls), OURS)
        if rejected:
            sheet.box(left, height.at(rejected), width, height.at(0) - height.at(rejected), "missed")
    return sheet.done()


def reconcile(__: Rows, samples: Samples) -> t.Optional[str]:
    """Processor time of one round."""
    lines: list[Line] = []
    for place in samples["reconcile"].get("rounds", ()):
        label = f"{place['nics']} NICs here, {place['nodes']:,} nodes".replace("1 NICs", "1 NIC").replace(
            " 1 nodes", " 1 node"
        )
        lines.append((label, OURS, asdict(Spread.of(place["milliseconds"], "ms"))))
    return _ranges("One look at everything, processor time", lines) if lines else None


def _reached(
    title: str, told: str, words: str, times: t.Sequence[tuple[str, str, t.Sequence[float]]], many: int, unit: str
) -> str:
    """Steps up to `many`, one for each of the times."""
    sheet = Sheet(title, told, 380)
    axis, height = _axes(sheet, words, max(max(found) for __, __, found in times) * 1.04, many, unit)
    for place, (name, kind, found) in enumerate(times):
        steps = [(axis.at(0), height.at(0))]
        for count, taken in enumerate(sorted(found)):
            steps += [(axis.at(taken), height.at(many * (count + part) / len(found))) for part in (0, 1)]
        sheet.curve(_thinned(steps), kind)
        sheet.dot(722, TOP + 20 + 24 * place, kind, 5)
        sheet.text(734, TOP + 24 + 24 * place, name)
    return sheet.done()


def _thinned(steps: t.Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without those that nobody could see."""
    kept = [steps[0]]
    for step in steps[1:-1]:
        if max(abs(step[0] - kept[-1][0]), abs(step[1] - kept[-1][1])) >= 0.7:
            kept.append(step)
    return [*kept, steps[-1]]


def _axes(sheet: Sheet, words: str, far: float, high: float, unit: str) -> tuple[Axis, Axis]:
    axis, height = Axis(0, far, 70, 700), Axis(0, high, sheet.height - FOOT + 8, TOP)
    sheet.axis(axis, unit)
    sheet.text(24, 56, words, "small")
    for tick in height.ticks():
        sheet.line(axis.start, height.at(tick), axis.end, height.at(tick))
        sheet.text(58, height.at(tick) + 4, f"{tick:g}", "small", "end")
    return axis, height


def cold(rows: Rows, __: Samples) -> t.Optional[str]:
    """NICs a second from an empty pool."""
    lines: list[Line] = []
    for count in (1, 10, 60):
        if row := rows.get(f"cold-{count}"):
            many = "NIC" if count == 1 else "NICs"
            lines.append((f"{count} {many}: the pool", OURS, row["ours"]))
            lines.append((f"{count} {many}: one at a time", THEIRS, row["theirs"]))
    return _ranges("From an empty pool, with jobs of 3.5 s", lines) if lines else None


def datapath(rows: Rows, __: Samples) -> t.Optional[str]:
    return _ways("throughput", "Throughput of one TCP connection between two nodes", rows)


def roundtrip(rows: Rows, __: Samples) -> t.Optional[str]:
    return _ways("latency", "Round trip of 64 bytes between two nodes", rows)


def _ways(what: str, title: str, rows: Rows) -> t.Optional[str]:
    if what not in rows:
        return None
    lines = [("pod to pod", OURS, rows[what]["ours"]), ("node to node", THEIRS, rows[what]["theirs"])]
    for name, label in ((f"{what}-bridge", "veth + bridge, routed"), (f"{what}-vxlan", "veth + bridge + VXLAN")):
        if name in rows:
            lines.append((label, OTHER, rows[name]["theirs"]))
    return _ranges(title, lines)


def _ranges(title: str, lines: t.Sequence[Line]) -> str:
    """A row for each: a dot at p50, a line from there to p95 and a ring at p99."""
    unit = lines[0][2]["unit"]
    most = max(side[name] for __, __, side in lines for name in ("p50", "p95", "p99")) or 1
    told = "; ".join(f"{label}: p50 {number(side['p50'])} {unit}" for label, __, side in lines)
    sheet = Sheet(title, told, TOP + STEP * len(lines) + FOOT)
    least = min(side["p50"] for __, __, side in lines)
    far = most > FAR * least > 0
    axis = Axis(least * 0.8, most * 1.2, LEFT, RIGHT, log=True) if far else Axis(0, most * 1.04, LEFT, RIGHT)
    sheet.text(24, 56, "dot: p50, line: to p95, ring: p99" + (" (logarithmic)" if far else ""), "small")
    sheet.axis(axis, unit)
    sheet.text(RIGHT + 22, 56, "p50 · p95 · p99", "small")
    for place, (label, kind, side) in enumerate(lines):
        y = TOP + STEP * place + 12
        sheet.text(24, y + 4, label)
        p50, p95, p99 = (axis.at(side[name]) for name in ("p50", "p95", "p99"))
        sheet.line(p50, y, p95, y, kind, 4)
        sheet.line(p95, y, p99, y, kind, 1)
        sheet.dot(p99, y, f"{kind} open", 4)
        sheet.dot(p50, y, kind, 6)
        values = " · ".join(number(side[name]) for name in ("p50", "p95", "p99"))
        sheet.text(RIGHT + 22, y + 4, values, "small")
    return sheet.done()


PLOTS: t.Final[t.Mapping[str, Plot]] = {
    "bars": bars,
    "add": add,
    "del": delete,
    "phases": phases,
    "move": move,
    "burst": burst,
    "cold": cold,
    "fleet": fleet,
    "ready": ready,
    "reconcile": reconcile,
    "datapath": datapath,
    "roundtrip": roundtrip,
}
