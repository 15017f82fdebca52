"""That a prompt is too long, in the words that clients look for before they compact it.

Coding clients shorten a conversation when they are told so in the words of the API that
they were written for, and read the numbers in them; any other 400 ends their task. The
words of `/v1/messages` are Anthropic's, those of the other routes OpenAI's.
"""

from __future__ import annotations

import re

_PROMPT = r"(?P<prompt>\d+)"
_WINDOW = r"(?P<window>\d+)"
_FORMS = tuple(
    re.compile(pattern)
    for pattern in (
        (
            rf"This model's maximum context length is {_WINDOW} tokens\. However, you requested "
            rf"(?P<answer>\d+) output tokens and your prompt contains (?:at least )?{_PROMPT}\b"
        ),
        rf"Input length \({_PROMPT}\) exceeds model's maximum context length \({_WINDOW}\)",
        rf"The prompt of (?:about )?{_PROMPT} tokens .{{0,60}}\bcontext of {_WINDOW} tokens",
    )
)


def too_long(message: str, *, is_anthropic: bool) -> str:
    """Return what a client is told that a prompt, or prompt and answer, do not fit.

    `message` is an engine's or ours; one without numbers stays as it is.
    """
    found = next((match for form in _FORMS if (match := form.match(message))), None)
    if found is None:
        return message
    prompt, window = int(found["prompt"]), int(found["window"])
    answer = int(found.groupdict().get("answer") or 0)
    if prompt < window and answer:
        if not is_anthropic:
            return message
        return (
            f"input length and `max_tokens` exceed context limit: {prompt} + {answer} > {window}, "
            "decrease input length or `max_tokens` and try again"
        )
    if is_anthropic:
        return f"prompt is too long: {prompt} tokens > {window} maximum"
    return (
        f"This model's maximum context length is {window} tokens. However, your messages resulted "
        f"in {prompt} tokens. Please reduce the length of the messages."
    )
