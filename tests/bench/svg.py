# SPDX-License-Identifier: GPL-3.0-or-later
"""Plots as SVG that can be read in light and dark: text, marks and lines on a card, nothing that needs a library."""

from __future__ import annotations

import html
import math
import typing as t
from dataclasses import dataclass, field

WIDTH: t.Final = 860
LEFT: t.Final = 250  # of the plot, labels are before it
RIGHT: t.Final = 640  # values are behind it
TOP: t.Final = 76
STEP: t.Final = 30  # from row to row
FOOT: t.Final = 46

# Kind of a contender ► its classes: fill and line.
OURS, THEIRS, OTHER = "ours", "theirs", "other"
_STYLE: t.Final = """
    .card { fill: #ffffff; stroke: #c9d3dd; }
    .title { fill: #17212b; font-size: 17px; font-weight: 600; }
    .label { fill: #17212b; font-size: 13px; }
    .small { fill: #4c5a67; font-size: 12px; }
    .inside { fill: #ffffff; font-size: 12px; }
    .grid { stroke: #dde4ea; stroke-width: 1; }
    .bar { stroke: #b3261e; stroke-width: 1.6; stroke-dasharray: 5 4; }
    .missed { fill: #b3261e; font-weight: 600; font-size: 12px; }
    .ours { fill: #00875a; stroke: #00875a; } .theirs { fill: #4a6fa5; stroke: #4a6fa5; }
    .other { fill: #8a97a3; stroke: #8a97a3; }
    .line { fill: none; stroke-width: 2.2; } .open { fill: #ffffff; stroke-width: 1.6; }
    @media (prefers-color-scheme: dark) {
      .card { fill: #151b21; stroke: #3a4652; } .title, .label { fill: #eef3f7; } .small { fill: #b4c0cb; }
      .inside { fill: #10161c; } .grid { stroke: #2c3742; } .bar { stroke: #ff8a80; } .missed { fill: #ff8a80; }
      .ours { fill: #2fd39a; stroke: #2fd39a; } .theirs { fill: #84aee8; stroke: #84aee8; }
      .other { fill: #8a97a3; stroke: #8a97a3; } .open { fill: #151b21; }
    }
"""


@dataclass(frozen=True)
class Axis:
    """From `low` to `high` between two places of the picture."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high = self._turned(self.low), self._turned(self.high)
        share = (self._turned(max(self.low, min(self.high, value))) - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def _turned(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self) -> list[float]:
        """Round numbers, no more than there is room for."""
        if self.log:
            exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            digits = (1, 2, 5) if self.high < 400 * self.low else (1,)
            found = [round(digit * 10.0**exponent, 9) for exponent in exponents for digit in digits]
            return [tick for tick in found if self.low <= tick <= self.high]
        rough = (self.high - self.low) / 6
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough)
        first = math.ceil(self.low / step)
        return [round(step * number, 9) for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass
class Sheet:
    """One picture; `told` is for those who do not see it."""

    title: str
    told: str
    height: float
    _marks: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, kind: str = "label", anchor: str = "start") -> None:
        place = f'x="{x:.1f}" y="{y:.1f}"' + (f' text-anchor="{anchor}"' if anchor != "start" else "")
        self._marks.append(f'<text class="{kind}" {place}>{html.escape(words)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "grid", width: float = 0) -> None:
        thick = f' stroke-width="{width:g}"' if width else ""
        place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self._marks.append(f'<line class="{kind}" {place}{thick}/>')

    def box(self, x: float, y: float, width: float, height: float, kind: str, told: str = "") -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.8):.1f}" height="{height:.1f}"'
        self._marks.append(f'<rect class="{kind}" stroke="none" {place}>{_hint(told)}</rect>')

    def dot(self, x: float, y: float, kind: str, radius: float = 5, told: str = "") -> None:
        self._marks.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">{_hint(told)}</circle>')

    def curve(self, points: t.Iterable[tuple[float, float]], kind: str) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._marks.append(f'<polyline class="line {kind}" style="fill:none" points="{path}"/>')

    def axis(self, axis: Axis, unit: str, top: float = TOP - 14) -> None:
        """Along the foot, with lines up to the top."""
        foot = self.height - FOOT + 8
        for tick in axis.ticks():
            self.line(axis.at(tick), top, axis.at(tick), foot)
            self.text(axis.at(tick), foot + 16, f"{tick:g}", "small", "middle")
        self.text(axis.end + 12, foot + 16, unit, "small")

    def done(self) -> str:
        box = f'viewBox="0 0 {WIDTH} {self.height:g}" width="{WIDTH}" height="{self.height:g}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="ui-sans-serif, system-ui, sans-serif"'
        lines = [
            f'{head} role="img" aria-label="{html.escape(self.told)}">',
            f"  <style>{_STYLE}  </style>",
            f'  <rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{self.height - 1:g}" rx="10"/>',
            f'  <text class="title" x="24" y="34">{html.escape(self.title)}</text>',
            *(f"  {mark}" for mark in self._marks),
            "</svg>",
        ]
        return "\n".join(lines) + "\n"


def _hint(told: str) -> str:
    return f"<title>{html.escape(told)}</title>" if told else ""
