"""A data set as matrices: bags of words and surface features, read once.

Everything that the model makes of words is a linear map of the bag, so n-grams
and word pieces are taken of each distinct word, not of each text.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from classifier.heads import Floats, Reading


@dataclass(frozen=True)
class Corpus:
    """Texts as the model sees them.

    Attributes:
        vocabulary: distinct words.
        bag: shape (texts, words): 1 + ln n for a word that occurs n times.
        surface: shape (texts, surface features).

    """

    vocabulary: list[bytes]
    bag: sparse.csr_matrix
    surface: Floats

    def take(self, rows: NDArray[np.bool_]) -> "Corpus":
        """The texts where `rows` is true; the vocabulary stays."""
        return Corpus(self.vocabulary, self.bag[rows], self.surface[rows])


def read_corpus(texts: Sequence[str]) -> Corpus:
    places: dict[bytes, int] = {}
    starts, columns, counts, seen = [0], [], [], []
    for text in texts:
        reading = Reading.of(text)
        for word, count in Counter(reading.words).items():
            columns.append(places.setdefault(word, len(places)))
            counts.append(count)
        starts.append(len(columns))
        seen.append(reading.surface)
    weights = 1.0 + np.log(np.array(counts, dtype=np.float64))
    bag = sparse.csr_matrix((weights, columns, starts), shape=(len(texts), len(places)))
    return Corpus(list(places), bag, np.array(seen))
