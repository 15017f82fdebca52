"""The model as scikit-learn estimators, before it is folded into an artefact.

Two ridge regressions of what the strong model gains, and a classifier:

- `gain_words`, on character n-grams, and `gain_surface`, on the surface features;
- `kind`: logistic regression of the tier on n-grams and surface features, and on the
  latter alone.

    need = gain(words) / sd(gain(words)) + gain(surface) / sd(gain(surface))

with the standard deviations over the rows with outcomes.

Five choices make `need` carry over to sources that it never saw. Targets are centred in
each source: which source a text comes from says much about its gain, and nothing once the
source is another. No source weighs more than any other of 2,500 rows. The penalties
are large: a coefficient stays near the sign and size of its feature's own covariance with
the gain, so that features do not make up for each other in ways that hold in one source
only. Surface features are held inside what training rows have: see `classifier.heads`.
And words and surface count the same, whatever the penalties have made of them.
Figures: `classifier evaluate --held-out`; how the choices were made: docs/classifier.md.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from tokenizers import Tokenizer

from classifier.features.surface import LOG_WORDS, NON_ASCII_SHARE
from classifier.heads import (
    KIND,
    KIND_CAP,
    NEED,
    NEED_WEIGHT,
    Floats,
    foreign,
)
from classifier.training.corpus import Corpus
from classifier.training.dataset import Dataset, Mask
from classifier.training.grams import CharGrams
from classifier.training.pieces import word_pieces


@dataclass(frozen=True)
class Settings:
    """Choices of training.

    Attributes:
        ridge_words, ridge_surface: penalties of the regressions.
        inverse_penalty: C of the logistic regression.
        surface_scale: of standardized surface features beside the words, in `kind`.
        outside: share of the rows that surface features are cut for, at each end.
        own: sources of an operator's own; a row of theirs counts `own_weight` times, and
            the weak model's failure stands for the gain where only that is known.
        mixed: target of rows of tier `mixed` in `kind`.
        row_limit, row_limit_easy: rows of one source count as at most so many.
        row_least: complex rows of one source count as at least so many: the sources of
            real chat are the small ones.

    """

    ridge_words: float = 16_000.0
    ridge_surface: float = 10_000.0
    inverse_penalty: float = 0.003
    surface_scale: float = 0.3
    outside: float = 0.001
    own: frozenset[str] = frozenset({"label", "feedback"})
    own_weight: float = 10.0
    mixed: float = 0.4
    row_limit: int = 2500
    row_limit_easy: int = 8000
    row_least: int = 800


class ComplexityModel:
    """Fits every part on one corpus; `raw` is the score before calibration."""

    def __init__(self, tokenizer: Tokenizer, settings: Settings | None = None) -> None:
        self.tokenizer = tokenizer
        self.settings = settings or Settings()

    def fit(self, corpus: Corpus, data: Dataset) -> Self:
        self.grams = CharGrams().fit(corpus.take(_labelled(data)))
        self.fit_heads(corpus, data)
        return self

    def fit_heads(self, corpus: Corpus, data: Dataset) -> None:
        """Fit everything after the designs."""
        self.fit_surface(corpus, data)
        target, weight = gain_targets(data, self.settings)
        known, words = ~np.isnan(target), self.words(corpus)
        s = self.settings
        self.gain_words = _ridge(s.ridge_words, words[known], target[known], weight[known])
        _to_unit(self.gain_words, words[known])
        held = self.held(corpus)
        self.scaler = _fit_scaler(held[_labelled(data)])
        surface = self.scaler.transform(held)
        self._fit_kind(self._kind_design(words, surface), surface, data)

    def fit_surface(self, corpus: Corpus, data: Dataset) -> None:
        """Fit the bounds of surface features, and what `need` reads of these."""
        s, target = self.settings, gain_targets(data, self.settings)
        known = ~np.isnan(target[0])
        ends = s.outside, 1.0 - s.outside
        self.least, self.most = np.quantile(corpus.surface[_labelled(data)], ends, axis=0)
        held = self.held(corpus)[known]
        self.gain_scaler = _fit_scaler(held)
        scaled = self.gain_scaler.transform(held)
        # Outcomes are of English texts: what a stray letter outside ASCII goes with in
        # them would decide over whole texts of other scripts.
        scaled[:, NON_ASCII_SHARE] = 0.0
        self.gain_surface = _ridge(s.ridge_surface, scaled, target[0][known], target[1][known])
        _to_unit(self.gain_surface, scaled)

    def held(self, corpus: Corpus) -> Floats:
        """Surface features inside the bounds, shape (texts, surface features)."""
        return np.clip(corpus.surface, self.least, self.most)

    def words(self, corpus: Corpus) -> sparse.csr_matrix:
        """What both heads read of the words, shape (texts, n-grams)."""
        return self.grams.transform(corpus)

    def heads(self, corpus: Corpus) -> Floats:
        """`need`, and `kind` as log-odds of being a query for a strong model, shape (texts, 2)."""
        surface, part = self.scaler.transform(self.held(corpus)), self.foreign(corpus)
        words = self.words(corpus)
        need = (1 - part) * self.gain_words.predict(words) + self.of_surface(corpus)
        tier = self.tier.decision_function(self._kind_design(words, surface))
        kind = (1 - part) * tier + part * self.tier_surface.decision_function(surface)
        return np.stack([need, kind], axis=1)

    def of_surface(self, corpus: Corpus) -> Floats:
        """The surface's part of `need`, shape (texts,)."""
        part: Floats = self.gain_surface.predict(self.gain_scaler.transform(self.held(corpus)))
        return part

    def raw(self, corpus: Corpus) -> Floats:
        """The score before calibration, in (0, 1), shape (texts,)."""
        return combine(self.heads(corpus))

    def foreign(self, corpus: Corpus) -> Floats:
        """How sure it is that the words are not English, shape (texts,)."""
        return foreign_texts(corpus, self.pieces_a_word(corpus))

    def pieces_a_word(self, corpus: Corpus) -> Floats:
        """Mean word pieces of a word, shape (texts,); 0 without words."""
        _, owner = word_pieces(self.tokenizer, corpus.vocabulary)
        pieces = corpus.bag @ np.bincount(owner, minlength=len(corpus.vocabulary))
        weight = np.asarray(corpus.bag.sum(axis=1)).ravel()
        mean: Floats = np.divide(pieces, weight, out=np.zeros_like(weight), where=weight > 0)
        return mean

    def _kind_design(self, words: Any, surface: Floats) -> sparse.csr_matrix:
        return sparse.hstack([words, self.settings.surface_scale * surface]).tocsr()

    def _fit_kind(self, design: sparse.csr_matrix, surface: Floats, data: Dataset) -> None:
        target, weight = kind_targets(data, self.settings)
        known = ~np.isnan(target)
        c = self.settings.inverse_penalty
        self.tier = _logistic(c, design[known], target[known], weight[known])
        # Everyday rows are English too: letters outside ASCII make no query complex.
        alone = surface[known]
        alone[:, NON_ASCII_SHARE] = 0.0
        self.tier_surface = _logistic(c, alone, target[known], weight[known])


