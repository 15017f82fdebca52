"""The request log as figures: score histograms, drift between two windows, the shadow.

A request is *scored* when it has a score, and *escalated* when its score, or that of
a turn just before it, is why a stronger lane answered it. Shares are of the scored
requests, as the router's own are.
"""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from classifier.heads import Floats
from classifier.report import figures
from classifier.report.labelled import by_group
from classifier.report.traffic import Mask, Traffic

ESCALATED = ("complex", "frontier", "sticky", "cascade")
# The threshold of the topmost lane is another one than that of the lane below.
TOP_LANE = "frontier"
MAX_TENANTS = 20
TIME_BINS = 96
HEAT_BINS = 30
SHARES = (0.01, 0.03, 0.05, 0.1, 0.2)


def of_traffic(traffic: Traffic, against: Traffic | None) -> dict[str, Any]:
    """Everything the report says of request logs."""
    scored = traffic.take(traffic.scored)
    return {
        "requests": len(traffic),
        "scored": len(scored),
        "files": traffic.files,
        "bad_lines": traffic.bad_lines + (against.bad_lines if against else 0),
        "without_time": int(np.isnan(traffic.time_s).sum()),
        "escalated": _share(escalated(scored)),
        "above": _share_above(scored),
        "thresholds": _threshold_levels(scored),
        "versions": dict(scored.counted("classifier")),
        "by_lane": by_group(scored.score, scored.codes["lane"], scored.names["lane"]),
        "by_reason": by_group(scored.score, scored.codes["reason"], scored.names["reason"]),
        "drift": _drift(traffic, against),
        "shadow": _shadow(traffic),
    }


def escalated(scored: Traffic) -> Mask:
    """Which of the scored requests a stronger lane answered, for score or for a weak beginning."""
    return scored.has("reason", ESCALATED)


# -- drift -------------------------------------------------------------------


def _drift(traffic: Traffic, against: Traffic | None) -> dict[str, Any] | None:
    """Two windows compared; None when one of them has no scored request."""
    if against is None:
        before, after = halves(traffic)
    else:
        before, after = against, traffic
    first, second = (window.score[window.scored] for window in (before, after))
    if len(first) == 0 or len(second) == 0:
        return None
    return {
        "halves": against is None,
        "before": _window(before),
        "after": _window(after),
        **figures.stability(first, second),
        "ks": figures.ks_distance(first, second),
        "tenants": _tenants(before, after),
        "tenants_left_out": max(0, len(after.take(after.scored).counted("tenant")) - MAX_TENANTS),
    }


def halves(traffic: Traffic) -> tuple[Traffic, Traffic]:
    """The scored requests with a time, cut at the median time into two equal parts."""
    known = np.flatnonzero(traffic.scored & ~np.isnan(traffic.time_s))
    order = known[np.argsort(traffic.time_s[known], kind="stable")]
    middle = len(order) // 2
    return traffic.take(order[:middle]), traffic.take(order[middle:])


def _window(window: Traffic) -> dict[str, Any]:
    scored = window.take(window.scored)
    up = escalated(scored)
    known = window.time_s[~np.isnan(window.time_s)]
    return {
        "scored": len(scored),
        "from": _moment(known.min()) if len(known) else None,
        "to": _moment(known.max()) if len(known) else None,
        "escalated": _share(up),
        "interval": list(figures.share_interval(int(up.sum()), len(up))),
        "above": _share_above(scored),
        "median_score": float(np.median(scored.score)),
        "p95_score": float(np.quantile(scored.score, 0.95)),
        "versions": dict(scored.counted("classifier")),
        "over_time": over_time(scored),
    }


def over_time(scored: Traffic) -> list[dict[str, Any]]:
    """Requests, escalated share and thresholds in equal steps of time; empty steps left out.

    `thresholds` has the 10 %, 50 % and 90 % levels of the lowest stronger lane,
    `top_threshold` the median of the topmost, where there are two.
    """
    window = scored.take(~np.isnan(scored.time_s))
    if len(window) == 0:
        return []
    begin, end = float(window.time_s.min()), float(window.time_s.max())
    step = max(end - begin, 1.0) / TIME_BINS
    place = np.minimum(((window.time_s - begin) / step).astype(np.int64), TIME_BINS - 1)
    order = np.argsort(place, kind="stable")
    filled, starts = np.unique(place[order], return_index=True)
    parts = np.split(order, starts[1:])
    return [
        {"time_s": begin + (number + 0.5) * step, **_step(window.take(rows))}
        for number, rows in zip(filled.tolist(), parts, strict=True)
    ]


def _step(part: Traffic) -> dict[str, Any]:
    threshold, top = part.numbers["threshold"], part.has("reason", [TOP_LANE])
    return {
        "requests": len(part),
        "escalated": _share(escalated(part)),
        "thresholds": _levels(threshold[~top], [0.1, 0.5, 0.9]),
        "top_threshold": next(iter(_levels(threshold[top], [0.5])), None),
    }


