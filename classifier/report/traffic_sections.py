"""Sections on request logs: score histograms, drift, the shadow."""

from collections.abc import Sequence
from math import isnan, nan
from typing import Any

from classifier.report.blocks import (
    NOTHING,
    figure,
    heading,
    missing,
    number,
    percent,
    percent_range,
    section,
    sentence,
    table,
)
from classifier.report.charts import (
    Bars,
    GuideLine,
    Line,
    bar_chart,
    heat_map,
    line_chart,
    linear_axis,
    time_axis,
)
from classifier.report.data_sections import HOW_TO_READ, histogram_chart
from classifier.report.findings import PSI_LARGE, PSI_MODERATE

NO_TRAFFIC = "Request logs are not shown here: none were given. Name them with --traffic."
NO_WINDOWS = (
    "There are no two windows with scored requests: --traffic needs some with a time, or "
    "--against a log to compare with."
)
NO_SHADOW = "No request of the log has both a score and a shadow score."


def histograms(traffic: dict[str, Any]) -> str:
    title = heading("Requests")
    if traffic["scored"] == 0:
        return title + sentence("No request of the log has a score.")
    levels = traffic["thresholds"]
    guides = [GuideLine(levels[1], "threshold, median of the log")] if levels else []
    spread = f" (5 % to 95 %: {levels[0]:.3f} to {levels[2]:.3f})" if levels else ""
    by_lane = figure(
        histogram_chart("Scores of requests by lane", traffic["by_lane"], guides),
        HOW_TO_READ,
        f"The threshold moves{spread}, so lanes overlap around it.",
    )
    by_reason = figure(
        histogram_chart("Scores of requests by reason", traffic["by_reason"], guides),
        "The same by the reason for the lane. 'sticky' requests stay with a stronger lane "
        "whatever their own score; 'yielded' ones were over the threshold and had no room.",
    )
    return title + by_lane + by_reason


# -- drift -------------------------------------------------------------------


def drift(traffic: dict[str, Any] | None) -> str:
    """Two windows compared: scores, shares, thresholds, tenants."""
    title, found = "Drift", traffic["drift"] if traffic else None
    if found is None:
        return missing("drift", title, NO_WINDOWS if traffic else NO_TRAFFIC)
    names = ("first half", "second half") if found["halves"] else ("before", "now")
    parts = [_windows(found, names), _ranges(found, names)]
    parts += [_over_time(found, names), _tenants(found, names)]
    return section("drift", title, *parts)


def _windows(found: dict[str, Any], names: Sequence[str]) -> str:
    sides = (found["before"], found["after"])
    facts = (
        ("from (UTC)", [_clock(side["from"]) for side in sides]),
        ("to (UTC)", [_clock(side["to"]) for side in sides]),
        ("scored requests", [f"{side['scored']:,}" for side in sides]),
        ("sent to a stronger lane", [percent(side["escalated"], 2) for side in sides]),
        ("95 % interval of that", [percent_range(side["interval"], 2) for side in sides]),
        ("scores above their threshold", [percent(side["above"], 2) for side in sides]),
        ("median score", [number(side["median_score"], 4) for side in sides]),
        ("95 % of scores are below", [number(side["p95_score"], 4) for side in sides]),
        ("classifier", [", ".join(side["versions"]) or NOTHING for side in sides]),
    )
    return table(("window", *names), [[what, *values] for what, values in facts])


def _clock(moment: str | None) -> str:
    """An ISO time in UTC, for people."""
    return NOTHING if moment is None else moment.removesuffix("+00:00").replace("T", " ")


