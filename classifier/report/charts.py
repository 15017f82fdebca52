"""Charts as inline SVG, drawn by matplotlib in the colours of the page.

The page has a light and a dark palette, and matplotlib draws in one: colours are drawn as
the light ones and then written as the page's CSS variables. Names come from data, so all text
passes through `_clean`, and matplotlib escapes it.
"""

import io
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from classifier.heads import Floats

DAY_S = 86_400
WIDTH, HEIGHT, LINE = 720, 340, 16
INK, SOFT, GRID = "#1c2026", "#545c68", "#d5d9df"
PALETTE = ("#1f62b4", "#c2500a", "#2b7a4b", "#7a48b8", "#5f6874", "#b0264b")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.5)), (0, (6, 1.5, 1, 1.5)), "--", "-")
VARIABLES = {INK: "ink", SOFT: "soft", GRID: "line"} | {c: f"c{n}" for n, c in enumerate(PALETTE)}

_STYLE: dict[Any, Any] = {
    "font.size": 12,
    "svg.fonttype": "none",
    "svg.hashsalt": "report",  # the same page for the same figures
    "text.parse_math": False,
    "text.color": SOFT,
    "axes.labelcolor": INK,
    "axes.labelsize": 12,
    "axes.edgecolor": SOFT,
    "axes.grid": True,
    "axes.axisbelow": True,
    **{f"axes.spines.{side}": False for side in ("left", "right", "top")},
    "grid.color": GRID,
    "grid.linewidth": 1,
    "legend.fontsize": 12,
    "legend.frameon": False,
    **{f"{side}tick.color": SOFT for side in "xy"},
    "xtick.bottom": False,
    "ytick.left": False,
}
_TITLE = "title:"
"""Begins the id of what shows a text when the pointer rests on it."""

_HREF = "{http://www.w3.org/1999/xlink}href"
_ROUND: dict[str, Any] = {"nbins": 6, "steps": [1, 2, 2.5, 5, 10]}


class Axis(NamedTuple):
    """A range of values with its label and unit; times are in seconds since 1970."""

    label: str
    low: float
    high: float
    kind: Literal["linear", "log", "time"] = "linear"

    def within(self, values: Sequence[float]) -> Floats:
        """The values as matplotlib draws them; those outside stand at the edge."""
        inside: Floats = np.clip(np.asarray(values, np.float64), self.low, self.high)
        return inside / DAY_S if self.kind == "time" else inside


def linear_axis(label: str, low: float, high: float) -> Axis:
    """An axis from the last round value at or below `low` to the first at or above `high`."""
    ticks = MaxNLocator(**_ROUND).tick_values(low, high if high > low else low + 1.0)
    return Axis(label, float(ticks[0]), float(ticks[-1]))


def time_axis(seconds: Sequence[float]) -> Axis:
    """A time axis in UTC over moments, of which there is at least one."""
    low, high = min(seconds), max(seconds)
    day = datetime.fromtimestamp(low, UTC).strftime("%Y-%m-%d")
    return Axis(f"time (UTC, from {day})", low, max(high, low + 60.0), "time")


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


class GuideLine(NamedTuple):
    """A dashed line across the chart at a value of the x axis."""

    value: float
    label: str


Guides = Sequence[GuideLine]


def line_chart(title: str, x: Axis, y: Axis, lines: Sequence[Line], guides: Guides = ()) -> str:
    """Lines over two axes, with a legend above."""
    names = [line.name for line in lines]
    with rc_context(_STYLE):
        plot = _plot(HEIGHT, x, y, names, guides)
        drawn = []
        for number, line in enumerate(lines):
            color, dashes = PALETTE[number % len(PALETTE)], DASHES[number % len(DASHES)]
            xs, ys, low, high = x.within(line.x), *map(y.within, (line.y, line.low, line.high))
            dot = "o" if line.dots else ""
            drawn += plot.plot(xs, ys, color=color, linestyle=dashes, linewidth=2, marker=dot)
            if line.low and line.dots:
                plot.vlines(xs, low, high, INK, linewidth=1.2)
            elif line.low:
                plot.fill_between(xs, low, high, color=color, alpha=0.22, linewidth=0)
        _name_series(plot, names, drawn, guides)
        return _svg(plot, title)


def bar_chart(
    title: str, labels: Sequence[str], x: Axis, groups: Sequence[Bars], guides: Guides = ()
) -> str:
    """Horizontal bars: a row for each label, in it a bar for each group."""
    thick = 9 if len(groups) > 1 else 14
    row, names = thick * len(groups) + 8, [group.name for group in groups]
    height = row * len(labels)
    rows = row * np.arange(len(labels)) + 4 + thick / 2
    with rc_context(_STYLE):
        plot = _plot(height + 50, x, Axis("", 0.0, height), names, guides)
        plot.yaxis.set_inverted(True)
        plot.grid(visible=False, axis="y")
        for number, group in enumerate(groups):
            known = ~np.isnan(np.asarray(group.values, np.float64))
            ys = (rows + thick * number)[known]
            plot.barh(ys, x.within(group.values)[known], thick - 1, color=PALETTE[number])
            if group.low:
                low, high = (x.within(end)[known] for end in (group.low, group.high))
                plot.hlines(ys, low, high, INK, linewidth=1.2)
        middle = thick * (len(groups) - 1) / 2
        plot.set_yticks(rows + middle, [_short(label, 25) for label in labels])
        _name_in_full(plot.get_yticklabels(), labels)
        drawn = [Patch(color=color) for color in PALETTE[: len(groups)]]
        _name_series(plot, names, drawn, guides)
        return _svg(plot, title)


