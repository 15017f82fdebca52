"""Which twins are taken, and what the compiled classifier refuses."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from classifier import DEFAULT_ARTIFACT, Conversation, load_artifact, native
from classifier.compiled import CompiledScorer, NativeScorer
from classifier.features.grams import pack
from classifier.features.reading import MOST_WORDS
from classifier.features.words import MAX_WORDS, WEIGHTS
from classifier.native import LEXICON, NATIVES, NativeError, choose
from tests.twins import PYTHON, names, twins


def missing() -> SimpleNamespace:
    raise ModuleNotFoundError("No module named '_native'")


def compiled(source: str) -> SimpleNamespace:
    return SimpleNamespace(SOURCE=source)


@pytest.mark.parametrize("which", NATIVES, ids=lambda which: which.module)
def test_the_compiled_one_is_taken_where_it_is_of_this_text(which):
    choice = choose(which, "auto", lambda: compiled(which.digest()))

    assert (choice.twin, choice.reason) == ("native", "built from this text")
    assert choice.is_wanted


@pytest.mark.parametrize(
    ("built", "reason"),
    [(lambda: compiled("0" * 32), "another text"), (missing, "not built")],
    ids=["stale", "missing"],
)
def test_else_pythons_is_and_the_reason_is_told(built, reason):
    choice = choose(LEXICON, "auto", built)

    assert choice.twin == "python" and not choice.is_wanted
    assert reason in choice.reason
    with pytest.raises(NativeError, match=f"POINTSMAN_PUMP=native: classifier.*{reason}"):
        choose(LEXICON, "native", built)


def test_the_switch_keeps_the_compiled_one_away():
    choice = choose(LEXICON, "python", lambda: compiled(LEXICON.digest()))

    assert (choice.twin, choice.reason) == ("python", "POINTSMAN_PUMP=python")
    assert choice.is_wanted


def test_a_switch_that_says_something_else_is_an_error(monkeypatch):
    monkeypatch.setenv("POINTSMAN_PUMP", "nativ")

    with pytest.raises(NativeError, match=r"'nativ' is none of .*did you mean 'native'"):
        native.wanted()


@pytest.mark.parametrize("name", names(LEXICON))
def test_an_artefact_has_the_twin_that_is_chosen(name):
    scorer = load_artifact(DEFAULT_ARTIFACT).scorer(twins(LEXICON)[name])

    assert type(scorer) is (CompiledScorer if name == "python" else NativeScorer)
    assert len(scorer._words) > 20_000


LINES = ([[0.0] * 6 for _ in range(25)], [0.0] * 4)
FOREIGN = ((1.0, 2.0), (1.0, 2.0), 4)
KEYS = np.array([1, 2], np.uint64)
ROWS = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize("name", names(LEXICON)[1:])
def test_tables_that_do_not_go_together_are_refused(name):
    """What is handed to C is looked at first."""
    made = twins(LEXICON)[name].module.Lexicon
    good = ([b"a"], [b"b"], KEYS, ROWS, MAX_WORDS, WEIGHTS, LINES, FOREIGN)
    made(*good)
    for place, wrong, error in (
        (0, ["a"], TypeError),
        (1, [None], TypeError),
        (2, KEYS[:1], ValueError),
        (2, KEYS.astype(np.uint32), ValueError),
        (3, ROWS.astype(np.float64), ValueError),
        (3, ROWS[:, :2], (ValueError, BufferError)),
        (3, None, TypeError),
        (4, 100, ValueError),
        (4, 1 << 40, ValueError),
        (5, [], ValueError),
        (6, (LINES[0][:24], LINES[1]), ValueError),
        (6, ([[0.0]] * 25, LINES[1]), IndexError),
        (7, ((1.0,), (1.0, 2.0), 4), ValueError),
    ):
        with pytest.raises(error):
            made(*good[:place], wrong, *good[place + 1 :])
    with pytest.raises(TypeError):
        made(*good).heads(b"text")
    with pytest.raises(TypeError):
        made(*good).told(None)


@pytest.mark.parametrize("name", names(LEXICON)[1:])
def test_what_was_forgotten_is_read_as_before(name):
    """A small memory is filled again and again, a large one never."""
    keys = np.unique(pack([b"w%d" % n for n in range(100)])[0])
    rows = np.random.default_rng(0).random((len(keys), 3)).astype(np.float32)
    small, large = (
        twins(LEXICON)[name].module.Lexicon(
            [b"a", b"w"],
            [b"1", b"12"],
            keys,
            rows,
            limit,
            WEIGHTS,
            LINES,
            ((0.0, 9.0), (1.0, 2.0), 1),
        )
        for limit in (MOST_WORDS + 2, MAX_WORDS)
    )
    sizes = []
    for text in (" ".join(f"w{n}" for n in range(m, m + 170)) for m in range(0, 38_000, 150)):
        assert small.heads(text) == large.heads(text)
        sizes.append(len(small))
    assert max(sizes) <= MOST_WORDS + 2
    assert sum(now < before for before, now in pairwise(sizes)) >= 2


def test_scores_are_those_of_the_twin_in_python():
    """To the bit; whatever the text: tests/property/test_lexicon_properties.py."""
    artifact = load_artifact(DEFAULT_ARTIFACT)
    conversation = Conversation("Prove that 2 + 2 = 4.", "You are a mathematician.", 3, 1)

    assert artifact.scorer().score(conversation) == artifact.scorer(PYTHON).score(conversation)
