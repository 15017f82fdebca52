"""Labelled rows as figures: quality curves, score histograms, calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.artifact import Artifact
from classifier.heads import Floats
from classifier.report import figures
from classifier.training.dataset import Dataset

CLASSIFIER, LENGTH, RANDOM, ORACLE = "classifier", "prompt length", "random", "oracle"
# Histograms of more groups than this cannot be told apart.
MAX_GROUPS = 6
# Expected of production: three in a hundred queries are complex.
STATED_SHARE = 0.03


def of_data(data: Dataset, scores: Floats, artifact: Artifact) -> dict[str, Any]:
    """Everything the report says of labelled rows."""
    threshold = artifact.threshold_for_share(STATED_SHARE)
    return {
        "rows": len(data),
        "measured": int(data.measured.sum()),
        "threshold": threshold,
        "tiers": _above_by_tier(data, scores, threshold),
        "quality": quality(data, scores, _taught_sources(artifact)),
        "by_tier": by_group(scores, np.where(data.tier == "", "no tier", data.tier)),
        "by_source": by_group(scores, data.source),
        "calibration": calibration(data, scores),
    }


def quality(data: Dataset, scores: Floats, taught: set[str]) -> list[dict[str, Any]]:
    """Each source with outcomes: what the classifier and three baselines recover.

    `methods` is None where the strong model gains nothing: there is no gap to recover.
    """
    rows = []
    for source in np.unique(data.source[data.measured]):
        inside = data.measured & (data.source == source)
        part = data.take(inside)
        rows.append(
            {
                "source": str(source),
                "rows": len(part),
                "weak": float(part.weak.mean()),
                "strong": float(part.strong.mean()),
                "trained_on": str(source) in taught,
                "methods": _methods(part, scores[inside]) if part.gain.sum() > 0 else None,
            }
        )
    return rows


def _methods(part: Dataset, scores: Floats) -> dict[str, Any]:
    length = np.array([float(len(text)) for text in part.text])
    return {
        CLASSIFIER: figures.ranked(scores, part.gain, interval=True),
        LENGTH: figures.ranked(length, part.gain, interval=True),
        RANDOM: figures.ranked(np.zeros(len(part)), part.gain),
        ORACLE: figures.ranked(part.gain, part.gain),
    }


def calibration(data: Dataset, scores: Floats) -> dict[str, Any] | None:
    """Reliability on all measured rows, and ECE by source; None without outcomes."""
    measured = data.measured
    if not measured.any():
        return None
    outcome = np.clip(data.gain[measured], 0.0, 1.0)
    source, score = data.source[measured], scores[measured]
    names = np.unique(source)
    return {
        **figures.reliability(score, outcome),
        "sources": [
            {"source": str(name), **_without_bins(score[source == name], outcome[source == name])}
            for name in names
        ],
    }


def _without_bins(score: Floats, outcome: Floats) -> dict[str, Any]:
    return {k: v for k, v in figures.reliability(score, outcome).items() if k != "bins"}


def by_group(
    scores: Floats, group: NDArray[Any], names: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """A histogram of each group, the largest first; small ones together at the end.

    `group` has shape (rows,): names, or with `names` places in it (-1: none).
    """
    keys, place, count = np.unique(group, return_inverse=True, return_counts=True)
    order = np.argsort(-count, kind="stable")
    large = order if len(keys) <= MAX_GROUPS else order[: MAX_GROUPS - 1]
    titles = [(*names, "none")[key] for key in keys] if names else [str(key) for key in keys]
    groups = [(titles[number], place == number) for number in large]
    if len(large) < len(keys):
        groups.append((f"{len(keys) - len(large)} others", ~np.isin(place, large)))
    return [
        {
            "name": name,
            "rows": int(inside.sum()),
            "shares": figures.histogram(scores[inside]).tolist(),
        }
        for name, inside in groups
    ]


def _above_by_tier(data: Dataset, scores: Floats, threshold: float) -> list[dict[str, Any]]:
    return [
        {
            "tier": str(tier) or "no tier",
            "rows": int((data.tier == tier).sum()),
            "above": float((scores[data.tier == tier] >= threshold).mean()),
        }
        for tier in np.unique(data.tier)
    ]


def _taught_sources(artifact: Artifact) -> set[str]:
    """Sources that the artefact says it was trained on, if it says so."""
    rows = artifact.training.get("rows")
    return set(rows) if isinstance(rows, dict) else set()