def heat_map(
    title: str, x: Axis, y: Axis, grid: Sequence[Sequence[int]], guides: Guides = ()
) -> str:
    """Counts by two values, row 0 at the bottom; darker is more, on a log scale."""
    counts = np.asarray(grid, np.float64)
    most, (rows, columns) = int(counts.max()), counts.shape
    size = (x.high - x.low) / columns, (y.high - y.low) / rows

    def shaded(count: float, corner: tuple[float, float] = (0.0, 0.0)) -> Rectangle:
        opacity = 0.12 + 0.88 * math.log1p(count) / math.log1p(most)
        return Rectangle(corner, *size, facecolor=PALETTE[0], alpha=opacity, linewidth=0)

    with rc_context(_STYLE):
        plot = _plot(HEIGHT + 100, x, y, (), guides)
        plot.set_aspect("equal", anchor="W")
        for row, column in np.argwhere(counts > 0).tolist():
            count = int(counts[row, column])
            cell = shaded(count, (x.low + column * size[0], y.low + row * size[1]))
            cell.set_gid(f"{_TITLE}{count:,} requests")
            plot.add_patch(cell)
        steps = sorted({1, max(1, round(most**0.5)), most})
        shades, texts = map(shaded, steps), [f"{step:,}" for step in steps]
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.02, 1)}
        plot.legend(list(shades), texts, title="requests a cell", **place)
        return _svg(plot, title)


# -- parts of a chart --------------------------------------------------------


def _plot(height: float, x: Axis, y: Axis, names: Sequence[str], guides: Guides) -> Axes:
    """An empty plot whose units are the page's pixels, with room for what stands above it."""
    height += LINE * len(guides) + (LINE + 4) * math.ceil(len(names) / 3)
    figure = Figure(figsize=(WIDTH / 72, height / 72), facecolor="none", layout="constrained")
    plot = figure.add_subplot(facecolor="none")
    for side, axis in (("x", x), ("y", y)):
        limits = axis.within([axis.low, axis.high]).tolist()
        plot.set(**{f"{side}label": _clean(axis.label), f"{side}lim": limits})
        drawn = plot.xaxis if side == "x" else plot.yaxis
        if axis.kind == "linear":
            drawn.set_major_locator(MaxNLocator(**_ROUND))
        elif axis.kind == "log":
            plot.set(**{f"{side}scale": "log"})
            drawn.set_minor_locator(NullLocator())
            drawn.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        else:
            locator = AutoDateLocator(tz=UTC, minticks=3)
            drawn.set_major_locator(locator)
            drawn.set_major_formatter(ConciseDateFormatter(locator, tz=UTC, show_offset=False))
    _draw_guides(plot, x, guides)
    return plot


def _draw_guides(plot: Axes, x: Axis, guides: Guides) -> None:
    """Dashed lines, each with its label on a line of its own above the plot."""
    for number, (value, label) in enumerate(guides):
        is_right = value > (x.low + x.high) / 2
        (place,) = x.within([value])
        plot.axvline(place, color=INK, linewidth=1.2, linestyle=(0, (3, 3)))
        plot.annotate(
            _clean(label),
            (place, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if is_right else 5, 5 + LINE * number),
            textcoords="offset points",
            ha="right" if is_right else "left",
            color=INK,
        )


def _name_series(plot: Axes, names: Sequence[str], drawn: Sequence[Any], guides: Guides) -> None:
    """Put a legend above the plot and the guide lines' labels; a single series needs none."""
    if len(names) > 1:
        above = 0.3 + LINE / 12 * len(guides)
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
        short = [_short(name, 34) for name in names]
        legend = plot.legend(drawn, short, ncols=3, handlelength=2.4, borderaxespad=above, **place)
        _name_in_full(legend.get_texts(), names)


def _name_in_full(texts: Iterable[Text], names: Sequence[str]) -> None:
    """Show the whole name when the pointer rests on its text."""
    for text, name in zip(texts, names, strict=True):
        text.set_gid(_TITLE + _clean(name))


def _clean(text: str) -> str:
    """Text that XML can hold: no control character, no half of a character."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def _short(text: str, chars: int) -> str:
    clean = _clean(text)
    return clean if len(clean) <= chars else f"{clean[: chars - 1]}…"


def _svg(plot: Axes, title: str) -> str:
    """The figure as an element of the page: no address, no identifier, the page's colours."""
    file = io.BytesIO()
    figure = plot.get_figure(root=True)
    assert figure is not None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the page's fonts may have it
        figure.savefig(file, format="svg")
    root = ET.fromstring(re.sub(rb' xmlns="[^"]*"', b"", file.getvalue(), count=1))  # noqa: S314
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": _clean(title)}
    for element in list(root.iter()):
        _adapt(element)
    text = ET.tostring(root, encoding="unicode").replace("'", "&#x27;")
    return re.sub("|".join(VARIABLES), lambda color: f"var(--{VARIABLES[color[0]]})", text)


def _adapt(element: ET.Element) -> None:
    for child in list(element):
        # All is drawn within the axes: nothing has to be cut off.
        if child.tag == "metadata" or child.find("style") is not None or child.find("clipPath"):
            element.remove(child)
    element.attrib.pop("clip-path", None)
    if _HREF in element.attrib:
        element.set("href", element.attrib.pop(_HREF))
    elif element.tag == "text":
        # The page says which fonts.
        element.set("style", re.sub(r"font[a-z-]*: [^;]*; ?", "", element.attrib["style"]))
    elif element.tag == "g":
        _, is_title, full = element.attrib.pop("id", "").partition(_TITLE)
        if is_title:
            title = ET.SubElement(element, "title")
            title.text = full
