"""The words on which clients compact a conversation."""

from __future__ import annotations

import pytest

from serve_app.protocol.too_long import too_long

BOTH = (
    "This model's maximum context length is 4096 tokens. However, you requested 3000 output tokens"
    " and your prompt contains {} input tokens, for a total of 9000 tokens."
)
PROMPTS = [
    "The prompt of 5000 tokens is longer than this model's context of 4096 tokens.",
    "The prompt of about 5000 tokens is longer than this model's context of 4096 tokens.",
    "The prompt of 5000 tokens leaves no room for an answer in a context of 4096 tokens.",
    "Input length (5000) exceeds model's maximum context length (4096).",
    BOTH.format(5000),
    BOTH.format("at least 5000"),
]


@pytest.mark.parametrize("message", PROMPTS)
def test_a_prompt_that_is_too_long_is_told_in_each_apis_words(message: str) -> None:
    assert too_long(message, is_anthropic=True) == (
        "prompt is too long: 5000 tokens > 4096 maximum"
    )
    assert too_long(message, is_anthropic=False) == (
        "This model's maximum context length is 4096 tokens. However, your messages resulted "
        "in 5000 tokens. Please reduce the length of the messages."
    )


def test_an_answer_that_does_not_fit_is_not_the_prompts_fault() -> None:
    message = BOTH.format(2000)
    assert too_long(message, is_anthropic=True).startswith(
        "input length and `max_tokens` exceed context limit: 2000 + 3000 > 4096"
    )
    assert too_long(message, is_anthropic=False) == message


@pytest.mark.parametrize("is_anthropic", [True, False])
def test_without_numbers_the_words_stay(is_anthropic: bool) -> None:
    for message in ("This model's maximum context length is 4096 tokens.", "Shorten it."):
        assert too_long(message, is_anthropic=is_anthropic) == message
