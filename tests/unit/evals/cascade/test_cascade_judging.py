"""Rows of `classifier label --signals` to figures."""

import numpy as np
import pytest

from classifier import DEFAULT_ARTIFACT, load_artifact
from evals.cascade.judging import MIN_ROWS, PARTS, figures, is_better, judged


@pytest.fixture(scope="module")
def scorer():
    return load_artifact(DEFAULT_ARTIFACT).scorer()


def labelled(count=200, *, knows=True, domains=4, **more):
    """Rows whose weak lane is right when its first token is sure; or does not know."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        right = rng.random() < 0.5
        sure = np.clip(rng.normal(0.8 if right and knows else 0.4, 0.15), 0.01, 0.99)
        kept = {"logprob": [float(np.log(sure))], "entropy": [1 - sure], "margin": [sure]}
        row = {"text": f"What is {number} + 1?", "source": "label", "weak": float(right)}
        found.append(row | {"signals": kept, "domain": f"d{number % domains}"} | more)
    return found


def test_signals_that_know_beat_a_prompt_that_does_not(scorer):
    found = {
        one.name: one for one in figures(judged(labelled(), scorer), np.random.default_rng(0), 50)
    }

    assert "all" not in found, "nothing of drafts or prompts was recorded"
    assert found["signals"].beats and found["both"].beats and not found["prompt"].beats
    assert found["signals"].auc.low > 0.8
    assert found["signals"].quality[0.3] > found["prompt"].quality[0.3]
    assert found["signals"].quality[1.0] == 1, "a stronger lane that nobody measured is right"


def test_signals_that_do_not_know_do_not(scorer):
    rows = judged(labelled(knows=False), scorer)

    found = figures(rows, np.random.default_rng(0), 50)
    assert not is_better(found) and not any(one.beats for one in found)


def test_a_stronger_lane_that_was_measured_counts_as_it_was(scorer):
    rows = judged(labelled(strong=0.25), scorer)

    assert figures(rows, np.random.default_rng(0), 5)[0].quality[1.0] == 0.25


def test_rows_of_one_kind_are_dealt_into_parts(scorer):
    rows = judged(labelled(domains=1), scorer)

    assert len(np.unique(rows.source)) == PARTS


def test_rows_without_signals_or_outcome_do_not_count(scorer):
    bare = [{"text": "x", "weak": 1.0}, *labelled(1, weak=None)]

    assert len(judged([*bare, *labelled(MIN_ROWS)], scorer)) == MIN_ROWS
    with pytest.raises(ValueError, match=f"49 rows .* {MIN_ROWS} are needed"):
        judged([*bare, *labelled(MIN_ROWS - 1)], scorer)


def test_a_conversation_is_as_long_as_its_turns(scorer):
    messages = [{"role": "user", "content": "abc"}, {"role": "assistant", "content": None}]
    turns = [row | {"messages": messages} for row in labelled(MIN_ROWS)]

    assert judged(turns, scorer).features["log_length"] == pytest.approx(np.log(4))
