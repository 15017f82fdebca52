"""The compiled twin of the classifier reads every text as the one in Python does, to the bit."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier import DEFAULT_ARTIFACT, Conversation, load_artifact
from classifier.features.grams import pack
from classifier.features.reading import HEAD_CHARS, TAIL_CHARS, split_words
from classifier.features.words import (
    KIND_GRAMS,
    NEED_GRAMS,
    NORM,
    PIECES,
    WEIGHTS,
    WordTable,
    common_words,
    inner_pieces,
    most_words,
)
from classifier.native import LEXICON
from tests.twins import PYTHON, twins

BUILT = twins(LEXICON).get("native")
pytestmark = [
    pytest.mark.security,
    pytest.mark.skipif(BUILT is None, reason="the native classifier is not built of this text"),
]
ARTIFACT = load_artifact(DEFAULT_ARTIFACT)
THEIRS = ARTIFACT.scorer(PYTHON)
OURS = ARTIFACT.scorer(BUILT)

SIGNS = [
    *("def ", "import ", "return ", "==", "=", "=>", ">", "->", "</", "();", ")", "):\n"),
    *("`", "```"),
    *("_", "__", ". ", ".", "? ", "?", "! ", "!\n", "\n", "\nA. x", "\n(B) y"),
    *("(C)\n", "\nD.", "\nJ: "),
    *("\nK) z", "\n- ", "\n* ", "\n  12. ", "\n123. ", "\n\t\u0663) ", "\n\u0663\u0664.\t", "\n1"),
    *("\n        - ", "\n         - ", "\n\u2022\t", " ", "\t", "\u2003", "\x1c", "\x85", "\x00"),
    *("\ud800", "\udfff", "\u00e9", "\u00df", "\u33c2", "\ufdfa", "\uff1d", "\U0001f642", "\u0338"),
    *("'", "+", "#", "c++", "don't", "##ing", "\x01ing", "\u0130", "\u212a", "a" * 30, "1" * 30),
    "12",
    *("The ", "the ", "unheardof ", "telecommunications ", "zzxq ", "{", "\\", "$^", ","),
    *("%|~", "["),
]
ANY = st.text(st.characters(exclude_categories=[]), max_size=8)
PART = st.sampled_from(SIGNS) | ANY | st.text("abcdeinorst'+#0123456789 \n", max_size=30)
SHORT = st.lists(PART, max_size=40).map("".join)
EDGE = HEAD_CHARS + TAIL_CHARS


@st.composite
def texts(draw) -> str:
    """Short ones, repeated ones, and those that are cut, at every place of a sign."""
    text = draw(SHORT)
    how = draw(st.integers(0, 3))
    if how == 1:
        text *= draw(st.integers(2, 700))
    elif how == 2:
        text += "b " * (EDGE // 2) + draw(SHORT)
    elif how == 3:
        filler = draw(st.sampled_from(["x", "\n", " ", "\u00e9", "a b"]))
        text = (text + filler * EDGE)[: draw(st.integers(EDGE - 2, EDGE + 2))]
    return text


@given(texts())
def test_a_text_is_read_alike(text):
    """The heads, how foreign it is, and each surface feature."""
    conversation = Conversation(text)

    assert OURS.features(conversation) == THEIRS.features(conversation)
    assert OURS.raw(conversation) == THEIRS.raw(conversation)


@given(texts(), texts(), st.integers(0, 9), st.integers(0, 2))
def test_a_conversation_has_the_same_score(text, system, turns, tools):
    conversation = Conversation(text, system, turns, tools)

    assert OURS.score(conversation) == THEIRS.score(conversation)


@pytest.mark.parametrize("unit", ["a ", "w\u00f6rter ", "\x00", "\ud800", "x", "\nA) b", "\ufdfa"])
def test_a_megabyte_is_read_alike(unit):
    conversation = Conversation(unit * (1_000_000 // len(unit)))

    assert OURS.features(conversation) == THEIRS.features(conversation)


LETTERS = "abc1'+#"
WORDS = st.lists(st.text(LETTERS, min_size=1, max_size=26), max_size=40)


@st.composite
def vocabularies(draw) -> dict[str, int]:
    """Pieces that begin each other, some of them longer than a word may be."""
    pieces = draw(st.lists(st.text("abc1", min_size=1, max_size=26), unique=True, max_size=12))
    inside = draw(st.lists(st.text("abc1", min_size=1, max_size=26), unique=True, max_size=12))
    mark = draw(st.sampled_from(["", "'"]))
    listed = ["[UNK]", *pieces, *(f"##{piece}" for piece in inside), *mark]
    return {piece: number for number, piece in enumerate(listed)}


@given(vocabularies(), WORDS, WORDS, st.integers(0, 2**32), st.sampled_from([1.0, 0.7]))
def test_words_weigh_alike_under_any_vocabulary(vocabulary, known, read, seed, share):
    """Word pieces and n-grams of words that nobody has seen; and again, once remembered."""
    keys = np.zeros(0, np.uint64)
    if known:
        keys = np.unique(pack([word.encode() for word in known])[0])
    rng = np.random.default_rng(seed)
    keys = keys[rng.random(len(keys)) < share]
    rows = rng.standard_normal((len(keys), 3)).astype(np.float32)
    rows[:, NORM] = abs(rows[:, NORM])
    table = WordTable(vocabulary, keys, rows)
    ours = lexicon(vocabulary, keys, rows)
    text = " ".join(read)
    words = split_words(text.encode())
    if len(text) > EDGE or not words:
        return

    for _ in range(2):
        sums, weight = table.sums(words)
        norm, part = sqrt(sums[NORM]), sums[PIECES] / weight / 100
        expected = [sums[place] / norm if norm else 0.0 for place in (NEED_GRAMS, KIND_GRAMS)]

        # The heads that read no words are 0.
        assert ours.heads(text) == (*((1.0 - part) * head for head in expected), part)
        assert len(ours) <= len(table)


def lexicon(vocabulary, keys, rows):
    """One whose heads are the words' alone, and whose `foreign` is a hundredth of pieces a word."""
    common = common_words(vocabulary)
    alone = ([[0.0] * 6 for _ in range(25)], [0.0] * 4)
    ramps = ((0.0, 100.0), (1.0, 2.0), 1)
    room = most_words(len(common))
    return BUILT.module.Lexicon(
        common, inner_pieces(vocabulary), keys, rows, room, WEIGHTS, alone, ramps
    )