def _labelled(data: Dataset) -> Mask:
    """Rows that some head learns from."""
    labelled: Mask = ~np.isnan(data.weak) | (data.tier != "")
    return labelled


def gain_targets(data: Dataset, settings: Settings) -> tuple[Floats, Floats]:
    """Target, centred in its source (NaN: none), and weight of each row in `need`."""
    own = np.isin(data.source, sorted(settings.own))
    target = np.where(own & ~data.measured, 1.0 - data.weak, data.gain)
    weight = np.where(own, settings.own_weight, 1.0)
    for source in np.unique(data.source):
        known = (data.source == source) & ~np.isnan(target)
        if known.any():
            target[known] -= target[known].mean()
            if source not in settings.own:
                weight[known] = min(settings.row_limit, known.sum()) / known.sum()
    return target, weight


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


def _ridge(penalty: float, x: Any, y: Floats, weight: Floats) -> Ridge:
    solver = "sparse_cg" if sparse.issparse(x) else "cholesky"
    return Ridge(alpha=penalty, solver=solver, tol=1e-5).fit(x, y, sample_weight=weight)


def _to_unit(model: Ridge, x: Any) -> None:
    """Give what `model` predicts of `x` a standard deviation of 1, unless it has none."""
    spread = float(model.predict(x).std())
    if spread > 0.0:
        model.coef_ /= spread
        model.intercept_ /= spread


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
    logit = kind + NEED_WEIGHT * heads[:, NEED]
    raw: Floats = 1.0 / (1.0 + np.exp(-np.clip(logit, -700, 700)))
    return raw
