"""Character n-grams of words, packed into integers and counted in numpy.

A word is padded by one space on each side; its n-grams of 3 to 5 bytes are read
as little-endian integers, which fit 64 bits. Both training and serving pack
words with this module, so they cannot disagree.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

SIZES = (3, 4, 5)
_MASKS = np.array([(1 << 8 * size) - 1 for size in SIZES], np.uint64)


def windows(words: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The n-grams that begin at each byte of the words, and where each word begins.

    One that reaches from a word into the next holds two spaces, which no n-gram of a
    word does, and so is in no table: serving looks all of them up and packs nothing.

    Returns:
        keys of shape (sizes, bytes) and begins of shape (words,), each word padded.

    """
    joined = b" " + b"  ".join(words) + b" "
    # Eight bytes are read at every byte, as one little-endian integer.
    data = np.ndarray((len(joined),), "<u8", joined + b" " * 7, 0, (1,))
    ends = accumulate(map(len, words), lambda end, size: end + size + 2, initial=0)
    begins = np.array(list(ends)[:-1], np.int64)
    return data & _MASKS[:, None], begins


def pack(words: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The n-grams of every word and the index of the word each belongs to.

    Returns:
        keys and owners, both of shape (n-grams,), grouped by n, then in order.

    """
    windowed, begins = windows(words)
    lengths = np.diff(np.append(begins, windowed.shape[1]))
    owner = np.repeat(np.arange(len(words)), lengths)
    keys, owners = [], []
    for size, row in zip(SIZES, windowed, strict=True):
        first, last = owner[: max(0, len(owner) - size + 1)], owner[size - 1 :]
        inside = np.flatnonzero(first == last)
        keys.append(row[inside])
        owners.append(owner[inside])
    return np.concatenate(keys), np.concatenate(owners)


def find(keys: NDArray[np.uint64], table: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Place of each key in the ascending `table`; -1 where it is not in it."""
    if len(table) == 0:
        return np.full(len(keys), -1, np.int64)
    places = np.searchsorted(table, keys)
    places[places == len(table)] = 0
    places[table[places] != keys] = -1
    return places.astype(np.int64, copy=False)
