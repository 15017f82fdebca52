"""The compiled classifier, in Python: numpy and the Rust tokenizer, nothing else.

`classifier.features._native` is the same in C, from the text to the heads; both have the same
tests.
"""

from math import sqrt
from types import ModuleType

from classifier.features.words import (
    KIND_GRAMS,
    NEED_GRAMS,
    NORM,
    PIECES,
    WEIGHTS,
    GramTables,
    WordTable,
    common_words,
    inner_pieces,
    most_words,
)
from classifier.heads import (
    FOREIGN_NON_ASCII,
    FOREIGN_PIECES,
    MIN_WORDS,
    Priors,
    Reading,
    Weights,
)
from classifier.scorer import Heads, PythonScorer, Scorer, lines_of


class CompiledScorer(PythonScorer):
    """The heads over character n-grams (TF-IDF), folded."""

    def __init__(self, version: str, grams: GramTables, weights: Weights, priors: Priors) -> None:
        super().__init__(version, weights, priors)
        self._words = WordTable(*grams)

    def _from_words(self, reading: Reading) -> tuple[float, float, float]:
        if not reading.words:
            return 0.0, 0.0, 0.0
        sums, weight = self._words.sums(reading.words)
        pieces_a_word = sums[PIECES] / weight
        if sums[NORM] <= 0.0:
            return 0.0, 0.0, pieces_a_word
        norm = sqrt(sums[NORM])
        return sums[NEED_GRAMS] / norm, sums[KIND_GRAMS] / norm, pieces_a_word


class NativeScorer(Scorer):
    """The same by its compiled twin, the module `native`."""

    def __init__(
        self, version: str, grams: GramTables, weights: Weights, priors: Priors, native: ModuleType
    ) -> None:
        super().__init__(version, weights, priors)
        common = common_words(grams.vocabulary)
        self._words = native.Lexicon(
            common,
            inner_pieces(grams.vocabulary),
            grams.keys,
            grams.rows,
            most_words(len(common)),
            WEIGHTS,
            lines_of(weights),
            (FOREIGN_PIECES, FOREIGN_NON_ASCII, MIN_WORDS),
        )

    def _heads(self, text: str) -> Heads:
        heads: Heads = self._words.heads(text)
        return heads

    def _told(self, text: str) -> tuple[Heads, list[float]]:
        told: tuple[Heads, list[float]] = self._words.told(text)
        return told
