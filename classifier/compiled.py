"""The compiled classifier: numpy and the Rust tokenizer, nothing else."""

from math import sqrt

import numpy as np

from classifier.features.words import (
    KIND_GRAMS,
    NEED_GRAMS,
    NORM,
    PIECES,
    WordTable,
)
from classifier.heads import HEADS, KIND, NEED, Floats, Priors, Reading, Weights
from classifier.scorer import Scorer


class CompiledScorer(Scorer):
    """The heads over character n-grams (TF-IDF), folded."""

    def __init__(self, version: str, words: WordTable, weights: Weights, priors: Priors) -> None:
        super().__init__(version, weights, priors)
        self._words = words

    def _from_words(self, reading: Reading) -> tuple[Floats, float]:
        if not reading.words:
            return np.zeros(len(HEADS)), 0.0
        sums, weight = self._words.sums(reading.words)
        return linear_parts(sums), float(sums[PIECES]) / weight


def linear_parts(sums: Floats) -> Floats:
    """What the words add to the heads, from the sums over words."""
    part = np.zeros(len(HEADS))
    if sums[NORM] > 0.0:
        norm = sqrt(sums[NORM])
        part[NEED], part[KIND] = sums[NEED_GRAMS] / norm, sums[KIND_GRAMS] / norm
    return part
