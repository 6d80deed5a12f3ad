"""Geometry of the charts: values in, coordinates inside a fixed drawing area out. The template draws them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kdistill.report.tables import number

WIDTH, HEIGHT = 460.0, 290.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 436.0, 14.0, 244.0
MOST_POINTS = 500
"""A longer curve is thinned: the drawing has no more pixels than that."""

LABEL_ROOM = 13.0
"""Least distance between the number of a mark and every other number and mark."""


@dataclasses.dataclass(frozen=True)
class Tick:
    """A mark on an axis: its coordinate along that axis and its text."""

    at: float
    text: str


@dataclasses.dataclass(frozen=True)
class Series:
    """A named line: `points` as an SVG points attribute, and where and what the last value is."""

    name: str
    points: str
    last: tuple[float, float]
    last_text: str


@dataclasses.dataclass(frozen=True)
class Mark:
    """A point, its number (explained under the chart) and where the number's middle stands."""

    name: str
    number: int
    x: float
    y: float
    label_x: float
    label_y: float
    title: str


@dataclasses.dataclass(frozen=True)
class Level:
    """A horizontal line that the marks are compared with."""

    name: str
    y: float


@dataclasses.dataclass(frozen=True)
class Chart:
    """One drawing: axes, lines or marks."""

    title: str
    x_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    series: list[Series] = dataclasses.field(default_factory=list)
    marks: list[Mark] = dataclasses.field(default_factory=list)
    levels: list[Level] = dataclasses.field(default_factory=list)


class Axis:
    """Maps values onto a stretch of the drawing, linearly or by logarithm, with round tick values."""

    def __init__(self, values: Sequence[float], start: float, end: float, *, log: bool = False, pad: float = 0.0):
        low, high = min(values), max(values)
        if log:
            low, high = math.log10(low), math.log10(high)
        if high - low < 1e-9 * max(abs(low), abs(high), 1e-3):
            # A single value still needs a stretch to stand in, and so do values that differ by rounding alone.
            spread = 0.3 if log else max(abs(high) * 0.1, 1e-3)
            low, high = low - spread, high + spread
        margin = pad * (high - low)
        self.low, self.high, self.log = low - margin, high + margin, log
        self.start, self.end = start, end

    def place(self, value: float) -> float:
        """Returns the coordinate of a value."""
        position = math.log10(value) if self.log else value
        return round(self.start + (position - self.low) / (self.high - self.low) * (self.end - self.start), 2)

    def ticks(self) -> list[Tick]:
        """Returns three to seven round values within the axis."""
        values = self._log_values() if self.log else self._linear_values()
        return [Tick(self.place(value), f"{value:,.10g}".replace(",", "\N{NARROW NO-BREAK SPACE}")) for value in values]

    def _linear_values(self) -> list[float]:
        raw = (self.high - self.low) / 5
        magnitude = 10.0 ** math.floor(math.log10(raw))
        step = next(magnitude * factor for factor in (1, 2, 5, 10) if raw <= magnitude * factor)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]

    def _log_values(self) -> list[float]:
        for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
            decades = range(math.floor(self.low), math.ceil(self.high) + 1)
            values = [factor * 10.0**decade for decade in decades for factor in factors]
            inside = [value for value in values if self.low - 1e-9 <= math.log10(value) <= self.high + 1e-9]
            if len(inside) >= 3:
                return inside
        # Less than a third of a decade: linear steps between the ends read better than none.
        flat = Axis([10.0**self.low, 10.0**self.high], 0, 1)
        return flat._linear_values()


