"""Who should have been asked: how well prompts and signals tell which answers fail.

Rows are requests that a weak lane answered. A predictor gives each a number, the higher the
sooner the request should move. Predictors are fitted on all sources but one and judged on that
one, in turn: what holds on kinds of requests that nobody had labelled. Two judgements:

- AUC: the chance that a failed answer has a higher number than a right one (ties half), the
  Mann-Whitney statistic;
- the deferral curve: mean quality when the share x with the highest numbers goes to the stronger
  lane. Its area is APGR of `classifier.training.metrics`: 0.5 is chance. Where the stronger
  lane's outcomes are not known they count as right, which makes the curve a bound.

`beats` is the rule by which a signal may be switched on; it was written before there were
figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from classifier.training.metrics import exact_metrics

Array = np.ndarray[Any, Any]

RIDGE = 1.0
"""Penalty on the squared weights of standardised features, in units of one row's loss."""

DRAWS = 1000
SHARES = (0.03, 0.1, 0.2, 0.3, 0.5)
RIGHT = 0.5
"""A mean outcome at or above it counts as right for the AUC."""


@dataclass(frozen=True)
class Judged:
    """Requests and what became of them; every array has shape (rows,).

    Attributes:
        weak, strong: outcomes in [0, 1]; strong is 1 where it was not measured.
        features: by name; NaN where a row has none.

    """

    source: Array
    weak: Array
    strong: Array
    features: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.weak)

    @property
    def failed(self) -> Array:
        """What a predictor predicts, as 0 and 1."""
        found: Array = (self.weak < RIGHT).astype(float)
        return found

    @property
    def gain(self) -> Array:
        """What moving a request is worth."""
        return self.strong - self.weak

    def take(self, at: Array) -> Judged:
        """Return the rows at `at`, which may hold one more than once."""
        found = {name: values[at] for name, values in self.features.items()}
        return Judged(self.source[at], self.weak[at], self.strong[at], found)

    def matrix(self, names: Sequence[str]) -> Array:
        """The named features, shape (rows, names)."""
        return np.column_stack([self.features[name] for name in names])


@dataclass(frozen=True)
class Logistic:
    """A logistic regression on standardised features; a feature that is missing counts as usual."""

    mean: Array
    scale: Array
    weights: Array
    bias: float

    @classmethod
    def fitted(
        cls, features: Array, target: Array, weight: Array | None = None, *, steps: int = 25
    ) -> Logistic:
        """Fit by Newton's method with a ridge penalty; `features` is (rows, names)."""
        weight = np.ones(len(target)) if weight is None else weight
        mean, scale = _usual(features)
        known = np.column_stack([_standard(features, mean, scale), np.ones(len(target))])
        penalty = np.append(np.full(len(mean), RIDGE), 1e-6)
        weights = np.zeros(len(penalty))
        for _ in range(steps):
            chance = _sigmoid(known @ weights)
            slope = known.T @ (weight * (chance - target)) + penalty * weights
            spread = weight * chance * (1 - chance)
            curve = (known * spread[:, None]).T @ known + np.diag(penalty)
            step = np.linalg.solve(curve, slope)
            # A Newton step from 0 may overshoot where classes part; none needs to be longer.
            weights -= step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        return cls(mean, scale, weights[:-1], float(weights[-1]))

    def predict(self, features: Array) -> Array:
        """The chance of the target, shape (rows,)."""
        return _sigmoid(_standard(features, self.mean, self.scale) @ self.weights + self.bias)


def held_out(rows: Judged, names: Sequence[str]) -> Array:
    """How likely a failure is by features `names`, of each source by a fit on the others.

    Failed and right rows weigh alike in each fit. Otherwise the share of failures would be
    learned, which is lower among the others the higher it is in the source that is held out: a
    predictor that knows nothing would put the sources in the wrong order.

    Raises:
        ValueError: there is one source only, or a fit has only right or only failed rows.

    """
    sources = np.unique(rows.source)
    if len(sources) < 2:
        raise ValueError("holding a source out needs rows of two sources at least")
    features, failed = rows.matrix(names), rows.failed
    found = np.empty(len(rows))
    for source in sources:
        inside = rows.source == source
        if len(np.unique(failed[~inside])) < 2:
            raise ValueError(f"without source '{source}' all answers are right, or none is")
        taught, share = failed[~inside], failed[~inside].mean()
        weight = np.where(taught > 0, 0.5 / share, 0.5 / (1 - share))
        fitted = Logistic.fitted(features[~inside], taught, weight)
        found[inside] = fitted.predict(features[inside])
    return found


