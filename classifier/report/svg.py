"""Charts as inline SVG: lines, bars and heat maps, in the colours of the page.

Colours and line styles come from CSS classes (`s0` .. `s5` for series, `axis`,
`grid`, `mark`), so that one chart reads well on light and on dark pages. All text
passes through `_text`, which escapes it: names come from data.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from classifier.report.axes import Axis

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 10, 46
# Room for the names of horizontal bars.
NAMES = 190
LINE = 16
SERIES = 6
# Mean width of a character of 12 px sans-serif; a little generous.
_CHAR = 6.7
_LEGEND_CHARS, _BAR_CHARS = 34, 25


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; `low` and `high` are a band or error bars around it.

    A point whose y is NaN breaks the line.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Bars:
    """A value for each label; `low` and `high` are whiskers. NaN draws nothing."""

    name: str
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A dashed line across the chart at a value of the x axis."""

    value: float
    label: str


@dataclass(frozen=True, slots=True)
class _Plot:
    """The rectangle inside the axes, in pixels."""

    left: float
    top: float
    width: float
    height: float
    x: Axis
    y: Axis | None = None

    def at_x(self, values: Iterable[float]) -> list[float]:
        places: list[float] = (self.left + self.x.place(list(values)) * self.width).tolist()
        return places

    def at_y(self, values: Iterable[float]) -> list[float]:
        assert self.y is not None
        shares = 1.0 - self.y.place(list(values))
        places: list[float] = (self.top + shares * self.height).tolist()
        return places


def line_chart(
    title: str, x: Axis, y: Axis, lines: Sequence[Line], marks: Sequence[Mark] = ()
) -> str:
    """Lines over two axes, with a legend above."""
    legend, top = _legend([line.name for line in lines])
    top += LINE * len(marks)
    plot = _Plot(LEFT, top, WIDTH - LEFT - RIGHT, HEIGHT, x, y)
    parts = [legend, _y_axis(plot), _x_axis(plot), _marks(plot, marks)]
    parts += [_line(plot, line, number % SERIES) for number, line in enumerate(lines)]
    return _svg(title, top + HEIGHT + BOTTOM, parts)


def bar_chart(
    title: str, labels: Sequence[str], x: Axis, groups: Sequence[Bars], marks: Sequence[Mark] = ()
) -> str:
    """Horizontal bars: a row for each label, in it a bar for each group."""
    legend, top = _legend([group.name for group in groups], bars=True)
    top += LINE * len(marks)
    thick = 9 if len(groups) > 1 else 14
    row = thick * len(groups) + 8
    plot = _Plot(NAMES, top, WIDTH - NAMES - RIGHT, row * len(labels), x)
    parts = [legend, _x_axis(plot)]
    for number, label in enumerate(labels):
        middle = top + row * (number + 0.5)
        parts.append(_text(NAMES - 8, middle + 4, _short(label, _BAR_CHARS), "end", full=label))
    for number, group in enumerate(groups):
        tops = [top + row * n + 4 + thick * number for n in range(len(labels))]
        parts.append(_bars(plot, group, tops, thick, number % SERIES))
    parts.append(_marks(plot, marks))
    return _svg(title, top + plot.height + BOTTOM, parts)


def heat_map(
    title: str, x: Axis, y: Axis, grid: Sequence[Sequence[int]], marks: Sequence[Mark] = ()
) -> str:
    """Counts by two values, row 0 at the bottom; darker is more, on a log scale."""
    counts = np.asarray(grid, np.float64)
    rows, columns = counts.shape
    top = TOP + LINE * len(marks)
    side = HEIGHT + 80
    plot = _Plot(LEFT, top, side, side, x, y)
    opacity = 0.12 + 0.88 * np.log1p(counts) / np.log1p(counts.max())
    cell = side / columns, side / rows
    parts = [_y_axis(plot), _x_axis(plot)]
    for row, column in np.argwhere(counts > 0).tolist():
        left, lower = LEFT + column * cell[0], top + side - (row + 1) * cell[1]
        parts.append(
            f'<rect class="f0" x="{left:.1f}" y="{lower:.1f}" width="{cell[0]:.1f}" '
            f'height="{cell[1]:.1f}" fill-opacity="{opacity[row, column]:.2f}">'
            f"<title>{int(counts[row, column]):,} requests</title></rect>"
        )
    parts += [_marks(plot, marks), _scale(plot, int(counts.max()))]
    return _svg(title, top + side + BOTTOM, parts)


# -- parts of a chart --------------------------------------------------------


def _svg(title: str, height: float, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _text(
    x: float, y: float, text: str, anchor: str = "start", css: str = "", full: str = ""
) -> str:
    """Escaped text; `full` is shown when the pointer rests on it."""
    title = f"<title>{escape(full)}</title>" if full and full != text else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">'
        f"{escape(text)}{title}</text>"
    )


def _short(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[: chars - 1]}…"


def _legend(names: Sequence[str], *, bars: bool = False) -> tuple[str, float]:
    """The legend, and where the plot may begin; none for a single series."""
    if len(names) <= 1:
        return "", TOP
    parts, x, y = [], float(LEFT), float(TOP + 4)
    for number, name in enumerate(names):
        text = _short(name, _LEGEND_CHARS)
        width = 30 + _CHAR * len(text) + 14
        if x > LEFT and x + width > WIDTH:
            x, y = float(LEFT), y + LINE + 2
        sign = f"M{x:.1f} {y - 5:.1f}h24v10h-24Z" if bars else f"M{x:.1f} {y:.1f}h24"
        css = f"{'f' if bars else 's'}{number % SERIES}"
        parts.append(f'<path class="{css}" d="{sign}"/>{_text(x + 30, y + 4, text, full=name)}')
        x += width
    return "".join(parts), y + LINE + 2