def line_chart(title: str, history: Sequence[Mapping[str, Any]], keys: Mapping[str, str]) -> Chart | None:
    """Returns curves over training steps, or None when no key has two values.

    Args:
        title: the heading.
        history: objects with `step` (or `epoch`, or neither: then the position counts) and numbers.
        keys: key in `history` to the line's name.
    """
    unit = next(
        (unit for unit in ("step", "epoch") if any(number(entry.get(unit)) is not None for entry in history)), ""
    )
    curves: dict[str, list[tuple[float, float]]] = {}
    for position, entry in enumerate(history, start=1):
        x = number(entry.get(unit)) if unit else float(position)
        for key, name in keys.items():
            y = number(entry.get(key))
            if x is not None and y is not None:
                curves.setdefault(name, []).append((x, y))
    curves = {name: _thinned(sorted(points)) for name, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    x_axis = Axis([x for points in curves.values() for x, _ in points], LEFT, RIGHT)
    y_axis = Axis([y for points in curves.values() for _, y in points], BOTTOM, TOP, pad=0.06)
    series = [
        Series(
            name=name,
            points=" ".join(f"{x_axis.place(x)},{y_axis.place(y)}" for x, y in points),
            last=(x_axis.place(points[-1][0]), y_axis.place(points[-1][1])),
            last_text=f"{points[-1][1]:.4g}",
        )
        for name, points in curves.items()
    ]
    return Chart(title, unit or "record", x_axis.ticks(), y_axis.ticks(), series=series)


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns at most about MOST_POINTS of the points, evenly spaced, always with the last."""
    stride = -(-len(points) // MOST_POINTS)
    return points[::-1][::stride][::-1]


def trade_off_chart(
    title: str,
    x_label: str,
    files: Sequence[tuple[str, float | None, float | None]],
    levels: Mapping[str, float | None],
) -> Chart | None:
    """Returns quality (linear, up) against a cost (logarithmic, right), or None when no file has both.

    Args:
        title: the heading.
        x_label: what the cost is and in which unit.
        files: (name, cost, quality); files without either are left out, numbers stay.
        levels: name to a quality drawn as a horizontal line, None for one that is not known.
    """
    known = [
        (position, name, cost, quality)
        for position, (name, cost, quality) in enumerate(files, start=1)
        if cost is not None and quality is not None and cost > 0
    ]
    if not known:
        return None
    heights = {name: level for name, level in levels.items() if level is not None}
    x_axis = Axis([cost for _, _, cost, _ in known], LEFT, RIGHT, log=True, pad=0.12)
    y_axis = Axis([quality for *_, quality in known] + list(heights.values()), BOTTOM, TOP, pad=0.1)
    places = [(x_axis.place(cost), y_axis.place(quality)) for _, _, cost, quality in known]
    marks: list[Mark] = []
    for (position, name, cost, quality), (x, y) in zip(known, places, strict=True):
        taken = places + [(mark.label_x, mark.label_y) for mark in marks]
        label_x, label_y = _free_place(x, y, taken)
        text = f"{name}: {cost:.4g} {x_label}, mAP {quality:.3f}"
        marks.append(Mark(name, position, x, y, label_x, label_y, text))
    drawn_levels = [Level(name, y_axis.place(level)) for name, level in heights.items()]
    return Chart(title, x_label, x_axis.ticks(), y_axis.ticks(), marks=marks, levels=drawn_levels)


def _free_place(x: float, y: float, taken: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Returns the place nearest to (x, y) that keeps LABEL_ROOM to all in `taken`, else the one with most room."""
    candidates = [
        (x + radius * math.cos(math.radians(angle)), y + radius * math.sin(math.radians(angle)))
        for radius in (LABEL_ROOM, 1.6 * LABEL_ROOM, 2.3 * LABEL_ROOM)
        for angle in (-90, 90, 0, 180, -45, -135, 45, 135)
    ]
    inside = [place for place in candidates if LEFT + 6 <= place[0] <= RIGHT - 4 and TOP <= place[1] <= BOTTOM - 8]

    def room(place: tuple[float, float]) -> float:
        return min(math.dist(place, other) for other in taken)

    best = next((place for place in inside if room(place) >= LABEL_ROOM - 1e-6), None) or max(inside, key=room)
    return round(best[0], 2), round(best[1], 2)
