"""The numbers of a report: arrays in, numbers out.

Scores are in [0, 1], shares too. Every function takes any order of rows.
"""

from typing import Any

import numpy as np

from classifier.heads import Floats
from classifier.training.metrics import apgr_interval, exact_metrics, pgr_curve

HISTOGRAM_BINS = 40
RELIABILITY_BINS = 15
CURVE_POINTS = 101
# Equal parts of the two windows together; ten is usual for this index.
STABILITY_BINS = 10
# Two-sided 95 % point of a normal variable, and of Kolmogorov's distribution.
_NORMAL_95 = 1.96
_KOLMOGOROV_95 = 1.36
# A bootstrap of fewer rows says nothing.
_MIN_INTERVAL_ROWS = 20

Interval = tuple[float, float]


def histogram(scores: Floats, bins: int = HISTOGRAM_BINS) -> Floats:
    """The share of the scores in each of `bins` equal parts of [0, 1], shape (bins,)."""
    places = np.minimum((scores * bins).astype(np.int64), bins - 1)
    return np.bincount(places, minlength=bins) / max(1, len(scores))


def ranked(scores: Floats, gains: Floats, *, interval: bool = False) -> dict[str, Any]:
    """APGR, CPT50, CPT80 and the PGR curve at 0, 1 .. 100 % of the queries."""
    metrics = exact_metrics(scores, gains)
    shares, curve = pgr_curve(scores, gains)
    known = interval and len(gains) >= _MIN_INTERVAL_ROWS
    rng = np.random.default_rng(0)
    return {
        "apgr": metrics.apgr,
        "apgr_interval": list(apgr_interval(scores, gains, rng)) if known else None,
        "cpt50": metrics.cpt50,
        "cpt80": metrics.cpt80,
        "pgr": np.interp(np.linspace(0.0, 1.0, CURVE_POINTS), shares, curve).tolist(),
    }


def reliability(probability: Floats, outcome: Floats) -> dict[str, Any]:
    """ECE, and the mean score and outcome of each bin that has rows.

    `half_width` is half the 95 % interval of a bin's mean outcome.
    """
    bins = RELIABILITY_BINS
    places = np.minimum((probability * bins).astype(np.int64), bins - 1)
    count = np.bincount(places, minlength=bins)
    filled = np.flatnonzero(count)
    rows = count[filled]
    score = np.bincount(places, probability, bins)[filled] / rows
    mean = np.bincount(places, outcome, bins)[filled] / rows
    square = np.bincount(places, outcome**2, bins)[filled] / rows
    spread = np.sqrt(np.maximum(square - mean**2, 0.0) / rows)
    return {
        "rows": len(outcome),
        "ece": float(np.abs(mean - score) @ rows / max(1, len(outcome))),
        "mean_score": float(probability.mean()) if len(outcome) else None,
        "mean_outcome": float(outcome.mean()) if len(outcome) else None,
        "bins": [
            {"score": s, "outcome": m, "half_width": h, "rows": r}
            for s, m, h, r in zip(
                score.tolist(),
                mean.tolist(),
                (_NORMAL_95 * spread).tolist(),
                rows.tolist(),
                strict=True,
            )
        ],
    }


def stability(before: Floats, after: Floats) -> dict[str, Any]:
    """The population stability index of two windows, and the parts it is the sum of.

    The scores of both windows together are cut into ten ranges of equal mass; then
    PSI = sum of (q - p) ln(q / p) over the ranges. Half a row is added to each range,
    so that an empty one costs much and not everything. `noise` is the value that
    two windows of the same traffic would show on average.
    """
    levels = np.arange(1, STABILITY_BINS) / STABILITY_BINS
    together = np.concatenate([before, after])
    edges = np.unique(np.quantile(together, levels))
    counts = [_counts(window, edges) for window in (before, after)]
    filled = (counts[0] + counts[1]) > 0
    rows = [count[filled] for count in counts]
    p, q = ((count + 0.5) / (count.sum() + 0.5 * len(count)) for count in rows)
    parts = (q - p) * np.log(q / p)
    ends = np.concatenate([[0.0], edges, [1.0]])
    shares = [count / max(1, count.sum()) for count in rows]
    return {
        "psi": float(parts.sum()),
        "noise": float((len(parts) - 1) * (1 / len(before) + 1 / len(after))),
        "ranges": [
            {"from": low, "to": high, "before": a, "after": b, "part": part}
            for low, high, a, b, part in zip(
                ends[:-1][filled].tolist(),
                ends[1:][filled].tolist(),
                *(share.tolist() for share in shares),
                parts.tolist(),
                strict=True,
            )
        ],
    }


def _counts(window: Floats, edges: Floats) -> Floats:
    places = np.searchsorted(edges, window, side="right")
    return np.bincount(places, minlength=len(edges) + 1).astype(np.float64)


def ks_distance(before: Floats, after: Floats) -> dict[str, float]:
    """The largest gap between two cumulative distributions, and where it is.

    `noise` is passed by one in twenty pairs of windows of the same traffic.
    """
    first, second = np.sort(before), np.sort(after)
    points = np.concatenate([first, second])
    gaps = np.abs(
        np.searchsorted(first, points, side="right") / len(first)
        - np.searchsorted(second, points, side="right") / len(second)
    )
    place = int(np.argmax(gaps))
    return {
        "ks": float(gaps[place]),
        "at_score": float(points[place]),
        "noise": _KOLMOGOROV_95 * (1 / len(before) + 1 / len(after)) ** 0.5,
    }


def share_interval(count: int, total: int) -> Interval:
    """Wilson's 95 % interval of a share; (0, 1) of nothing."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = count / total, _NORMAL_95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _NORMAL_95 * (share * (1 - share) / total + z2 / (4 * total**2)) ** 0.5
    half /= 1 + z2 / total
    # Rounding must not put a share of 0 or 1 outside of its interval.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def rank_correlation(first: Floats, second: Floats) -> float | None:
    """Spearman's, in [-1, 1]; None when one of the two never varies."""
    from scipy.stats import rankdata

    ranks = [rankdata(first), rankdata(second)]
    if len(first) == 0 or any(np.ptp(rank) == 0.0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def disagreement(first: Floats, second: Floats, share: float) -> float:
    """The share of rows that only one of the two has in its top `share`.

    At most 2 x share. Rows of equal score are taken in the order given, the same
    for both, so that ties alone never count as disagreement.
    """
    top = round(share * len(first))
    ups = []
    for scores in (first, second):
        up = np.zeros(len(scores), dtype=bool)
        up[np.argsort(-scores, kind="stable")[:top]] = True
        ups.append(up)
    return float((ups[0] != ups[1]).mean()) if len(first) else 0.0
