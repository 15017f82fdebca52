"""Training over a full sentence-transformers model, behind the same interface.

The same heads and blend as the compiled classifier, with the model's embedding in
place of n-grams.
"""

from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from classifier.artifact import SENTENCE_TRANSFORMERS, Artifact
from classifier.features.reading import cut
from classifier.heads import Floats, Priors
from classifier.training.build import mix_quantiles
from classifier.training.calibrate import fit_knots
from classifier.training.corpus import Corpus, read_corpus
from classifier.training.dataset import Dataset
from classifier.training.fold import fold_weights, significant
from classifier.training.model import ComplexityModel, Settings, foreign_texts
from classifier.training.teacher import Teacher


class EmbeddingModel(ComplexityModel):
    """The heads over given embeddings of unit length, shape (texts, dimensions)."""

    def __init__(self, embeddings: Floats, settings: Settings | None = None) -> None:
        self.embeddings = embeddings
        self.settings = settings or Settings()
        # Unit vectors to a mean square of 1 in each dimension, as the compiled
        # model's embedding has, so that the same penalties fit.
        self.scale = float(np.sqrt(embeddings.shape[1]))

    def words(self, corpus: Corpus) -> sparse.csr_matrix:
        """The embeddings; the corpus must have their rows."""
        del corpus
        return sparse.csr_matrix(self.embeddings * self.scale)

    def pieces_a_word(self, corpus: Corpus) -> Floats:
        """Not asked: see `classifier.embedded`."""
        return np.zeros(corpus.bag.shape[0])

    def foreign(self, corpus: Corpus) -> Floats:
        """By letters alone."""
        return foreign_texts(corpus, self.pieces_a_word(corpus))


def train_embedding(
    data: Dataset, model_name: str, cache: Path, training: dict[str, Any], name: str | None = None
) -> Artifact:
    """An artefact that scores with the sentence-transformers model `model_name`.

    Its probabilities are fitted on the rows it was trained on: `calibrate --data`
    with rows of your own makes them honest.
    """
    texts = [cut(text) for text in data.text]
    with threadpool_limits(1):
        corpus = read_corpus(texts)
    model = EmbeddingModel(Teacher(cache, model_name).embed(texts))
    with threadpool_limits(1):
        model.fit_heads(corpus, data)
        raw = model.raw(corpus)
    known = data.measured | (data.tier == "easy")
    outcome = np.where(data.measured, np.clip(np.nan_to_num(data.gain), 0, 1), 0.0)[known]
    knots = fit_knots(raw[known], outcome, np.ones(known.sum()))
    kind = model.tier.coef_[0][: model.embeddings.shape[1]]
    words = np.stack([model.gain_words.coef_, kind], axis=1)
    return Artifact(
        version=name or f"embedding-{Path(model_name).name}",
        kind=SENTENCE_TRANSFORMERS,
        weights=fold_weights(model, knots),
        priors=Priors(),
        quantiles=mix_quantiles(data, np.interp(raw, *knots)),
        training=training,
        tables={},
        model=model_name,
        embedding=significant(words * model.scale, 9),
    )