def auc(scores: Array, failed: Array) -> float:
    """Chance that a failed row has the higher score; NaN unless there are rows of both kinds."""
    bad = failed > 0.5
    if bad.all() or not bad.any():
        return float("nan")
    _, group, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[group]
    among = float(bad.sum())
    return float((ranks[bad].sum() - among * (among + 1) / 2) / (among * (len(bad) - among)))


def within(scores: Array, rows: Judged) -> float:
    """Mean of the AUC inside each source that has right and failed rows."""
    found = [auc(scores[at], rows.failed[at]) for at in _parts(rows.source)]
    return float(np.nanmean(found))


def area(scores: Array, rows: Judged) -> float:
    """APGR of the deferral curve."""
    return exact_metrics(scores, rows.gain).apgr


def quality(scores: Array, rows: Judged, share: float) -> float:
    """Mean quality when the `share` with the highest scores is answered by the stronger lane."""
    moved = np.argsort(-scores, kind="stable")[: round(share * len(rows))]
    return float((rows.weak.sum() + rows.gain[moved].sum()) / len(rows))


def resampled(rows: Judged, rng: np.random.Generator, draws: int = DRAWS) -> list[Array]:
    """Row numbers of bootstrap samples: sources are drawn, then rows inside each.

    Rows of one source are alike, so that drawing rows alone would make intervals too narrow.
    """
    parts = _parts(rows.source)
    return [
        np.concatenate([rng.choice(parts[at], len(parts[at])) for at in chosen])
        for chosen in rng.integers(0, len(parts), size=(draws, len(parts)))
    ]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def interval(value: float, drawn: Sequence[float]) -> Interval:
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """One predictor beside another on the same bootstrap samples.

    Attributes:
        better: the area's difference.
        wins: sources in which the AUC is higher, of `sources` that have both kinds of rows.

    """

    better: Interval
    wins: int
    sources: int


def compared(scores: Array, baseline: Array, rows: Judged, samples: Sequence[Array]) -> Comparison:
    outcomes = replace(rows, features={})
    drawn = []
    for at in samples:
        part = outcomes.take(at)
        drawn.append(area(scores[at], part) - area(baseline[at], part))
    pairs = [
        (auc(scores[at], rows.failed[at]), auc(baseline[at], rows.failed[at]))
        for at in _parts(rows.source)
    ]
    pairs = [pair for pair in pairs if not np.isnan(pair[0])]
    return Comparison(
        interval(area(scores, rows) - area(baseline, rows), drawn),
        sum(one > other for one, other in pairs),
        len(pairs),
    )


def beats(found: Comparison) -> bool:
    """Whether a predictor is better on sources it has not seen.

    The whole interval of the area's difference is over 0, and most sources agree: the mean
    could be one source's.
    """
    return found.better.low > 0 and found.wins > found.sources / 2


def _parts(source: Array) -> list[Array]:
    """Row numbers of each source."""
    return [np.flatnonzero(source == name) for name in np.unique(source)]


def _usual(features: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of each column's known values; 0 and 1 of none."""
    known = ~np.isnan(features)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, features, 0.0).sum(axis=0) / count
    scale = np.sqrt((np.where(known, features - mean, 0.0) ** 2).sum(axis=0) / count)
    # Rounding leaves a constant a scale of 1e-16 of it.
    return mean, np.where(scale > 1e-9, scale, 1.0)


def _standard(features: Array, mean: Array, scale: Array) -> Array:
    found: Array = np.nan_to_num((features - mean) / scale)
    return found


def _sigmoid(values: Array) -> Array:
    found: Array = 1.0 / (1.0 + np.exp(-np.clip(values, -40, 40)))
    return found