def _tenants(before: Traffic, after: Traffic) -> list[dict[str, Any]]:
    """The tenants with most scored requests in `after`, and their shares in both."""
    top = [name for name, _ in after.take(after.scored).counted("tenant")[:MAX_TENANTS]]
    sides = [_by_tenant(window, top) for window in (before, after)]
    return [
        {"tenant": name, "before": first, "after": second}
        for name, first, second in zip(top, *sides, strict=True)
    ]


def _by_tenant(window: Traffic, tenants: list[str]) -> list[dict[str, Any]]:
    scored = window.take(window.scored)
    up = escalated(scored)
    parts = [up[scored.has("tenant", [name])] for name in tenants]
    return [
        {
            "scored": len(part),
            "escalated": _share(part),
            "interval": list(figures.share_interval(int(part.sum()), len(part))),
        }
        for part in parts
    ]


# -- shadow ------------------------------------------------------------------


def _shadow(traffic: Traffic) -> dict[str, Any] | None:
    """The shadow beside the classifier that served; None without shadow scores.

    Only the most frequent pair of versions counts: scores of others do not compare.
    """
    both = traffic.take(traffic.scored & ~np.isnan(traffic.numbers["shadow_score"]))
    if len(both) == 0:
        return None
    pairs = np.stack([both.codes["classifier"], both.codes["shadow_classifier"]], axis=1)
    kinds, place, count = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    most = int(np.argmax(count))
    pair = both.take(place.reshape(-1) == most)
    served, shadow = pair.score, pair.numbers["shadow_score"]
    return {
        "requests": len(pair),
        "other_versions": len(both) - len(pair),
        "served_by": _named(both.names["classifier"], int(kinds[most][0])),
        "shadow": _named(both.names["shadow_classifier"], int(kinds[most][1])),
        "rank_correlation": figures.rank_correlation(served, shadow),
        **_at_threshold(pair),
        "at_shares": [
            _at_share(served, shadow, share) for share in SHARES if round(share * len(pair)) > 0
        ],
        "grid": _grid(served, shadow),
    }


def _at_threshold(pair: Traffic) -> dict[str, Any]:
    """What each would send up at the thresholds of the log, and how often they differ."""
    threshold = pair.numbers["threshold"]
    known = ~np.isnan(threshold)
    ups = [(pair.numbers[name] >= threshold)[known] for name in ("score", "shadow_score")]
    levels = _levels(threshold, [0.5])
    return {
        "threshold": levels[0] if levels else None,
        "served_above": _share(ups[0]),
        "shadow_above": _share(ups[1]),
        "differ_at_threshold": _share(ups[0] != ups[1]),
    }


def _at_share(served: Floats, shadow: Floats, share: float) -> dict[str, float]:
    differ = figures.disagreement(served, shadow, share)
    return {
        "share": share,
        "differ": differ,
        "same_of_top": 1.0 - differ * len(served) / (2 * round(share * len(served))),
        "served_threshold": float(np.quantile(served, 1.0 - share)),
        "shadow_threshold": float(np.quantile(shadow, 1.0 - share)),
    }


def _grid(served: Floats, shadow: Floats) -> list[list[int]]:
    """Requests by both scores: row = shadow, column = served, both from 0 to 1."""
    places = [np.minimum((s * HEAT_BINS).astype(np.int64), HEAT_BINS - 1) for s in (served, shadow)]
    counts = np.bincount(places[1] * HEAT_BINS + places[0], minlength=HEAT_BINS**2)
    grid: list[list[int]] = counts.reshape(HEAT_BINS, HEAT_BINS).tolist()
    return grid


# -- small parts -------------------------------------------------------------


def _share(mask: Mask) -> float | None:
    return float(mask.mean()) if len(mask) else None


def _share_above(scored: Traffic) -> float | None:
    """Of the requests with a threshold, those whose own score reaches it."""
    threshold = scored.numbers["threshold"]
    known = ~np.isnan(threshold)
    return _share(scored.score[known] >= threshold[known])


def _threshold_levels(scored: Traffic) -> list[float]:
    """5 %, 50 % and 95 % of the thresholds of the lowest stronger lane; or none."""
    return _levels(
        scored.numbers["threshold"][~scored.has("reason", [TOP_LANE])], [0.05, 0.5, 0.95]
    )


def _levels(values: Floats, levels: list[float]) -> list[float]:
    known = values[~np.isnan(values)]
    found: list[float] = np.quantile(known, levels).tolist() if len(known) else []
    return found


def _named(names: tuple[str, ...], code: int) -> str:
    return names[code] if code >= 0 else "unnamed"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