def _ranges(found: dict[str, Any], names: Sequence[str]) -> str:
    ranges, ks = found["ranges"], found["ks"]
    sides = [[100 * r[key] for r in ranges] for key in ("before", "after")]
    chart = bar_chart(
        "Scores of both windows by range",
        [f"{r['from']:.4f} to {r['to']:.4f}" for r in ranges],
        linear_axis("share of the window's scored requests (%)", 0.0, max(map(max, sides))),
        [Bars(name, side) for name, side in zip(names, sides, strict=True)],
    )
    return heading("Scores") + figure(
        chart,
        "The ranges hold equal parts of both windows together, so without drift all bars are "
        f"equally long. PSI = {found['psi']:.3f}: under {PSI_MODERATE} is usually taken for no "
        f"shift, up to {PSI_LARGE} for a moderate one, above for a large one; chance alone gives "
        f"about {found['noise']:.4f} here. KS distance = {ks['ks']:.3f}: at a score of "
        f"{ks['at_score']:.4f} the two cumulative shares differ by {percent(ks['ks'])} of the "
        f"requests, their largest gap (0: same, 1: no overlap); chance alone stays under "
        f"{ks['noise']:.4f} in 19 of 20 cases. Requests of one conversation are alike, so true "
        "chance is somewhat larger than both.",
    )


def _over_time(found: dict[str, Any], names: Sequence[str]) -> str:
    first, second = found["before"]["over_time"], found["after"]["over_time"]
    if found["halves"]:
        guides = [GuideLine(second[0]["time_s"], "second half")] if second else []
        return _time_charts("", first + second, guides)
    return _time_charts(f", {names[0]}", first, ()) + _time_charts(f", {names[1]}", second, ())


def _time_charts(window: str, steps: list[dict[str, Any]], guides: Sequence[GuideLine]) -> str:
    title = f"Threshold and share over time{window}"
    if not steps:
        return heading(title) + sentence("No request of this window has a time.")
    return heading(title) + _thresholds(title, steps, guides) + _shares(title, steps, guides)


def _thresholds(title: str, steps: list[dict[str, Any]], guides: Sequence[GuideLine]) -> str:
    known = [step for step in steps if step["thresholds"]]
    if not known:
        return sentence("The log has no thresholds.")
    times = [step["time_s"] for step in known]
    low, middle, high = ([step["thresholds"][n] for step in known] for n in range(3))
    lines = [Line("threshold", times, middle, low, high)]
    tops = [step for step in steps if step["top_threshold"] is not None]
    if tops:
        line = Line("topmost lane", [s["time_s"] for s in tops], [s["top_threshold"] for s in tops])
        lines.append(line)
    most = max([*high, *(step["top_threshold"] for step in tops)])
    x = time_axis([step["time_s"] for step in steps])
    chart = line_chart(title, x, linear_axis("threshold (score)", 0.0, most), lines, guides)
    return figure(
        chart,
        "The score that a request had to reach, median of each step of time; the band holds the "
        "middle 80 % (tenants and replicas differ). A threshold that climbs while the share "
        "below stays level means that scores rise.",
    )


def _shares(title: str, steps: list[dict[str, Any]], guides: Sequence[GuideLine]) -> str:
    shares = [100 * step["escalated"] for step in steps]
    times = [step["time_s"] for step in steps]
    chart = line_chart(
        f"{title}: share",
        time_axis(times),
        linear_axis("sent to a stronger lane (%)", 0.0, max(1.0, *shares)),
        [Line("share", times, shares)],
        guides,
    )
    fewest = min(step["requests"] for step in steps)
    return figure(
        chart,
        "Scored requests that a stronger lane answered (reason complex, frontier, sticky or "
        f"cascade). The emptiest step has {fewest:,} scored requests; steps with few "
        "jump by chance.",
    )


