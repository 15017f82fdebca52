"""Fitting without a part of the rows, to score that part as unseen.

Everything is fitted again each time, n-grams included: a source that is held out is
held out whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer

from classifier.heads import Floats
from classifier.training.corpus import Corpus
from classifier.training.dataset import Dataset, Mask
from classifier.training.model import ComplexityModel, Settings

PROCESSES = 2


@dataclass(frozen=True)
class TrainingSet:
    """All that a fit needs.

    Attributes:
        data: rows that were read, then ones of our own, then joined ones.
        corpus: the same rows as matrices.
        read: number of rows that were read.

    """

    data: Dataset
    corpus: Corpus
    read: int
    tokenizer: Tokenizer
    settings: Settings

    def fit_without(self, hold: Mask) -> ComplexityModel:
        keep = ~hold
        model = ComplexityModel(self.tokenizer, self.settings)
        with threadpool_limits(1):
            return model.fit(self.corpus.take(keep), self.data.take(keep))

    def source(self, *names: str) -> Mask:
        """Rows of the named sources, and of everything that was made of them."""
        return np.isin(self.data.source, names)


def heads_when_held_out(rows: TrainingSet, parts: Mapping[str, Mask]) -> dict[str, Floats]:
    """`need` and `kind` of each part by a model that never saw it, shape (rows, 2)."""

    def one(hold: Mask) -> Floats:
        model = rows.fit_without(hold)
        with threadpool_limits(1):
            return model.heads(rows.corpus.take(hold))

    scores: Iterable[Floats] = Parallel(n_jobs=PROCESSES)(
        delayed(one)(hold) for hold in parts.values()
    )
    return dict(zip(parts, scores, strict=True))


def source_parts(rows: TrainingSet) -> dict[str, Mask]:
    """Each source that was read and has outcomes of both models or easy rows, as a part."""
    data = rows.data
    named = data.measured | (data.tier == "easy")
    named &= np.arange(len(data)) < rows.read
    return {str(s): rows.source(str(s)) for s in np.unique(data.source[named])}
