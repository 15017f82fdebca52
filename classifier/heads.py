"""From two linear heads to one probability: what every kind of classifier shares.

Theory of operation. Two linear heads read the same text:

- `kind`: is this the kind of query that people bring to a strong model
  (mathematics, code, exams, long instructions) or everyday talk?
- `need`: among queries of one kind, how likely is it that the strong model
  succeeds where the weak one fails?

Each head adds the surface features and what the scorer makes of the words. Then

    raw = sigmoid(min(kind + prior, 1) + 0.2 need)

`kind` is in log-odds and tells everyday talk from the rest. It is capped, because past
the cap it says nothing more: among queries of the complex kind `need` alone decides. A
monotone map fitted by isotonic regression turns `raw` into a probability.

Both read each surface feature no further out than nearly all of the training rows reach:
a line fitted where they are says nothing of where none is, and a new kind of query is
often far out in one feature.

Words are English. Where they are not, `foreign` rises from 0 to 1 and both
heads pass over to versions of themselves that read these alone.
"""

from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from classifier.features.reading import cut, split_words, to_ascii
from classifier.features.surface import surface_of

Floats = NDArray[np.float64]

HEADS = ("need", "kind")
NEED, KIND = range(len(HEADS))

# Chosen by source-held-out figures. A lower cap orders benchmark questions a little
# better, a higher one tells everyday talk from them better.
KIND_CAP = 1.0
# `need` has two parts, each with a standard deviation of 1 over benchmark questions. Twice
# the weight orders them a little better and tells everyday talk from them worse.
NEED_WEIGHT = 0.2

# English averages 1.1 to 1.4 pieces a word in MiniLM's vocabulary, code 1.6,
# German and Spanish 2.2 to 2.6.
FOREIGN_PIECES = (1.8, 2.4)
FOREIGN_NON_ASCII = (0.10, 0.35)
# Fewer words than this say little about the language.
MIN_WORDS = 4


@dataclass(frozen=True)
class Weights:
    """Everything linear, folded; the names are those of the artefact's file.

    Attributes:
        least, most: bounds that surface features are held in, shape (surface features,).
        marks: shape (surface features, heads), scalers folded in.
        bias: shape (heads,).
        marks_alone: shape (surface features, heads): the heads that read nothing else.
        bias_alone: shape (heads,).
        knots_x, knots_y: the calibration map, both ascending, shape (knots,).

    """

    least: Floats
    most: Floats
    marks: Floats
    bias: Floats
    marks_alone: Floats
    bias_alone: Floats
    knots_x: Floats
    knots_y: Floats


@dataclass(frozen=True)
class Priors:
    """Log-odds added to `kind` for what surrounds the text.

    Set by hand, not learned: no public data set with outcomes varies them. They
    are small beside the text's own log-odds (about -6 to +6).

    Attributes:
        system: for a system prompt that is itself technical, or, negative, that
            is everyday support; in between for in between.
        tools: for a request that declares tools.
        turns: for each doubling of the number of user turns, `max_turns` times at most.

    """

    system: float = 0.4
    tools: float = 0.2
    turns: float = 0.1
    max_turns: float = 3.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as the heads see it: `surface` is in the order of `SURFACE_NAMES`."""

    read: str
    words: list[bytes]
    surface: list[float]

    @classmethod
    def of(cls, text: str) -> "Reading":
        read = cut(text)
        ascii_bytes = to_ascii(read)
        words = split_words(ascii_bytes)
        return cls(read, words, surface_of(text, read, ascii_bytes, words))


def foreign(words: int, pieces_a_word: float, non_ascii_share: float) -> float:
    """How sure it is, 0 to 1, that the words are not English.

    Two signs: letters outside ASCII, and words that MiniLM's English vocabulary
    breaks into many pieces.
    """
    by_letters = _ramp(non_ascii_share, *FOREIGN_NON_ASCII)
    if words < MIN_WORDS:
        return by_letters
    return max(by_letters, _ramp(pieces_a_word, *FOREIGN_PIECES))


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def sigmoid(x: float) -> float:
    """The logistic function, safe for any float."""
    if x >= 0.0:
        return 1.0 / (1.0 + exp(-min(x, 700.0)))
    odds = exp(max(x, -700.0))
    return odds / (1.0 + odds)
