"""Estimating prompt tokens from bytes."""

import pytest

from router.tokens import START_BYTES_PER_TOKEN, TOKENS_PER_MESSAGE, TokenEstimator


def test_the_first_estimate_uses_the_starting_ratio():
    """Before any count arrives, bytes per token are a cautious constant."""
    estimate = TokenEstimator().estimate(prompt_bytes=3_500, messages=2)

    assert estimate == 1_000 + 2 * TOKENS_PER_MESSAGE + 1


def test_an_empty_prompt_is_at_least_one_token():
    """No request is free."""
    assert TokenEstimator().estimate(0, 0) == 1


def test_the_mean_moves_towards_what_the_engine_counts():
    """One observation moves the mean by `smoothing` of the way."""
    estimator = TokenEstimator(smoothing=0.5)

    estimator.learn(prompt_bytes=1_000, messages=0, prompt_tokens=200)

    assert estimator.bytes_per_token == pytest.approx((START_BYTES_PER_TOKEN + 5.0) / 2)


@pytest.mark.parametrize(
    ("prompt_bytes", "messages", "prompt_tokens"),
    [(199, 1, 50), (1_000, 1, 5), (1_000, 0, 0)],
    ids=["short prompt", "template alone", "no tokens"],
)
def test_what_says_nothing_about_the_text_is_left_out(prompt_bytes, messages, prompt_tokens):
    """Short prompts and counts no larger than the template teach nothing."""
    estimator = TokenEstimator()

    estimator.learn(prompt_bytes, messages, prompt_tokens)

    assert estimator.bytes_per_token == START_BYTES_PER_TOKEN


@pytest.mark.parametrize(("prompt_tokens", "limit"), [(1, 8.0), (1_000_000, 1.0)])
def test_an_absurd_count_moves_the_mean_no_further_than_its_bounds(prompt_tokens, limit):
    """The mean stays within 1 to 8 bytes a token."""
    estimator = TokenEstimator(smoothing=1.0)

    estimator.learn(10_000, 0, prompt_tokens)

    assert estimator.bytes_per_token == limit
