"""Word pieces and n-grams of single words, against what training takes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from classifier.features.grams import find, pack, windows
from classifier.features.pieces import WordPieces
from classifier.training.pieces import word_pieces
from classifier.training.teacher import teacher_tokenizer

TOKENIZER = teacher_tokenizer()
PIECES = WordPieces(TOKENIZER.get_vocab())
COMMON = sorted(p.removeprefix("##") for p in TOKENIZER.get_vocab() if p.isascii() and p.isalnum())
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789'+#"

letters = st.text(ALPHABET, min_size=1, max_size=24)
joined = st.lists(st.sampled_from(COMMON), min_size=1, max_size=3).map("".join)
words = st.lists((letters | joined).map(lambda word: word[:24].encode()), min_size=1, max_size=30)


@given(words)
def test_pieces_are_those_of_the_tokenizer(given_words):
    """Every word, with marks inside or not, known or not."""
    ids, owner = word_pieces(TOKENIZER, given_words)
    theirs = [ids[owner == place].tolist() for place in range(len(given_words))]

    assert [PIECES.of(word) for word in given_words] == theirs


@given(words, words)
def test_windows_find_the_n_grams_of_each_word_and_no_other(known, read):
    """Counting by windows gives what packing word by word gives."""
    table = np.unique(pack(known)[0])
    keys, owner = pack(read)
    packed = np.bincount(owner[find(keys, table) >= 0], minlength=len(read))

    keys, begins = windows(read)
    found = np.isin(keys, table).sum(axis=0)

    assert np.add.reduceat(found, begins).tolist() == packed.tolist()
