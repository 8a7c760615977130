"""Line charts as SVG: small, readable in light and dark, and made of nothing but text.

Rule: every axis has a title with its unit, and every series its name at its own line's end, so that colour is never the
only thing that tells two apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 772
HEIGHT: Final = 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 182, 58, 62
_LABEL_GAP: Final = 16.0
_TICKS: Final = 6

STYLE: Final = """
  .ground { fill: #ffffff; } text { fill: #1f2328; font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; }
  .title { font-size: 16px; font-weight: 600; } .sub, .tick, .axis { fill: #59636e; } .tick { font-size: 12px; }
  .grid { stroke: #d8dee4; stroke-width: 1; } .base { stroke: #8c959f; stroke-width: 1; }
  .goal { stroke: #59636e; stroke-width: 1.5; stroke-dasharray: 2 4; } .goal-name { fill: #59636e; font-size: 12px; }
  .line { fill: none; stroke-width: 2.25; stroke-linejoin: round; } .dash { stroke-dasharray: 7 4; }
  .lead { stroke-width: 1; stroke-dasharray: 1 4; }
  .a { stroke: #0b6e4f; } .b { stroke: #b4530a; } .dot.a { fill: #0b6e4f; } .dot.b { fill: #b4530a; }
  .name.a { fill: #0b6e4f; stroke: none; } .name.b { fill: #b4530a; stroke: none; }
  .c { stroke: #8c959f; } .dot.c { fill: #8c959f; } .name.c { fill: #59636e; stroke: none; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; } text { fill: #e6edf3; } .sub, .tick, .axis, .goal-name { fill: #9198a1; }
    .grid { stroke: #262c36; } .base { stroke: #656c76; } .goal { stroke: #9198a1; }
    .a { stroke: #4fd1a1; } .b { stroke: #f0a35e; } .dot.a { fill: #4fd1a1; } .dot.b { fill: #f0a35e; }
    .name.a { fill: #4fd1a1; } .name.b { fill: #f0a35e; }
    .c { stroke: #656c76; } .dot.c { fill: #656c76; } .name.c { fill: #9198a1; }
  }
"""


@dataclass(frozen=True, slots=True)
class Point:
    """A value, and between what it was spread."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A line. `ink` is `a`, `b` or `c`; a dashed one is the second of its ink."""

    name: str
    points: Sequence[Point]
    ink: str = "a"
    is_dashed: bool = False
    has_dots: bool = True


@dataclass(frozen=True, slots=True)
class Mark:
    """A level to be compared with."""

    name: str
    y: float


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis with its title, unit included. `ticks` are those that must be there; none: round numbers."""

    title: str
    is_log: bool = False
    ticks: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Scale:
    """Values to pixels."""

    low: float
    high: float
    begin: float
    end: float
    is_log: bool

    def at(self, value: float) -> float:
        """Where the value is drawn."""
        low, high, value = (math.log10(v) if self.is_log else v for v in (self.low, self.high, value))
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)


def nice_ticks(low: float, high: float, most: int = _TICKS) -> list[float]:
    """Round numbers that hold everything from `low` to `high`."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten, from the last not above `low` to the first not below `high`."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    every = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    begin = max(tick for tick in every if tick <= low * 1.0001)
    end = min(tick for tick in every if tick >= high * 0.9999 and tick > begin)
    found = [tick for tick in every if begin <= tick <= end]
    if len(found) > 8:
        tens = [tick for tick in found if abs(math.log10(tick) - round(math.log10(tick))) < 1e-9]
        found = sorted({found[0], *tens, found[-1]}) if len(tens) > 1 else found
    return found


def number(value: float) -> str:
    """As short as it can be."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 10 and value == round(value) else f"{value:,.4g}"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart; `note` is the line below its title."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    note: str = ""
    marks: Sequence[Mark] = ()

    @property
    def _ys(self) -> list[float]:
        found = [mark.y for mark in self.marks]
        for point in (point for one in self.series for point in one.points):
            found += [value for value in (point.y, point.low, point.high) if value is not None]
        return [value for value in found if value > 0] if self.y.is_log else found

    def svg(self) -> str:
        """The whole file."""
        xs = sorted({point.x for one in self.series for point in one.points})
        ys = self._ys
        x_ticks = list(self.x.ticks) or (log_ticks(xs[0], xs[-1]) if self.x.is_log else nice_ticks(xs[0], xs[-1]))
        y_ticks = log_ticks(min(ys), max(ys)) if self.y.is_log else nice_ticks(min(ys), max(ys))
        low, high = (min(xs[0], x_ticks[0]), max(xs[-1], x_ticks[-1]))
        if low == high:
            low, high = (low / 2, high * 2) if self.x.is_log else (low - 1, high + 1)
        across = Scale(low, high, _LEFT, WIDTH - _RIGHT, self.x.is_log)
        up = Scale(y_ticks[0], y_ticks[-1], HEIGHT - _BOTTOM, _TOP, self.y.is_log)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
            f' role="img" aria-label="{escape(self.title)}">',
            f"<style>{STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
            _text(16, 26, self.title, "title"),
            _text(16, 45, self.note, "sub tick") if self.note else "",
            *self._axes(across, up, x_ticks, y_ticks),
            *self._marks(up),
            *self._leads(across, up),
            *(part for one in self.series for part in _drawn(one, across, up)),
            *self._names(across, up),
            "</svg>\n",
        ]
        return "\n".join(part for part in parts if part)

    def _axes(self, across: Scale, up: Scale, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> list[str]:
        parts = []
        for tick in y_ticks:
            y = up.at(tick)
            kind = "base" if tick == y_ticks[0] else "grid"
            parts.append(f'<line class="{kind}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(_text(_LEFT - 8, y + 4, number(tick), "tick", "end"))
        last = -math.inf
        for tick in x_ticks:
            x = across.at(tick)
            if x - last < 30:  # two numbers would touch
                continue
            last = x
            parts.append(f'<line class="base" x1="{x:.1f}" x2="{x:.1f}" y1="{up.begin:.1f}" y2="{up.begin + 5:.1f}"/>')
            parts.append(_text(x, up.begin + 20, number(tick), "tick", "middle"))
        middle = (across.begin + across.end) / 2
        parts.append(_text(middle, HEIGHT - 16, self.x.title, "axis", "middle"))
        centre = (up.begin + up.end) / 2
        turned = f'transform="rotate(-90 18 {centre:.1f})"'
        parts.append(_text(18, centre, self.y.title, "axis", "middle", turned))
        return parts

    def _marks(self, up: Scale) -> list[str]:
        parts = []
        for mark in self.marks:
            y = up.at(mark.y)
            parts.append(f'<line class="goal" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        return parts

    def _leads(self, across: Scale, up: Scale) -> list[str]:
        """From the last point of a series that ends early to where its name stands."""
        parts = []
        for one in self.series:
            x, y = across.at(one.points[-1].x), up.at(one.points[-1].y)
            if x < across.end - 1:
                ends = f'x1="{x:.1f}" x2="{across.end + 8:.1f}" y1="{y:.1f}" y2="{y:.1f}"'
                parts.append(f'<line class="lead {one.ink}" {ends}/>')
        return parts

    def _names(self, across: Scale, up: Scale) -> list[str]:
        """Each series' name beside its last point, and each mark's, moved apart where they would touch."""
        wanted = [(up.at(one.points[-1].y), one.name, f"name {one.ink}") for one in self.series if one.points]
        wanted += [(up.at(mark.y), mark.name, "goal-name") for mark in self.marks]
        wanted.sort()
        places = spread_out([at for at, _, _ in wanted], _LABEL_GAP, up.end, up.begin)
        x = across.end + 12
        return [_text(x, y + 4, name, kind) for y, (_, name, kind) in zip(places, wanted, strict=True)]


def spread_out(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The same ascending places, at least `gap` from each other and as near to where they were as that allows."""
    found = list(places)
    for index in range(1, len(found)):
        found[index] = max(found[index], found[index - 1] + gap)
    if found and found[-1] > high:
        found[-1] = high
        for index in range(len(found) - 2, -1, -1):
            found[index] = min(found[index], found[index + 1] - gap)
    return [max(low - gap, place) for place in found]


def _drawn(one: Series, across: Scale, up: Scale) -> list[str]:
    points = [point for point in one.points if not up.is_log or point.y > 0]
    if not points:
        return []
    path = " ".join(f"{across.at(p.x):.1f},{up.at(p.y):.1f}" for p in points)
    parts = [f'<polyline class="line {one.ink}{" dash" if one.is_dashed else ""}" points="{path}"/>']
    if not one.has_dots:
        return parts
    for point in points:
        x, y = across.at(point.x), up.at(point.y)
        if (
            point.low is not None
            and point.high is not None
            and point.high > point.low > (0 if up.is_log else -math.inf)
        ):
            ends = f'y1="{up.at(point.low):.1f}" y2="{up.at(point.high):.1f}"'
            parts.append(f'<line class="{one.ink}" stroke-width="1.25" x1="{x:.1f}" x2="{x:.1f}" {ends}/>')
        shown = f"{escape(one.name)}: {number(point.y)} at {number(point.x)}"
        parts.append(f'<circle class="dot {one.ink}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{shown}</title></circle>')
    return parts


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start", more: str = "") -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {where}{f" {more}" if more else ""}>{escape(text)}</text>'
