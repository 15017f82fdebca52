"""That a prompt is too long, in the words that clients look for before they shorten it.

Coding clients shorten a conversation when they are told so in the words of the API that
they were written for, and read the numbers in them; any other 400 ends their task. The
words of `/v1/messages` are Anthropic's, those of the other routes OpenAI's.
"""

from __future__ import annotations

import re

from router.routing.window_room import LEAST_TOKENS

_PROMPT = r"(?P<prompt>\d+)"
_WINDOW = r"(?P<window>\d+)"
_ANSWER = r"(?P<answer>\d+)"
_SESSION = re.compile(
    rf"The maximum context length is {_WINDOW} tokens in a session of this tenant\. However, "
    rf"your prompt has about {_PROMPT} tokens, and an answer needs room for {_ANSWER}\b"
)
_MODEL = (
    re.compile(
        rf"This model's maximum context length is {_WINDOW} tokens\. However, you requested "
        rf"{_ANSWER} output tokens and your prompt contains (?:at least )?{_PROMPT}\b"
    ),
    re.compile(rf"Input length \({_PROMPT}\) exceeds model's maximum context length \({_WINDOW}\)"),
    re.compile(
        rf"The prompt of (?P<about>about )?{_PROMPT} tokens .{{0,60}}\bcontext of {_WINDOW} tokens"
    ),
)


def prompt_too_long(prompt: int, window: int) -> str:
    """Say that a prompt, whose length is an estimate, does not fit a lane."""
    return (
        f"The prompt of about {prompt} tokens is longer than this model's context of {window} "
        "tokens."
    )


def session_too_long(prompt: int, answer: int, session: int) -> str:
    """Say that a session has no room for a prompt (an estimate) and the least of an answer."""
    return (
        f"The maximum context length is {session} tokens in a session of this tenant. However, "
        f"your prompt has about {prompt} tokens, and an answer needs room for {answer}. Shorten "
        "the conversation, or start a new session."
    )


def too_long(message: str, *, is_anthropic: bool) -> str:
    """Return what a client is told that a prompt, or prompt and answer, do not fit.

    `message` is an engine's or ours; one without numbers stays as it is.
    """
    session = _SESSION.match(message)
    if session is not None:
        return _anthropic(session, is_least=True) if is_anthropic else message
    found = next((match for form in _MODEL if (match := form.match(message))), None)
    if found is None:
        return message
    return _anthropic(found) if is_anthropic else _openai(found, message)


def _anthropic(found: re.Match[str], *, is_least: bool = False) -> str:
    """Say it in Anthropic's words.

    Who is told that prompt and `max_tokens` are too long together asks again for what the
    window leaves. Where that is next to nothing, the prompt has to become shorter.
    """
    prompt, window, answer = _numbers(found)
    if prompt < window and answer > LEAST_TOKENS and not is_least:
        return (
            f"input length and `max_tokens` exceed context limit: {prompt} + {answer} > {window}, "
            "decrease input length or `max_tokens` and try again"
        )
    most = window if prompt > window else min(window - answer, prompt - 1)
    return f"prompt is too long: {prompt} tokens > {most} maximum"


def _openai(found: re.Match[str], message: str) -> str:
    prompt, window, answer = _numbers(found)
    if prompt < window and answer:
        return message
    about = found.groupdict().get("about") or ""
    return (
        f"This model's maximum context length is {window} tokens. However, your messages resulted "
        f"in {about}{prompt} tokens. Please reduce the length of the messages."
    )


def _numbers(found: re.Match[str]) -> tuple[int, int, int]:
    return int(found["prompt"]), int(found["window"]), int(found.groupdict().get("answer") or 0)
