"""Intervals of shares and of ratios of sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 21
"""Counts that are held at once: 16 MB."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and what it may be."""

    value: float
    low: float
    high: float


def wilson(successes: float, trials: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a share (E. B. Wilson, 1927); `trials` is 1 or more."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    half /= 1 + z * z / trials
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def resampled_sums(
    columns: Sequence[Sequence[float]], *, resamples: int, seed: int
) -> NDArray[np.float64]:
    """Return each column's sum over cases drawn with replacement; shape (resamples, columns).

    The draws depend on the number of cases and the seed alone.
    """
    values = np.array(columns, dtype=np.float64).T
    cases = len(values)
    rng = np.random.default_rng(seed)
    each = max(1, _CHUNK // cases)
    sums = []
    for begun in range(0, resamples, each):
        rows = min(each, resamples - begun)
        drawn = rng.multinomial(cases, np.full(cases, 1 / cases), size=rows)
        sums.append(drawn @ values)
    return np.concatenate(sums)
