"""Word pieces of many words at once, by the tokenizers library."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer


def word_pieces(
    tokenizer: Tokenizer, words: Sequence[bytes]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Word pieces of all words, and the index of the word each belongs to."""
    texts = [word.decode("ascii") for word in words]
    # One call for all: the batch calls hand each word to a pool of threads.
    encoding = tokenizer.encode(texts, is_pretokenized=True, add_special_tokens=False)
    return np.array(encoding.ids, np.int64), np.array(encoding.word_ids, np.int64)
