"""Isotonic calibration that keeps the order strict, and its error."""

import numpy as np
from sklearn.isotonic import IsotonicRegression

from classifier.artifact import Artifact
from classifier.features.conversation import Conversation
from classifier.heads import Floats
from classifier.training.dataset import Dataset

BINS = 15
# Isotonic regression of fewer yes-or-no outcomes is mostly noise.
MIN_LABELS = 200
# A step of the map rests on at least this share of the rows, so that a handful of
# lucky ones at the top do not make a probability of a half.
STEP = 0.01
# Raw scores below the first block and above the last keep their order.
_EDGE = 1e-4


def fit_knots(raw: Floats, outcome: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """A strictly rising map from raw score in (0, 1) to probability, as knots.

    Isotonic regression gives flat blocks, which would make ties of scores that
    differ; straight lines between the blocks' centres keep the order (centred
    isotonic regression, Oron and Flournoy 2017).
    """
    x, y, w = _steps(raw, outcome, weight)
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(x, y, sample_weight=w)
    _, block = np.unique(fitted, return_inverse=True)
    mass = np.bincount(block, w)
    centre = np.bincount(block, w * x) / mass
    level = np.bincount(block, w * fitted) / mass
    inside = (centre > 0.0) & (centre < 1.0)
    centre, level = centre[inside], level[inside]
    top = min(1.0, float(level[-1]) + _EDGE)
    knots_x = np.concatenate([[0.0], centre, [1.0]])
    knots_y = np.concatenate([[0.0], np.clip(level, _EDGE / 2, 1.0 - _EDGE / 2), [top]])
    # Rounded upwards in steps, so that every knot is above the one before it.
    knots_y = np.maximum.accumulate(knots_y + np.arange(len(knots_y)) * 1e-9)
    return np.round(knots_x, 9), np.round(np.minimum(knots_y, 1.0), 9)


def _steps(raw: Floats, outcome: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Rows put together, in the order of their scores, in steps of equal weight.

    Equal scores stay together. Returns mean scores, mean outcomes and weights.
    """
    scores, place = np.unique(np.round(raw, 9), return_inverse=True)
    after = np.cumsum(np.bincount(place, weight)) / weight.sum()
    step = np.unique(np.ceil(after / STEP - 1e-9), return_inverse=True)[1][place]
    mass = np.bincount(step, weight).astype(np.float64)
    x = np.bincount(step, weight * scores[place]) / mass
    return x, np.bincount(step, weight * outcome) / mass, mass


def knots_of_labels(artifact: Artifact, data: Dataset) -> tuple[Floats, Floats]:
    """The map fitted to an operator's own labels, which the artefact never saw."""
    rows = data.take(data.measured)
    if len(rows) < MIN_LABELS:
        message = f"{len(rows)} rows have 'weak' and 'strong'; {MIN_LABELS} are needed"
        raise ValueError(message)
    scorer = artifact.scorer()
    raw = np.array([scorer.raw(Conversation(last_user=text)) for text in rows.text])
    return fit_knots(raw, np.clip(rows.gain, 0, 1), np.ones(len(rows)))


def expected_error(probability: Floats, outcome: Floats, bins: int = BINS) -> float:
    """ECE: mean |outcome - probability| over bins of equal width, by their rows."""
    places = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(places, minlength=bins)
    gap = np.bincount(places, outcome - probability, minlength=bins)
    return float(np.abs(gap).sum() / max(1, count.sum()))
