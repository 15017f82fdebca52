"""Scores of any text, equal to scikit-learn's, at a flat cost."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier import DEFAULT_ARTIFACT, FEATURE_NAMES, Conversation, extract, load_artifact
from classifier.dataset import Dataset
from classifier.features import HEAD_CHARS, TAIL_CHARS
from classifier.train import C, fit, train

SCORER = load_artifact(DEFAULT_ARTIFACT).scorer()


def toy_data() -> Dataset:
    """300 rows of two sources, made from a fixed seed."""
    rng = np.random.default_rng(3)
    texts = [
        " ".join(rng.choice(["why", "prove", "card", "hello", "2+2", "def f():"], size=n))
        for n in rng.integers(1, 60, size=300)
    ]
    features = np.array([extract(Conversation(text)) for text in texts])
    source = np.array(["a", "b"] * 150)
    gain = np.where(source == "a", rng.random(300), np.nan)
    tier = np.where(source == "a", "", np.where(rng.random(300) < 0.5, "easy", "complex"))
    return Dataset(features, source, gain, tier)


@given(
    st.builds(
        Conversation,
        last_user=st.text(max_size=3000),
        system=st.text(max_size=200),
        user_turns=st.integers(0, 500),
        tools=st.integers(0, 100),
    )
)
def test_any_conversation_has_a_score_between_0_and_1(conversation: Conversation) -> None:
    """No text breaks the scorer."""
    assert 0.0 <= SCORER.score(conversation) <= 1.0
    assert len(extract(conversation)) == len(FEATURE_NAMES)


@given(st.text(min_size=10, max_size=10), st.text(min_size=10, max_size=10))
def test_only_head_and_tail_are_read(one: str, other: str) -> None:
    """What stands in the middle of a long text changes nothing: the cost is flat."""
    head, tail = "a b, " * (HEAD_CHARS // 5), "c d? " * (TAIL_CHARS // 5)

    assert extract(Conversation(head + one + tail)) == extract(Conversation(head + other + tail))


def test_scores_equal_the_scikit_learn_pipeline() -> None:
    """The folded weights give the pipeline's probability to 1e-6."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from classifier.train import _targets

    data = toy_data()
    features, target, weight = _targets(data)
    scaler = StandardScaler().fit(features)
    doubled = scaler.transform(np.vstack([features, features]))
    model = LogisticRegression(C=C, max_iter=2000, tol=1e-6).fit(
        doubled,
        np.repeat([1, 0], len(target)),
        sample_weight=np.concatenate([weight * target, weight * (1 - target)]),
    )
    expected = model.predict_proba(scaler.transform(data.features))[:, 1]

    fitted = fit(data)
    scorer = train(data, {}).scorer()
    text = "prove why 2+2"

    assert fitted(data.features) == pytest.approx(expected, abs=1e-6)
    one = np.array([extract(Conversation(text))])
    assert scorer.score(Conversation(text)) == pytest.approx(fitted(one)[0], abs=1e-9)


def test_training_twice_gives_the_same_artefact() -> None:
    """Same rows, same artefact."""
    assert train(toy_data(), {}) == train(toy_data(), {})


def test_training_without_both_tiers_is_refused() -> None:
    """The threshold needs a mix to be measured on."""
    data = toy_data()

    with pytest.raises(ValueError, match="both tiers"):
        train(data.take(data.tier != "easy"), {})


def test_serving_imports_neither_scikit_learn_nor_torch() -> None:
    """`import classifier` stays light: that is what the ingress pays for."""
    code = "import classifier, sys; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert not {"sklearn", "torch", "numpy"} & set(loaded.stdout.split())
