"""A table of words: what each contributes to the score, computed once a word.

Theory of operation. The model is linear in a bag of words, so a text's score
needs only a handful of sums over its words. A word's row has the contributions of
its character n-grams (folded TF-IDF weights) and the number of its word pieces, by
which other languages are told; the row is computed when the word is first seen and
remembered. Common words are computed when the artefact is loaded, so that a
running router mostly looks words up.

The memory is bounded: at `MAX_WORDS` the table goes back to the common words.

Sums are made in a fixed order, one term after the other, and without numpy's products of matrices,
whose order depends on the machine: the compiled twin (`_native.pyx`) gives the same bits.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.features.grams import windows
from classifier.features.pieces import INSIDE, WordPieces
from classifier.features.reading import HEAD_CHARS, MOST_WORDS, TAIL_CHARS
from classifier.heads import Floats

MAX_WORDS = 40_000
# Words computed at once: what is held meanwhile stays small.
_PART = 256

# Columns of a word's row.
NORM, NEED_GRAMS, KIND_GRAMS, PIECES = range(4)
COLUMNS = 4

# What a word weighs that occurs so often (sublinear term frequency): 1 + ln n. No text that is
# read has more words than this.
WEIGHTS: list[float] = [0.0, *(1.0 + np.log(np.arange(1, HEAD_CHARS + TAIL_CHARS + 2))).tolist()]


class GramTables(NamedTuple):
    """What a word's row is computed from.

    Attributes:
        vocabulary: word pieces to their ids.
        keys: packed n-grams, ascending, shape (n-grams,).
        rows: shape (n-grams, 3): squared idf, then idf x weight in `need` and `kind`.

    """

    vocabulary: Mapping[str, int]
    keys: NDArray[np.uint64]
    rows: NDArray[np.float32]


class WordTable:
    """Rows of contributions by word; see `GramTables`."""

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        gram_keys: NDArray[np.uint64],
        gram_rows: NDArray[np.float32],
    ) -> None:
        self._pieces = WordPieces(vocabulary)
        # What is in no table finds the last row, which is zeros; no n-gram has its key.
        self._gram_keys = np.append(gram_keys, np.uint64(2**64 - 1))
        nothing = np.zeros((1, gram_rows.shape[1]), gram_rows.dtype)
        self._gram_rows = np.vstack([gram_rows, nothing])
        common = common_words(vocabulary)
        self._most = most_words(len(common))
        self._rows = np.zeros((self._most, COLUMNS))
        self._place: dict[bytes, int] = {}
        self._add(common)
        self._common = len(self._place)

    def __len__(self) -> int:
        return len(self._place)

    def sums(self, words: Sequence[bytes]) -> tuple[list[float], float]:
        """Sums of the words' rows and of their weights.

        A word that occurs n times weighs 1 + ln n (sublinear term frequency).
        There are COLUMNS sums.
        """
        counts = Counter(words)
        try:
            places = list(map(self._place.__getitem__, counts))
        except KeyError:
            places = self._with_unseen(counts)
        weights = list(map(WEIGHTS.__getitem__, counts.values()))
        rows = self._rows.take(places, 0)
        rows *= np.array(weights).reshape(-1, 1)
        # Along the first axis numpy adds row by row, along the last one in pairs.
        total: list[float] = np.add.reduce(rows, 0).tolist()
        return total, reduce(add, weights)

    def _with_unseen(self, words: Collection[bytes]) -> list[int]:
        """The words' rows, after those were added that had none."""
        unseen = [word for word in words if word not in self._place]
        if len(self._place) + len(unseen) > self._most:
            self._forget()
            unseen = [word for word in words if word not in self._place]
        self._add(unseen)
        return list(map(self._place.__getitem__, words))

    def _forget(self) -> None:
        """Back to the common words, which were added first."""
        common = list(self._place)[: self._common]
        self._place = {word: place for place, word in enumerate(common)}

    def _add(self, words: Sequence[bytes]) -> None:
        for begin in range(0, len(words), _PART):
            part = words[begin : begin + _PART]
            place = len(self._place)
            self._rows[place : place + len(part)] = self.rows(part)
            self._place.update((word, place + number) for number, word in enumerate(part))

    def rows(self, words: Sequence[bytes]) -> Floats:
        """Contributions of `words`, none of them empty, shape (words, COLUMNS)."""
        rows = np.zeros((len(words), COLUMNS))
        if not words:
            return rows
        keys, _ = windows(words)
        at_bytes = self._gram_rows.take(self._gram_places(keys), 0).sum(0, np.float64)
        # `np.add.reduceat` would add in pairs.
        owner = np.repeat(np.arange(len(words)), [len(word) + 2 for word in words])
        for column in range(NORM, PIECES):
            rows[:, column] = np.bincount(owner, at_bytes[:, column])
        rows[:, PIECES] = [len(self._pieces.of(word)) for word in words]
        return rows

    def _gram_places(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        places = self._gram_keys.searchsorted(keys)
        places[self._gram_keys.take(places) != keys] = len(self._gram_keys) - 1
        return places


def most_words(common: int) -> int:
    """How many words are remembered at most: beside the common ones those of one text at least."""
    return max(MAX_WORDS, common + MOST_WORDS)


def inner_pieces(vocabulary: Mapping[str, int]) -> list[bytes]:
    """The pieces inside words of letters and digits, without their mark."""
    pieces = (piece.removeprefix(INSIDE) for piece in vocabulary if piece.startswith(INSIDE))
    return [piece.encode() for piece in pieces if piece.isascii() and piece.isalnum()]


def common_words(vocabulary: Mapping[str, int]) -> list[bytes]:
    """The whole words of a vocabulary, in its order."""
    by_id = sorted(vocabulary.items(), key=lambda item: item[1])
    return [piece.encode() for piece, _ in by_id if piece.isascii() and piece.isalnum()]
