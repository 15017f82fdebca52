"""Sections on labelled rows: quality curves, score histograms, calibration."""

from collections.abc import Sequence
from itertools import pairwise
from math import floor, log10, nan
from typing import Any

import numpy as np

from classifier.report.blocks import (
    NOTHING,
    figure,
    heading,
    missing,
    number,
    percent,
    section,
    sentence,
    table,
)
from classifier.report.charts import Axis, GuideLine, Line, line_chart, linear_axis
from classifier.report.figures import RELIABILITY_BINS
from classifier.report.labelled import CLASSIFIER, LENGTH, STATED_SHARE

NO_DATA = "Labelled rows are not shown here: none were given. Name them with --data."
NO_OUTCOMES = "No row has outcomes of both models ('weak' and 'strong')."
# Above this the oracle would squeeze the other curves; it is cut off there.
MAX_PGR = 150.0
# A curve that dips less than this below zero is drawn at zero.
MIN_PGR = -5.0


def quality(data: dict[str, Any] | None) -> str:
    """Curves of every source with outcomes, and a table of all."""
    title = "Quality curves"
    if data is None or not data["quality"]:
        return missing("quality", title, NO_OUTCOMES if data else NO_DATA)
    intro = sentence(
        "The gap between the weak and the strong model is what routing can recover. APGR is the "
        "mean share of it over all shares of calls, CPT50 and CPT80 the share of queries that "
        "must go to the strong model to recover 50 % and 80 %. Only the last user turn is scored."
    )
    rows = [cells for row in data["quality"] if row["methods"] for cells in _quality_rows(row)]
    headers = ("source", "by", "APGR", "95 % interval", "CPT50", "CPT80")
    curves = [_curves(row) for row in data["quality"]]
    return section("quality", title, intro, table(headers, rows, texts=2), *curves)


def _quality_rows(row: dict[str, Any]) -> list[list[str]]:
    return [
        [
            row["source"],
            name,
            number(method["apgr"]),
            " to ".join(map(number, method["apgr_interval"] or ())) or NOTHING,
            percent(method["cpt50"]),
            percent(method["cpt80"]),
        ]
        for name, method in row["methods"].items()
    ]


def _curves(row: dict[str, Any]) -> str:
    name = heading(f"{row['source']}: {row['rows']:,} rows")
    means = f"weak {percent(row['weak'])}, strong {percent(row['strong'])} right on average"
    if row["methods"] is None:
        return name + sentence(f"No curve: {means}, so there is no gap to recover.")
    curves = {by: 100 * np.array(method["pgr"]) for by, method in row["methods"].items()}
    close = np.concatenate([curves[CLASSIFIER], curves[LENGTH]])
    lowest, top = float(close.min()), max(float(curve.max()) for curve in curves.values())
    high = max(100.0, float(close.max()), min(MAX_PGR, top))
    chart = line_chart(
        f"Quality curves of {row['source']}",
        linear_axis("queries sent to the strong model (%)", 0.0, 100.0),
        linear_axis("gap recovered, PGR (%)", lowest if lowest < MIN_PGR else 0.0, high),
        [Line(by, np.linspace(0, 100, len(y)).tolist(), y.tolist()) for by, y in curves.items()],
    )
    best, length = (row["methods"][by] for by in (CLASSIFIER, LENGTH))
    return name + figure(
        chart,
        "Higher and further left is better: more of the gap for fewer calls.",
        f"Here {means}; the classifier recovers half of the gap with "
        f"{percent(best['cpt50'])} of the queries, prompt length with "
        f"{percent(length['cpt50'])}, chance with 50 %.",
        "The oracle knows the outcomes and passes 100 % where the weak model is sometimes the "
        "better one.",
        "Its line is cut off at the top of the chart." if top > high else "",
    )


