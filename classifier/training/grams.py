"""TF-IDF of character n-grams as a scikit-learn transformer over bags of words.

A text's row is sum(u_w v_w) / sqrt(sum(u_w q_w)) over its distinct words, where
u_w = 1 + ln n, v_w holds idf x count of the word's n-grams and q_w the sum of
their squared idf: TF-IDF whose norm adds up word by word, so that serving needs
no n-gram of a word it has seen before. idf = ln((1 + texts) / (1 + df)) + 1, as
in scikit-learn's TfidfTransformer.
"""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin

from classifier.features.grams import find, pack
from classifier.heads import Floats
from classifier.training.corpus import Corpus


class CharGrams(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A corpus to rows of n-gram weights.

    Args:
        min_df: n-grams in fewer texts are dropped. 8: below it the artefact grows
            and held-out figures do not.
        scale: length of a row.

    Attributes:
        keys_: packed n-grams, ascending, shape (n-grams,).
        idf_: shape (n-grams,).

    """

    def __init__(self, min_df: int = 8, scale: float = 10.0) -> None:
        self.min_df = min_df
        self.scale = scale

    def fit(self, corpus: Corpus, y: Any = None) -> Self:
        del y
        bag = corpus.bag
        keys, owner = pack(corpus.vocabulary)
        distinct, column = np.unique(keys, return_inverse=True)
        has = sparse.csr_matrix(
            (np.ones(len(keys)), (owner, column)), shape=(bag.shape[1], len(distinct))
        )
        texts = (bag > 0).astype(np.float64) @ has
        frequency = np.bincount(texts.indices, minlength=len(distinct))
        kept = frequency >= self.min_df
        self.keys_: NDArray[np.uint64] = distinct[kept]
        self.idf_: Floats = np.log((1 + bag.shape[0]) / (1 + frequency[kept])) + 1
        return self

    def transform(self, corpus: Corpus) -> sparse.csr_matrix:
        """Rows of shape (texts, n-grams)."""
        bag, words_count = corpus.bag, len(corpus.vocabulary)
        keys, owner = pack(corpus.vocabulary)
        places = find(keys, self.keys_)
        known = places >= 0
        shape = (words_count, len(self.keys_))
        values = self.idf_[places[known]]
        words = sparse.csr_matrix((values, (owner[known], places[known])), shape=shape)
        squares = np.bincount(owner[known], values**2, words_count)
        norm = np.sqrt(bag @ squares)
        inverse = np.divide(self.scale, norm, out=np.zeros_like(norm), where=norm > 0)
        return sparse.diags(inverse) @ (bag @ words)
