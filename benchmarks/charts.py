"""Plots as SVG, made by hand so that a report needs nothing but itself. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import ceil, floor, log10

from msgspec import Struct

# Okabe and Ito's, which people who see colours differently can tell apart, without the yellow that nobody sees on white.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_WIDTH, _HEIGHT = 720, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 44
_BAR = 24
_BAR_LABEL = 330
_LONGEST_NAME = 54

Points = Sequence[tuple[float, float]]


class Lines(Struct, frozen=True, kw_only=True):
    """Several lines over one axis. `marks` are moments with a name; `log_x` and `log_y` leave out what is not above 0."""

    title: str
    x: str
    y: str
    series: Mapping[str, Points]
    log_x: bool = False
    log_y: bool = False
    marks: Sequence[tuple[float, str]] = ()


class Bars(Struct, frozen=True, kw_only=True):
    """Named values, from 0."""

    title: str
    unit: str
    values: Mapping[str, float]


class _Axis:
    """Values to pixels. It begins at 0 unless it is logarithmic."""

    def __init__(self, values: Sequence[float], first: float, last: float, *, log: bool) -> None:
        self._log = log
        self._first = first
        most = max(values, default=1.0) or 1.0
        if log:
            least = min((value for value in values if value > 0), default=most)
            low = floor(log10(least))
            high = max(ceil(log10(most)), low + 1)
            self.ticks = [10.0**power for power in range(low, high + 1)]
            self._low, self._high = float(low), float(high)
        else:
            step = _step(most)
            self._low, self._high = 0.0, step * ceil(most / step)
            self.ticks = [step * number for number in range(round(self._high / step) + 1)]
        self._scale = (last - first) / (self._high - self._low)

    def __call__(self, value: float) -> float:
        return self._first + ((log10(value) if self._log else value) - self._low) * self._scale


def _step(most: float) -> float:
    """A round distance between ticks, of which there are four to nine."""
    rough = most / 8
    power: float = 10.0 ** floor(log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)


def lines(chart: Lines) -> str:
    """A figure with its title, axes, legend and lines."""
    series = {
        name: [(x, y) for x, y in points if (x > 0 or not chart.log_x) and (y > 0 or not chart.log_y)]
        for name, points in chart.series.items()
    }
    every = [point for points in series.values() for point in points]
    x = _Axis([point[0] for point in every], _LEFT, _WIDTH - _RIGHT, log=chart.log_x)
    y = _Axis([point[1] for point in every], _HEIGHT - _BOTTOM, _TOP, log=chart.log_y)
    drawn = "".join([*_grid(x, y, chart), *_marks(x, chart.marks), *_curves(x, y, series)])
    legend = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for name, colour in zip(series, _COLOURS, strict=False)
    )
    return _figure(chart.title, f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{drawn}</svg>', legend)


def _grid(x: _Axis, y: _Axis, chart: Lines) -> Iterator[str]:
    bottom = _HEIGHT - _BOTTOM
    for tick in y.ticks:
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
    for tick in x.ticks:
        yield f'<line class="tick" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
        yield f'<text x="{x(tick):.1f}" y="{bottom + 17}" text-anchor="middle">{_number(tick)}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(chart.x)}</text>'
    yield f'<text transform="translate(13 {(bottom + _TOP) / 2}) rotate(-90)" text-anchor="middle">{escape(chart.y)}</text>'


def _marks(x: _Axis, marks: Sequence[tuple[float, str]]) -> Iterator[str]:
    for at, name in marks:
        yield f'<line class="mark" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}">'
        yield f"<title>{escape(name)}</title></line>"
        yield f'<text class="mark" transform="translate({x(at) + 4:.1f} {_TOP + 2}) rotate(90)">{escape(name)}</text>'


def _curves(x: _Axis, y: _Axis, series: Mapping[str, Points]) -> Iterator[str]:
    for (name, points), colour in zip(series.items(), _COLOURS, strict=False):
        path = " ".join(f"{x(one):.1f},{y(other):.1f}" for one, other in points)
        yield f'<polyline points="{path}" stroke="{colour}"><title>{escape(name)}</title></polyline>'
        if len(points) <= 30:
            yield "".join(
                f'<circle cx="{x(one):.1f}" cy="{y(other):.1f}" r="3" fill="{colour}">'
                f"<title>{escape(name)}: {_number(one)}, {_number(other)}</title></circle>"
                for one, other in points
            )


def bars(chart: Bars) -> str:
    """A figure with a bar for each value."""
    width = _WIDTH - _BAR_LABEL - 70
    most = max(chart.values.values(), default=1.0) or 1.0
    drawn = ""
    for number, (name, value) in enumerate(chart.values.items()):
        y = number * _BAR
        drawn += (
            f'<text x="{_BAR_LABEL - 8}" y="{y + 16}" text-anchor="end">{escape(_cut(name))}<title>{escape(name)}</title></text>'
            f'<rect x="{_BAR_LABEL}" y="{y + 4}" width="{width * value / most:.1f}" height="{_BAR - 8}" fill="{_COLOURS[0]}"/>'
            f'<text x="{_BAR_LABEL + width * value / most + 6:.1f}" y="{y + 16}">{_exact(value)} {escape(chart.unit)}</text>'
        )
    height = max(1, len(chart.values)) * _BAR
    return _figure(chart.title, f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">{drawn}</svg>', "")


def _figure(title: str, svg: str, legend: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{svg}<div class=legend>{legend}</div></figure>"


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _exact(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _number(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
