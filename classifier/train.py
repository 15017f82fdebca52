"""Offline training: a scikit-learn logistic regression, folded into an artefact.

A row with a tier counts as 0 (`easy`) or 1 (`complex`). A row with measured
outcomes lies between: 0.4 + 0.6 x gain, where gain = strong - weak clipped to
[0, 1], since even a benchmark question that both models answer is harder than
everyday support. Soft targets enter logistic regression as two weighted rows
each. Large sources are weighed down so that none speaks for all.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from classifier.artifact import Artifact
from classifier.dataset import Dataset, Floats
from classifier.metrics import weighted_quantile

VERSION = "surface-v1"
# These five were chosen by source-held-out cross-validation; see the model card.
C = 0.1
OUTCOME_BASE = 0.4
MAX_OUTCOME_ROWS = 6000
MAX_EASY_ROWS = 20_000
MAX_COMPLEX_ROWS = 1500
# The stated mix: 97 % everyday support and chat, 3 % complex.
COMPLEX_SHARE = 0.03
GRID = 1001


@dataclass(frozen=True)
class Fitted:
    """Logistic regression on raw features: the scaler is folded into it."""

    weights: Floats
    bias: float

    def __call__(self, features: Floats) -> Floats:
        """Scores in [0, 1], shape (rows,)."""
        scores: Floats = 1.0 / (1.0 + np.exp(-(features @ self.weights + self.bias)))
        return scores


def fit(data: Dataset) -> Fitted:
    """Train on every row that has a target."""
    features, target, weight = _targets(data)
    # Rounding can leave a constant column a variance just under 0; scikit-learn
    # then takes it for constant, as it is.
    with np.errstate(invalid="ignore"):
        scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    model = LogisticRegression(C=C, max_iter=2000, tol=1e-6)
    model.fit(
        np.vstack([scaled, scaled]),
        np.concatenate([np.ones(len(target)), np.zeros(len(target))]),
        sample_weight=np.concatenate([weight * target, weight * (1.0 - target)]),
    )
    # Rounded, so that the last bits of a BLAS do not decide the artefact's bytes.
    weights = np.round(model.coef_[0] / scaler.scale_, 9)
    bias = float(model.intercept_[0] - (model.coef_[0] / scaler.scale_) @ scaler.mean_)
    return Fitted(weights, round(bias, 9))


def train(data: Dataset, training: dict[str, Any]) -> Artifact:
    """Fit on everything and record the score quantiles of the stated mix."""
    fitted = fit(data)
    mix, weight = production_mix(data)
    scores = fitted(mix.features)
    quantiles = weighted_quantile(scores, weight, np.linspace(0.0, 1.0, GRID))
    return Artifact(
        version=VERSION,
        weights=tuple(fitted.weights.tolist()),
        bias=fitted.bias,
        quantiles=tuple(np.round(quantiles, 9).tolist()),
        training=training,
    )


def production_mix(data: Dataset) -> tuple[Dataset, Floats]:
    """Rows with a tier, weighed to 97 % easy and 3 % complex."""
    rows = data.take(np.isin(data.tier, ("easy", "complex")))
    is_complex = rows.tier == "complex"
    if not is_complex.any() or is_complex.all():
        message = "the threshold needs rows of both tiers, 'easy' and 'complex'"
        raise ValueError(message)
    weight = np.where(
        is_complex, COMPLEX_SHARE / is_complex.sum(), (1.0 - COMPLEX_SHARE) / (~is_complex).sum()
    )
    return rows, weight


def _targets(data: Dataset) -> tuple[Floats, Floats, Floats]:
    parts: list[tuple[Floats, Floats, Floats]] = []
    for source in np.unique(data.source):
        here = data.source == source
        measured = here & ~np.isnan(data.gain)
        gain = np.clip(data.gain[measured], 0, 1)
        target = OUTCOME_BASE + (1 - OUTCOME_BASE) * gain
        parts.append(_part(data, measured, target, MAX_OUTCOME_ROWS))
        for tier, value, most in (("easy", 0.0, MAX_EASY_ROWS), ("complex", 1.0, MAX_COMPLEX_ROWS)):
            rows = here & (data.tier == tier)
            parts.append(_part(data, rows, np.full(rows.sum(), value), most))
    features, target, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    return features, target, weight


def _part(
    data: Dataset, rows: NDArray[np.bool_], target: Floats, most: int
) -> tuple[Floats, Floats, Floats]:
    count = int(rows.sum())
    weight = np.full(count, min(1.0, most / count) if count else 0.0)
    return data.features[rows], target, weight
