"""Room for an answer: what a context window leaves after the prompt.

`max_tokens` is a wish, not a length: clients send 32,000 with every "hi". So it neither
chooses a lane by itself nor fills a ceiling, and where the window does not hold it, an
engine is asked for what the window leaves: it would refuse the request otherwise (vLLM:
prompt and `max_tokens` together over `max_model_len` are a 400).
"""

from __future__ import annotations

AMPLE_TOKENS = 1024
"""A window that leaves so much is not too small for a prompt, whatever is wished."""

LEAST_TOKENS = 64
"""The shortest answer that is asked for in place of a longer one."""

TEMPLATE_TOKENS = 64
"""A chat template's own words, about, where a body's size does not show them."""

SURELY_TOO_LONG = 1.25
"""Estimates over so many windows are not wrong by chance."""

LIKELY_LEAST = 0.75
"""Prompts have so much of their estimate at least, nearly always: texts differ."""

SMALLER_ASKS = 4


def least_room(wish: int, window: int) -> int:
    """Return the tokens that a window should leave for an answer of `wish` tokens."""
    return min(wish, AMPLE_TOKENS, window // 4)


def left(prompt: int, window: int) -> int:
    """Return the tokens that a window leaves after a prompt, whose length is an estimate."""
    return max(window - prompt, LEAST_TOKENS)


def fitted(wish: int, prompt: int, window: int) -> int:
    """Return what to ask an engine for: the wish, or what its window leaves after the prompt.

    A wish that may fit is left as it is. `prompt` is an estimate: of up to half the window
    it is taken for a little low. Of more it is taken for high, as a guess on the safe side
    would leave little of the answer; where that was wrong, see `smaller_asks`.
    """
    if prompt + wish <= window:
        return wish
    if 2 * prompt <= window:
        return min(wish, window - prompt - TEMPLATE_TOKENS - prompt // 16)
    return min(wish, max(window - int(LIKELY_LEAST * prompt), LEAST_TOKENS))


def smaller_asks(asked: int, prompt: int, window: int) -> list[int]:
    """Return what to ask for next of an engine that found prompt and answer too long.

    In equal proportions down to the least.
    """
    if asked <= LEAST_TOKENS or prompt >= SURELY_TOO_LONG * window:
        return []
    ratio = (LEAST_TOKENS / asked) ** (1 / SMALLER_ASKS)
    steps = (max(LEAST_TOKENS, int(asked * ratio**n)) for n in range(1, SMALLER_ASKS))
    return [step for step in dict.fromkeys((*steps, LEAST_TOKENS)) if step < asked]
