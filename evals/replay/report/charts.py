"""Small drawings of a report, as SVG within the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evals.replay.gate import Gate
from evals.replay.report.markup import Markup, element, joined

WIDTH, HEIGHT, EDGE = 640, 160, 34
LINE = 11
"""Of text: labels that are nearer would stand on each other."""


def interval(gate: Gate) -> Markup:
    """Return the ratio with its interval on a line from 0.5 to 1.2, and the bar it has to reach."""
    if gate.ratio is None:
        return Markup("")
    low, high = 0.5, 1.2

    def at(value: float) -> float:
        return round(200 * (min(max(value, low), high) - low) / (high - low), 1)

    ratio = gate.ratio
    parts = (
        _line(0, 10, 200, 10, "axis"),
        _line(at(gate.least_ratio), 1, at(gate.least_ratio), 19, "bar"),
        _line(at(ratio.low), 10, at(ratio.high), 10, "range"),
        element("circle", cx=at(ratio.value), cy=10, r=4, class_="dot"),
    )
    said = f"{ratio.value:.3f}, between {ratio.low:.3f} and {ratio.high:.3f}"
    return element(
        "svg", element("title", said), *parts, viewBox="-5 0 210 20", class_="interval", role="img"
    )


def trend(days: Sequence[str], lines: Mapping[str, Sequence[float | None]], bar: float) -> Markup:
    """Return F1 by day, from the lowest that is there up to 1, with the bar."""
    known = [x for values in lines.values() for x in values if x is not None]
    low = max(0.0, min([*known, bar]) - 0.05)
    across, down = (WIDTH - 2 * EDGE) / max(1, len(days) - 1), HEIGHT - 2 * EDGE

    def y(value: float) -> float:
        return round(EDGE / 2 + down * (1 - value) / (1 - low), 1)

    drawn: list[Markup] = [
        _line(EDGE, y(bar), WIDTH - EDGE, y(bar), "bar"),
        *(_label(2, y(x) + 4, f"{x:.2f}") for x in sorted({bar, round(low, 2)})),
    ]
    if y(bar) - y(1.0) > LINE:
        drawn.append(_label(2, y(1.0) + 4, "1.00"))
    for number, (name, values) in enumerate(lines.items()):
        points = [
            (round(EDGE + at * across, 1), y(x)) for at, x in enumerate(values) if x is not None
        ]
        path = " ".join(f"{a},{b}" for a, b in points)
        drawn.append(element("polyline", points=path, class_=f"line l{number}"))
        drawn += [element("circle", cx=a, cy=b, r=3, class_=f"dot l{number}") for a, b in points]
        drawn.append(_label(EDGE + 170 * number, HEIGHT - 7, name, f"l{number}"))
    if days:
        drawn.append(_label(EDGE, HEIGHT - 22, days[0]))
        drawn.append(_label(WIDTH - EDGE - 62, HEIGHT - 22, days[-1]))
    return element(
        "svg", joined(*drawn), viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="trend", role="img"
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _label(x: float, y: float, said: str, kind: str = "") -> Markup:
    return element("text", said, x=x, y=y, class_=f"label {kind}".strip())