def _tenants(found: dict[str, Any], names: Sequence[str]) -> str:
    rows, overall = found["tenants"], found["after"]["escalated"]
    if not rows:
        return heading("Tenants") + sentence("The log names no tenants.")
    groups = [_tenant_bars(rows, key, n) for key, n in zip(("before", "after"), names, strict=True)]
    most = max([1.0, 100 * overall, *(value for bars in groups for value in _drawn(bars))])
    chart = bar_chart(
        "Share of each tenant",
        [row["tenant"] for row in rows],
        linear_axis("sent to a stronger lane (% of the tenant's scored requests)", 0.0, most),
        groups,
        [GuideLine(100 * overall, f"everybody, {names[1]}: {percent(overall, 2)}")],
    )
    left_out = found["tenants_left_out"]
    more = f" {left_out:,} smaller tenants are left out." if left_out else ""
    headers = ("tenant", "requests", f"share, {names[0]}", f"share, {names[1]}", "against all")
    return (
        heading("Tenants")
        + figure(
            chart,
            f"The {len(rows)} tenants with most scored requests in the later window; whiskers "
            "are 95 % intervals. A whisker that does not reach the dashed line is a tenant "
            f"unlike the others.{more}",
        )
        + table(headers, [_tenant_row(row, overall) for row in rows])
    )


def _tenant_bars(rows: list[dict[str, Any]], key: str, name: str) -> Bars:
    sides = [row[key] for row in rows]
    shares = [nan if s["escalated"] is None else 100 * s["escalated"] for s in sides]
    low, high = ([100 * side["interval"][n] for side in sides] for n in range(2))
    return Bars(name, shares, low, high)


def _drawn(bars: Bars) -> list[float]:
    """Ends of the whiskers, as far as they must be seen: twice the bar for wide ones."""
    pairs = zip(bars.values, bars.high, strict=True)
    return [min(high, 2 * value + 2.0) for value, high in pairs if not isnan(value)]


def _tenant_row(row: dict[str, Any], overall: float) -> list[str]:
    after = row["after"]["escalated"]
    return [
        row["tenant"],
        f"{row['after']['scored']:,}",
        percent(row["before"]["escalated"], 2),
        percent(after, 2),
        f"{100 * (after - overall):+.2f} points",
    ]


# -- shadow ------------------------------------------------------------------


def shadow(traffic: dict[str, Any] | None) -> str:
    title, found = "Shadow", traffic["shadow"] if traffic else None
    if found is None:
        return missing("shadow", title, NO_SHADOW if traffic else NO_TRAFFIC)
    intro = sentence(
        f"{found['shadow']} scored {found['requests']:,} requests in the shadow of "
        f"{found['served_by']}. Rank correlation: {number(found['rank_correlation'])} "
        "(1: the same order, 0: none). At the thresholds of the log "
        f"{found['served_by']} is above on {percent(found['served_above'], 2)} of the requests, "
        f"the shadow on {percent(found['shadow_above'], 2)}, and they differ on "
        f"{percent(found['differ_at_threshold'], 2)}."
    )
    others = found["other_versions"]
    more = sentence(f"{others:,} requests scored by other versions are left out.") if others else ""
    return section("shadow", title, intro, more, _both_scores(found), _at_shares(found))


def _both_scores(found: dict[str, Any]) -> str:
    level = found["threshold"]
    chart = heat_map(
        "Both scores",
        linear_axis(f"score of {found['served_by']}", 0.0, 1.0),
        linear_axis(f"score of {found['shadow']}", 0.0, 1.0),
        found["grid"],
        [GuideLine(level, "threshold, median of the log")] if level is not None else (),
    )
    return figure(
        chart,
        "Where the two agree, cells lie on the diagonal from lower left to upper right. Cells "
        "in the upper left are requests that only the shadow takes for complex, cells in the "
        "lower right those that only the serving classifier does.",
    )


def _at_shares(found: dict[str, Any]) -> str:
    headers = (
        "both send up",
        "threshold, serving",
        "threshold, shadow",
        "differ on",
        "same of top",
    )
    rows = [
        [
            percent(row["share"], 0),
            number(row["served_threshold"], 4),
            number(row["shadow_threshold"], 4),
            percent(row["differ"], 2),
            percent(row["same_of_top"]),
        ]
        for row in found["at_shares"]
    ]
    text = (
        "At equal shares, how often would the lane change? 'differ on' is the share of all "
        "requests that only one of the two sends up, 'same of top' the part of the top that both "
        "have in common."
    )
    return sentence(text) + table(headers, rows)
