"""What log-probabilities say of an answer, on distributions that a hand can reckon."""

from math import log

import numpy as np
import pytest

from evals.cascade.signals import (
    SIGNALS,
    TOKEN_SIGNALS,
    agreement,
    entropy,
    margin,
    prompt_surprise,
    record,
    recorded,
    token_signals,
    tokens_of,
)


def said(*tokens):
    """A chat completion's `logprobs.content`: of each token its place and all probabilities."""
    return [
        {
            "token": "x",
            "logprob": log(top[place]),
            "top_logprobs": [{"logprob": log(p)} for p in top],
        }
        for place, top in tokens
    ]


def test_entropy_counts_the_rest_of_the_mass_as_one_token():
    assert entropy(np.log([0.5, 0.25])) == pytest.approx(1.5 * log(2))
    assert entropy(np.log([0.5, 0.25, 0.25])) == pytest.approx(1.5 * log(2))
    assert entropy(np.array([0.0, -9999.0])) == 0


def test_margin_is_of_the_two_most_probable_in_any_order():
    """An engine puts the sampled token first, whatever its probability."""
    assert margin(np.log([0.1, 0.6, 0.3])) == pytest.approx(0.3)


def test_signals_are_of_the_first_tokens():
    sure, unsure = (0, [0.9, 0.1]), (1, [0.6, 0.4])
    tokens = tokens_of(said(sure, unsure, unsure))

    one, two = token_signals(tokens, held=1), token_signals(tokens, held=2)

    assert tuple(one) == TOKEN_SIGNALS
    assert one["first_margin"] == two["first_margin"] == pytest.approx(0.8)
    assert one["mean_logprob"] == one["min_logprob"] == pytest.approx(log(0.9))
    assert two["mean_logprob"] == pytest.approx((log(0.9) + log(0.4)) / 2)
    assert two["min_logprob"] == pytest.approx(log(0.4))
    assert two["min_margin"] == pytest.approx(0.2)
    assert two["mean_margin"] == pytest.approx(0.5)
    assert two["mean_entropy"] > one["mean_entropy"] == one["first_entropy"]


def test_an_answer_that_is_shorter_than_the_hold_is_read_whole():
    tokens = tokens_of(said((0, [0.9, 0.1])))

    assert token_signals(tokens, held=8) == token_signals(tokens, held=1)


@pytest.mark.parametrize(
    "content",
    [
        [{"token": "x"}],
        [{"logprob": 0.0, "top_logprobs": []}],
        [{"logprob": 0.0, "top_logprobs": [{"logprob": 0.0}]}],
        [{"logprob": None, "top_logprobs": []}],
    ],
)
def test_what_is_no_log_probability_is_said(content):
    with pytest.raises(ValueError, match=r"log-?prob"):
        tokens_of(content)


def test_no_token_has_no_signals():
    with pytest.raises(ValueError, match="a token"):
        token_signals(tokens_of([]))


def test_prompt_surprise_is_of_the_tokens_that_stand_there():
    prompt = [None, {"5": {"logprob": -1.0}, "9": {"logprob": -0.1}}, {"7": {"logprob": -3.0}}]

    assert prompt_surprise(prompt) == 2.0


def test_a_prompt_of_one_token_has_no_surprise():
    with pytest.raises(ValueError, match="prompt"):
        prompt_surprise([None])


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("The answer is 4.", "the  answer is 4.", 1.0),
        ("", "", 1.0),
        ("4", "5", 0.0),
        ("", "5", 0.0),
        ("a b c", "a b d", 0.5),
        ("a b", "b a", 0.99),
    ],
)
def test_drafts_agree_by_their_words(one, other, alike):
    assert agreement(one, other) == agreement(other, one) == alike


def test_a_record_gives_the_same_signals_back():
    """But for its fourth decimal."""
    tokens = tokens_of(said((0, [0.9, 0.1]), (1, [0.6, 0.4]), (0, [0.7, 0.2])))

    kept = record(tokens, surprise=2.5, agreed=1.0)

    found = recorded(kept, held=2)
    assert tuple(found) == SIGNALS
    assert found == pytest.approx(
        token_signals(tokens, 2) | {"prompt_surprise": 2.5, "agreement": 1.0}, abs=1e-4
    )


def test_a_token_that_cannot_be_does_not_drown_the_others():
    tokens = tokens_of(
        [{"logprob": -9999.0, "top_logprobs": [{"logprob": 0.0}, {"logprob": -9.0}]}]
    )

    assert recorded(record(tokens))["mean_logprob"] == -30


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"logprob": [], "entropy": [], "margin": []},
        {"logprob": ["x"], "entropy": [0], "margin": [0]},
        {"logprob": [0, 0], "entropy": [0], "margin": [0]},
    ],
)
def test_what_is_no_record_is_said(kept):
    with pytest.raises(ValueError, match="no record of signals"):
        recorded(kept)