def _x_axis(plot: _Plot) -> str:
    bottom = plot.top + plot.height
    places = plot.at_x(value for value, _ in plot.x.ticks)
    parts = []
    for place, (_, text) in zip(places, plot.x.ticks, strict=True):
        parts.append(f'<path class="grid" d="M{place:.1f} {plot.top:.1f}V{bottom:.1f}"/>')
        # The last label must not leave the picture.
        half = _CHAR * len(text) / 2
        parts.append(_text(min(place, WIDTH - half), bottom + 17, text, "middle"))
    middle = plot.left + plot.width / 2
    parts.append(_text(middle, bottom + 37, plot.x.label, "middle", "label"))
    parts.append(f'<path class="axis" d="M{plot.left:.1f} {bottom:.1f}h{plot.width:.1f}"/>')
    return "".join(parts)


def _y_axis(plot: _Plot) -> str:
    assert plot.y is not None
    places = plot.at_y(value for value, _ in plot.y.ticks)
    parts = []
    for place, (_, text) in zip(places, plot.y.ticks, strict=True):
        parts.append(f'<path class="grid" d="M{plot.left:.1f} {place:.1f}h{plot.width:.1f}"/>')
        parts.append(_text(plot.left - 7, place + 4, text, "end"))
    middle = plot.top + plot.height / 2
    turned = _text(0, 0, plot.y.label, "middle", "label")
    parts.append(f'<g transform="translate(14 {middle:.1f}) rotate(-90)">{turned}</g>')
    return "".join(parts)


def _marks(plot: _Plot, marks: Sequence[Mark]) -> str:
    """Dashed lines, each with its label on a line of its own above the plot."""
    parts = []
    for number, mark in enumerate(marks):
        (x,) = plot.at_x([mark.value])
        y = plot.top - 6 - LINE * number
        is_right = x > plot.left + plot.width / 2
        parts.append(f'<path class="mark" d="M{x:.1f} {y - 8:.1f}V{plot.top + plot.height:.1f}"/>')
        anchor, shift = ("end", -5) if is_right else ("start", 5)
        parts.append(_text(x + shift, y, mark.label, anchor, "marked"))
    return "".join(parts)


def _line(plot: _Plot, line: Line, style: int) -> str:
    xs, ys = plot.at_x(line.x), plot.at_y(np.nan_to_num(np.asarray(line.y)).tolist())
    known = (~np.isnan(np.asarray(line.y, np.float64))).tolist()
    path, pen = [], "M"
    for x, y, is_known in zip(xs, ys, known, strict=True):
        if is_known:
            path.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L" if is_known else "M"
    parts = [_around(plot, line, xs, style), f'<path class="s{style}" d="{"".join(path)}"/>']
    if line.dots:
        parts += [
            f'<circle class="f{style}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
            for x, y in zip(xs, ys, strict=True)
        ]
    return "".join(parts)


def _around(plot: _Plot, line: Line, xs: Sequence[float], style: int) -> str:
    """Error bars with dots, else a band."""
    if not line.low:
        return ""
    lows, highs = plot.at_y(line.low), plot.at_y(line.high)
    if line.dots:
        return "".join(
            f'<path class="whisker" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
            for x, low, high in zip(xs, lows, highs, strict=True)
        )
    there = [f"{x:.1f} {y:.1f}" for x, y in zip(xs, highs, strict=True)]
    back = [f"{x:.1f} {y:.1f}" for x, y in zip(xs, lows, strict=True)][::-1]
    return f'<path class="f{style} band" d="M{"L".join(there + back)}Z"/>'


def _bars(plot: _Plot, group: Bars, tops: Sequence[float], thick: int, style: int) -> str:
    parts = []
    for number, (value, top) in enumerate(zip(group.values, tops, strict=True)):
        if np.isnan(value):
            continue
        zero, end = plot.at_x([0.0, value])
        left, width = min(zero, end), abs(end - zero)
        parts.append(
            f'<rect class="f{style}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" '
            f'height="{thick - 1}"/>'
        )
        if group.low:
            low, high = plot.at_x([group.low[number], group.high[number]])
            middle = top + (thick - 1) / 2
            parts.append(f'<path class="whisker" d="M{low:.1f} {middle:.1f}H{high:.1f}"/>')
    return "".join(parts)


def _scale(plot: _Plot, most: int) -> str:
    """What the darkness of a heat map means, beside it."""
    x, y = plot.left + plot.width + 40, plot.top + 20
    parts = [_text(x, y, "requests a cell", css="label")]
    steps = sorted({1, max(1, round(most**0.5)), most})
    for number, count in enumerate(steps):
        opacity = 0.12 + 0.88 * np.log1p(count) / np.log1p(most)
        top = y + 12 + 24 * number
        parts.append(
            f'<rect class="f0" x="{x:.1f}" y="{top:.1f}" width="18" height="18" '
            f'fill-opacity="{opacity:.2f}"/>' + _text(x + 26, top + 14, f"{count:,}")
        )
    return "".join(parts)
