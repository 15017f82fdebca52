"""Routing metrics of RouteLLM (arXiv 2406.18665, section 3).

Queries are sorted by score, highest first, and the top share x goes to the
strong model. The quality curve q(x) is the mean outcome at share x, and

    PGR(x) = (q(x) - q(0)) / (q(1) - q(0))
    APGR   = the area under PGR over x in [0, 1]
    CPT(p) = the smallest x with PGR(x) >= p

q(x) - q(0) is the running sum of the gains, strong - weak, so every figure is
a function of scores and gains. Queries that share a score enter in random
order on average: each takes the mean gain of its group, which makes the
figures independent of the order of the rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# RouteLLM's tables join eleven points, 0 to 100 %, by straight lines.
PAPER_BINS = 10


@dataclass(frozen=True, slots=True)
class RoutingMetrics:
    """APGR and the call shares, in [0, 1], that recover 50 and 80 % of the gap."""

    apgr: float
    cpt50: float
    cpt80: float


def pgr_curve(scores: Floats, gains: Floats) -> tuple[Floats, Floats]:
    """Shares x and PGR(x) at every 0, 1/n .. 1; both of shape (n + 1,)."""
    total = float(gains.sum())
    if len(gains) == 0 or total == 0.0:
        message = "PGR needs queries on which the strong model gains over the weak one"
        raise ValueError(message)
    _, group = np.unique(-scores, return_inverse=True)
    group_mean = np.bincount(group, weights=gains) / np.bincount(group)
    ordered = group_mean[np.sort(group)]
    shares = np.linspace(0.0, 1.0, len(gains) + 1)
    return shares, np.concatenate([[0.0], np.cumsum(ordered) / total])


def exact_metrics(scores: Floats, gains: Floats) -> RoutingMetrics:
    """The metrics on the curve through every query."""
    return _read_curve(*pgr_curve(scores, gains))


def binned_metrics(scores: Floats, gains: Floats) -> RoutingMetrics:
    """The metrics as in RouteLLM's tables: ten bins joined by straight lines."""
    shares, curve = pgr_curve(scores, gains)
    grid = np.linspace(0.0, 1.0, PAPER_BINS + 1)
    return _read_curve(grid, np.interp(grid, shares, curve))


def _read_curve(shares: Floats, curve: Floats) -> RoutingMetrics:
    return RoutingMetrics(
        apgr=float(np.trapezoid(curve, shares)),
        cpt50=_first_crossing(shares, curve, 0.5),
        cpt80=_first_crossing(shares, curve, 0.8),
    )


def _first_crossing(shares: Floats, curve: Floats, level: float) -> float:
    after = int(np.argmax(curve >= level))
    before = max(after - 1, 0)
    rise = curve[after] - curve[before]
    part = (level - curve[before]) / rise if rise > 0 else 1.0
    return float(shares[before] + part * (shares[after] - shares[before]))


def apgr_interval(
    scores: Floats,
    gains: Floats,
    rng: np.random.Generator,
    draws: int = 200,
    beside: Floats | None = None,
) -> tuple[float, float]:
    """A 95 % bootstrap interval of the exact APGR, over queries.

    With scores `beside`, of how much it is above theirs on the same queries.
    """

    def above(row: NDArray[np.int64]) -> float:
        apgr = exact_metrics(scores[row], gains[row]).apgr
        return apgr if beside is None else apgr - exact_metrics(beside[row], gains[row]).apgr

    rows = rng.integers(0, len(gains), size=(draws, len(gains)))
    values = [above(row) for row in rows if gains[row].sum() > 0]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def weighted_quantile(values: Floats, weights: Floats, levels: Floats) -> Floats:
    """Quantiles of a weighted sample: the first value whose mass reaches the level."""
    order = np.argsort(values, kind="stable")
    mass = np.cumsum(weights[order]) / weights.sum()
    places = np.searchsorted(mass, levels, side="left")
    quantiles: Floats = values[order][np.minimum(places, len(values) - 1)]
    return quantiles


def precision_at_share(
    scores: Floats, complex_rows: NDArray[np.bool_], weights: Floats, share: float
) -> float:
    """The complex mass within the top `share` of a weighted mix."""
    order = np.argsort(-scores, kind="stable")
    mass = weights[order] / weights.sum()
    taken = np.clip(share - (np.cumsum(mass) - mass), 0.0, mass)
    return float(taken[complex_rows[order]].sum() / share)