def histograms(data: dict[str, Any]) -> str:
    guides = [
        GuideLine(data["threshold"], f"threshold for {percent(STATED_SHARE, 0)} of the stated mix")
    ]
    above = "; ".join(f"{row['tier']} {percent(row['above'])}" for row in data["tiers"])
    by_tier = figure(
        histogram_chart("Scores of labelled rows by tier", data["by_tier"], guides),
        HOW_TO_READ,
        f"Right of the threshold are: {above}.",
    )
    by_source = figure(
        histogram_chart("Scores of labelled rows by source", data["by_source"], guides),
        "The same by source. A source of complex queries should have its mass to the right, "
        "everyday traffic to the left.",
    )
    return heading("Labelled rows") + by_tier + by_source


HOW_TO_READ = (
    "Each line is the share of a group's rows in 40 equal ranges of the score. The scale is "
    "logarithmic: one step up is ten times as many, and no line means none."
)


def histogram_chart(
    title: str, groups: Sequence[dict[str, Any]], guides: Sequence[GuideLine] = ()
) -> str:
    """A step line for each group, in per cent of its rows."""
    shares = [share for group in groups for share in group["shares"] if share > 0]
    lowest = floor(log10(100 * min(shares, default=0.01)))
    y = Axis("share of the group's rows (%)", 10.0 ** max(-3, min(0, lowest)), 100.0, "log")
    lines = [_steps(f"{group['name']} ({group['rows']:,})", group["shares"]) for group in groups]
    return line_chart(title, linear_axis("score", 0.0, 1.0), y, lines, guides)


def _steps(name: str, shares: Sequence[float]) -> Line:
    edges = np.linspace(0.0, 1.0, len(shares) + 1).tolist()
    x = [edge for ends in pairwise(edges) for edge in ends]
    # Nothing has no logarithm: there the line is broken.
    y = [100 * share if share > 0 else nan for share in shares for _ in range(2)]
    return Line(name, x, y)


def calibration(data: dict[str, Any] | None) -> str:
    """The reliability diagram, and errors by source."""
    title, found = "Calibration", data["calibration"] if data else None
    if found is None:
        return missing("calibration", title, NO_OUTCOMES if data else NO_DATA)
    headers = ("source", "rows", "mean score", "mean outcome", "ECE")
    rows = [
        [
            row["source"],
            f"{row['rows']:,}",
            *(percent(row[key]) for key in ("mean_score", "mean_outcome", "ece")),
        ]
        for row in ({"source": "all", **found}, *found["sources"])
    ]
    return section("calibration", title, _reliability(found), table(headers, rows))


def _reliability(found: dict[str, Any]) -> str:
    bins = found["bins"]
    score, outcome = ([100 * b[key] for b in bins] for key in ("score", "outcome"))
    half = [100 * b["half_width"] for b in bins]
    spread = list(zip(outcome, half, strict=True))
    measured = Line(
        "measured, with 95 % interval",
        score,
        outcome,
        low=[max(0.0, mean - width) for mean, width in spread],
        high=[min(100.0, mean + width) for mean, width in spread],
        dots=True,
    )
    chart = line_chart(
        "Reliability diagram",
        linear_axis("mean score of the bin (%)", 0.0, 100.0),
        linear_axis("strong succeeds where weak fails (%)", 0.0, 100.0),
        [measured, Line("perfect", [0.0, 100.0], [0.0, 100.0])],
    )
    side = "too high" if found["mean_score"] > found["mean_outcome"] else "too low"
    largest = max(bins, key=lambda b: b["rows"])["rows"]
    return figure(
        chart,
        f"Each dot is one of {RELIABILITY_BINS} equal ranges of the score that has rows; the "
        f"fullest has {largest:,}. On the straight line a score of 30 % comes true in 30 of 100; "
        "below it scores are too high, above it too low.",
        f"Over all {found['rows']:,} rows they are {side} on average "
        f"({percent(found['mean_score'])} against {percent(found['mean_outcome'])}) and the mean "
        f"distance, weighted by rows, is ECE = {percent(found['ece'])}.",
    )
