"""The compiled classifier equals the scikit-learn estimators, at a flat cost."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from classifier import DEFAULT_ARTIFACT, SURFACE_NAMES, Conversation, load_artifact
from classifier.artifact import save_artifact
from classifier.features.reading import HEAD_CHARS, TAIL_CHARS
from classifier.features.surface import CLASSES, _count_classes
from classifier.features.words import MAX_WORDS
from classifier.native import LEXICON
from classifier.training.build import fold
from classifier.training.corpus import read_corpus
from tests.examples import examples
from tests.twins import names, twins
from tests.unit.classifier.made import EASY, HARD, made_set

ARTIFACT = load_artifact(DEFAULT_ARTIFACT)
TWINS = names(LEXICON)
KNOTS = (np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.2, 1.0]))

texts = st.one_of(
    st.text(max_size=1500),
    st.lists(st.sampled_from([*HARD, *EASY, "virology", "c++", "don't", "\n- ", "é", "ß"])).map(
        " ".join
    ),
)


@pytest.fixture(scope="module")
def fitted():
    """A model and its rows."""
    rows = made_set()
    return rows, rows.fit_without(np.zeros(len(rows.data), dtype=bool))


@pytest.fixture(scope="module", params=TWINS)
def folded(fitted, tmp_path_factory, request):
    """The same model as serving loads it."""
    rows, model = fitted
    folder = tmp_path_factory.mktemp("artifact")
    save_artifact(fold(model, rows, KNOTS, {}), folder)
    return load_artifact(folder).scorer(twins(LEXICON)[request.param])


@pytest.fixture(scope="module", params=TWINS)
def scorer(request):
    """The shipped classifier."""
    return ARTIFACT.scorer(twins(LEXICON)[request.param])


@examples(60)
@given(text=texts)
@example(text="")
@example(text="x " * 3000)
@example(text="Wie lautet die Ableitung von x^2 nach x, und warum ist das so?")
def test_scores_equal_the_scikit_learn_estimators(fitted, folded, text):
    """Whatever the text, seen words or not, English or not."""
    _, model = fitted

    expected = float(model.raw(read_corpus([text]))[0])

    assert folded.raw(Conversation(text)) == pytest.approx(expected, abs=1e-6)


def test_the_features_name_the_parts_of_the_score(folded):
    """What a dry run shows."""
    told = folded.features(Conversation("Prove it.", system="You help.", user_turns=3, tools=1))

    assert {"need", "kind", "prior", "foreign", *SURFACE_NAMES} == told.keys()
    assert told["prior"] != 0


@given(
    st.builds(
        Conversation,
        last_user=st.text(max_size=3000),
        system=st.text(max_size=200),
        user_turns=st.integers(0, 500),
        tools=st.integers(0, 100),
    )
)
def test_any_conversation_has_a_score_between_0_and_1(scorer, conversation):
    """No text breaks the scorer, lone surrogates included."""
    assert 0.0 <= scorer.score(conversation) <= 1.0


@pytest.mark.parametrize("text", ["\ud800", "\x00" * 5000, "a" * 100_000, "\u202e\u200b" * 900])
def test_hostile_texts_have_a_score(scorer, text):
    """Surrogates, zero bytes, one endless word, invisible marks."""
    assert 0.0 <= scorer.score(Conversation(text, system=text)) <= 1.0


@given(st.text(min_size=10, max_size=10), st.text(min_size=10, max_size=10))
def test_only_head_and_tail_are_read(scorer, one, other):
    """What stands in the middle of a long text changes nothing: the cost is flat."""
    head, tail = "a b, " * (HEAD_CHARS // 5), "c d? " * (TAIL_CHARS // 5)

    first = scorer.raw(Conversation(head + one + tail))

    assert scorer.raw(Conversation(head + other + tail)) == first


def test_a_score_does_not_depend_on_what_was_scored_before(folded):
    """The memory of words is a cache: filling it and starting over changes nothing."""
    conversation = Conversation("derive the unheardofword quickly")
    before = folded.raw(conversation)

    for number in range(MAX_WORDS // 100):
        folded.raw(Conversation(" ".join(f"w{number}x{n}" for n in range(150))))

    assert folded.raw(conversation) == before


def test_the_memory_of_words_is_bounded(folded):
    """However many different words are sent."""
    for number in range(MAX_WORDS // 100):
        folded.raw(Conversation(" ".join(f"q{number}z{n}" for n in range(150))))
        assert len(folded._words) <= MAX_WORDS


@given(st.floats(-0.5, 1.5) | st.sampled_from([0.0, 1.0]))
def test_calibration_is_numpys_interpolation(scorer, raw):
    """To the last bit: scores are compared with thresholds of other replicas."""
    weights = scorer._weights
    knots = [*weights.knots_x.tolist(), raw]

    for x in knots:
        expected = float(np.interp(x, weights.knots_x, weights.knots_y))
        assert scorer.calibrate(x) == expected


@given(st.text(max_size=300))
def test_bytes_are_counted_by_class(text):
    """Whatever the text; most bytes are in no class."""
    read = text.encode("utf-8", "surrogatepass")

    counts = _count_classes(read)

    assert counts == [sum(byte in members for byte in read) for members in CLASSES]


def test_serving_loads_neither_training_code_nor_pickle():
    """`import classifier` and a first score stay light: the ingress pays for them."""
    code = (
        "import classifier, sys; s = classifier.load_artifact(classifier.DEFAULT_ARTIFACT)"
        ".scorer(); s.score(classifier.Conversation('Prove it.')); print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    heavy = {"sklearn", "torch", "scipy", "transformers", "joblib", "classifier.training"}
    assert heavy.isdisjoint(loaded)
