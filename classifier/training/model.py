"""The model as scikit-learn estimators, before it is folded into an artefact.

Four regressions and one classifier:

- `gain`, `fail`: ridge of strong - weak and of 1 - weak on words;
- `gain`, `fail` on the surface features alone;
- `kind`: logistic regression of the tier on words and surface features, and on the latter alone.

    need = gain + 0.15 fail + 1.25 gain(surface) + 0.04 z(log bytes)

Which words go with failure is learned well inside a benchmark and carries over to
others poorly; surface features and length are the reverse. The mixture was chosen by
source-held-out and subject-held-out figures (`classifier evaluate --held-out`).
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from tokenizers import Tokenizer

from classifier.features.surface import LOG_BYTES, LOG_WORDS, NON_ASCII_SHARE
from classifier.heads import (
    KIND,
    KIND_CAP,
    KIND_WEIGHT,
    NEED,
    NEED_WEIGHT,
    OFFSET,
    Floats,
    foreign,
)
from classifier.training.corpus import Corpus
from classifier.training.dataset import Dataset, Mask
from classifier.training.grams import CharGrams
from classifier.training.pieces import word_pieces
from classifier.training.student import StaticEmbedding


@dataclass(frozen=True)
class Settings:
    """Choices of training.

    Attributes:
        ridge, ridge_surface: penalties of the regressions.
        inverse_penalty: C of the logistic regression.
        fail, surface, length: the mixture of `need`.
        surface_scale: of standardized surface features beside words, in `kind`.
        trusted: sources whose outcomes count fully; others count `untrusted`.
        mixed: target of rows of tier `mixed` in `kind`.
        row_limit, row_limit_easy: rows of one source count as at most so many.
        row_least: complex rows of one source count as at least so many: the sources of
            real chat are the small ones.

    """

    ridge: float = 400.0
    ridge_surface: float = 100.0
    inverse_penalty: float = 0.003
    fail: float = 0.15
    surface: float = 1.25
    length: float = 0.04
    surface_scale: float = 0.3
    trusted: frozenset[str] = frozenset({"routellm_mmlu", "label", "feedback"})
    untrusted: float = 0.1
    mixed: float = 0.4
    row_limit: int = 2500
    row_limit_easy: int = 8000
    row_least: int = 800


@dataclass(frozen=True)
class Resources:
    """What is the same for every fit: the tokenizer and the teacher's embeddings.

    Attributes:
        pieces: of the tokenizer's vocabulary, shape (pieces, dimensions).

    """

    tokenizer: Tokenizer
    pieces: Floats


class ComplexityModel:
    """Fits every part on one corpus; `raw` is the score before calibration."""

    def __init__(self, resources: Resources, settings: Settings | None = None) -> None:
        self.resources = resources
        self.settings = settings or Settings()

    def fit(self, corpus: Corpus, data: Dataset, taught: Floats) -> Self:
        """Fit to labels; `taught` holds the teacher's embeddings of the first rows.

        Rows past `len(taught)` were made by joining others and are not distilled.
        """
        first = np.arange(len(data)) < len(taught)
        r = self.resources
        self.student = StaticEmbedding(r.tokenizer, r.pieces).fit(corpus.take(first), taught)
        self.grams = CharGrams().fit(corpus.take(_labelled(data)))
        self.fit_heads(corpus, data)
        return self

    def fit_heads(self, corpus: Corpus, data: Dataset) -> None:
        """Fit everything after the design."""
        self.scaler = _fit_scaler(corpus.surface[_labelled(data)])
        design, surface = self.design(corpus), self.scaler.transform(corpus.surface)
        self._fit_outcomes(design, surface, data)
        self._fit_kind(design, surface, data)

    def design(self, corpus: Corpus) -> sparse.csr_matrix:
        """What the word heads read, shape (texts, dimensions + n-grams)."""
        embedding = sparse.csr_matrix(self.student.transform(corpus))
        return sparse.hstack([embedding, self.grams.transform(corpus)]).tocsr()

    def heads(self, corpus: Corpus) -> Floats:
        """`need`, and `kind` as log-odds of being a query for a strong model, shape (texts, 2)."""
        design, surface = self.design(corpus), self.scaler.transform(corpus.surface)
        s, part = self.settings, self.foreign(corpus)
        words = self.gain.predict(design) + s.fail * self.fail.predict(design)
        alone = self.gain_surface.predict(surface) + s.fail * self.fail_surface.predict(surface)
        both = s.surface * self.gain_surface.predict(surface) + s.length * surface[:, LOG_BYTES]
        need = (1 - part) * words + part * alone + both
        tier = self.tier.decision_function(self._kind_design(design, surface))
        kind = (1 - part) * tier + part * self.tier_surface.decision_function(surface)
        return np.stack([need, kind], axis=1)

    def raw(self, corpus: Corpus) -> Floats:
        """The score before calibration, in (0, 1), shape (texts,)."""
        return combine(self.heads(corpus))

    def foreign(self, corpus: Corpus) -> Floats:
        """How sure it is that the words are not English, shape (texts,)."""
        return foreign_texts(corpus, self.pieces_a_word(corpus))

    def pieces_a_word(self, corpus: Corpus) -> Floats:
        """Mean word pieces of a word, shape (texts,); 0 without words."""
        _, owner = word_pieces(self.resources.tokenizer, corpus.vocabulary)
        pieces = corpus.bag @ np.bincount(owner, minlength=len(corpus.vocabulary))
        weight = np.asarray(corpus.bag.sum(axis=1)).ravel()
        mean: Floats = np.divide(pieces, weight, out=np.zeros_like(weight), where=weight > 0)
        return mean

    def _fit_outcomes(self, design: sparse.csr_matrix, surface: Floats, data: Dataset) -> None:
        s = self.settings
        gain, fail = data.measured, ~np.isnan(data.weak)
        trust = np.where(np.isin(data.source, sorted(s.trusted)), 1.0, s.untrusted)
        self.gain = _ridge(s.ridge, design, data.gain, trust, gain)
        self.fail = _ridge(s.ridge, design, 1.0 - data.weak, trust, fail)
        self.gain_surface = _ridge(s.ridge_surface, surface, data.gain, trust, gain)
        self.fail_surface = _ridge(s.ridge_surface, surface, 1.0 - data.weak, trust, fail)

    def _kind_design(self, design: sparse.csr_matrix, surface: Floats) -> sparse.csr_matrix:
        return sparse.hstack([design, self.settings.surface_scale * surface]).tocsr()

    def _fit_kind(self, design: sparse.csr_matrix, surface: Floats, data: Dataset) -> None:
        target, weight = kind_targets(data, self.settings)
        known = ~np.isnan(target)
        both = self._kind_design(design, surface)
        c = self.settings.inverse_penalty
        self.tier = _logistic(c, both[known], target[known], weight[known])
        self.tier_surface = _logistic(c, surface[known], target[known], weight[known])


def _labelled(data: Dataset) -> Mask:
    """Rows that some head learns from."""
    labelled: Mask = ~np.isnan(data.weak) | (data.tier != "")
    return labelled


def kind_targets(data: Dataset, settings: Settings) -> tuple[Floats, Floats]:
    """Target in [0, 1] (NaN: none) and weight of each row in the `kind` head.

    A query of a benchmark is of the complex kind, whatever its outcome.
    """
    target = np.full(len(data), np.nan)
    target[~np.isnan(data.weak)] = 1.0
    for tier, value in (("easy", 0.0), ("mixed", settings.mixed), ("complex", 1.0)):
        target[data.tier == tier] = value
    weight = np.ones(len(data))
    for source in np.unique(data.source):
        here = data.source == source
        count, tiers = int(here.sum()), set(data.tier[here])
        limit = settings.row_limit_easy if tiers == {"easy"} else settings.row_limit
        least = settings.row_least if tiers == {"complex"} else 0
        weight[here] = min(limit, max(least, count)) / count
    return target, weight


def _fit_scaler(surface: Floats) -> StandardScaler:
    # Rounding can leave a constant column a variance just under 0; scikit-learn
    # then takes it for constant, as it is.
    with np.errstate(invalid="ignore"):
        return StandardScaler().fit(surface)


def _ridge(penalty: float, x: Any, y: Floats, weight: Floats, rows: Mask) -> Ridge:
    solver = "sparse_cg" if sparse.issparse(x) else "cholesky"
    model = Ridge(alpha=penalty, solver=solver, tol=1e-5)
    return model.fit(x[rows], y[rows], sample_weight=weight[rows])


def _logistic(c: float, x: Any, target: Floats, weight: Floats) -> LogisticRegression:
    """Soft targets enter as two weighted rows each."""
    positive, negative = target > 0, target < 1
    stack = sparse.vstack if sparse.issparse(x) else np.vstack
    labels: NDArray[np.int64] = np.repeat([1, 0], [positive.sum(), negative.sum()])
    weights = np.concatenate([(weight * target)[positive], (weight * (1 - target))[negative]])
    model = LogisticRegression(C=c, max_iter=400, tol=1e-5)
    return model.fit(stack([x[positive], x[negative]]), labels, sample_weight=weights)


def foreign_texts(corpus: Corpus, pieces_a_word: Floats) -> Floats:
    """`foreign` of many texts, shape (texts,)."""
    words = np.rint(np.expm1(corpus.surface[:, LOG_WORDS])).astype(int)
    shares = corpus.surface[:, NON_ASCII_SHARE]
    rows = zip(words.tolist(), pieces_a_word.tolist(), shares.tolist(), strict=True)
    return np.array([foreign(*row) for row in rows])


def combine(heads: Floats) -> Floats:
    """The formula of `classifier.heads` for many texts: shape (texts, 2) to (texts,)."""
    kind = np.minimum(heads[:, KIND], KIND_CAP)
    logit = KIND_WEIGHT * kind + NEED_WEIGHT * heads[:, NEED] + OFFSET
    raw: Floats = 1.0 / (1.0 + np.exp(-np.clip(logit, -700, 700)))
    return raw
