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
"""Asked for where the estimate says that the window is all but full."""

TEMPLATE_TOKENS = 64
"""A chat template's own words, about, where a body's size does not show them."""

SURELY_TOO_LONG = 1.25
"""Estimates over so many windows are not wrong by chance."""


def least_room(wish: int, window: int) -> int:
    """Tokens that a window should leave for an answer of which `wish` tokens are wished."""
    return min(wish, AMPLE_TOKENS, window // 4)


def fitted(wish: int, prompt: int, window: int) -> int:
    """What to ask an engine for: the wish, or what its window leaves after the prompt.

    A wish that may fit is left as it is. `prompt` is an estimate: where it decides, some
    room is left for its being too low, of a nearly full window half of what seems left.
    """
    left = window - prompt
    if wish <= left:
        return wish
    careful = left - TEMPLATE_TOKENS - prompt // 16
    return min(wish, max(careful, left // 2, LEAST_TOKENS))


def smaller_asks(asked: int, prompt: int, window: int) -> list[int]:
    """What to ask for next, in order, of an engine that found prompt and answer too long."""
    if prompt >= SURELY_TOO_LONG * window:
        return []
    steps = (max(LEAST_TOKENS, asked // 4), LEAST_TOKENS)
    return [step for step in dict.fromkeys(steps) if step < asked]
