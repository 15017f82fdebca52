"""How a conversation begins: what its derived session id is made of.

Both parts stay the same over all turns, whatever the client writes anew each turn: of
the system prompt its stable part, of the user's side the first words that are the user's
own. System messages further on are of a turn, and do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from router.placement.session import is_session_id
from router.stable_text.stable_text import MAX_CHARS, own_words, stable_text
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.bodies.turns import SYSTEM_ROLES, text_of

MAX_FIRST_TURNS = 64
"""Of the user's before an answer that are looked at; no more of them than `MAX_CHARS`."""


def opening_of(parsed: ParsedRequest) -> tuple[str, str]:
    """Return the stable system prompt and the user's first words."""
    if parsed.route.path == "/v1/completions":
        return "", parsed.prompt.users[0]
    return stable_text(system_of(parsed)), _first_words(parsed.messages)


def system_of(parsed: ParsedRequest) -> str:
    """Return the system prompt: its own field, and the messages that lead."""
    body = parsed.body
    own = text_of(body.get("system") or body.get("instructions"))
    leading = (text_of(x.get("content")) for x in leading_messages(parsed.messages))
    return "\n".join([*([own] if own else []), *leading])


def leading_messages(messages: list[Any]) -> list[Any]:
    """Return the messages before the first that is not the operator's."""
    leading = []
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in SYSTEM_ROLES:
            break
        leading.append(message)
    return leading


def _first_words(items: list[Any]) -> str:
    """Return the user's first turn that has words of the user's own.

    What an agent sends as the user's before it, as messages of their own, says where it is.
    """
    before: list[str] = []
    room = MAX_CHARS
    for turn in islice(_first_turns(items), MAX_FIRST_TURNS):
        own = own_words(turn)
        if own:
            return "\n".join([*before, own])
        before += filter(None, [stable_text(turn)])
        room -= len(turn)
        if room <= 0:
            break
    return "\n".join(before)


def _first_turns(items: list[Any]) -> Iterator[str]:
    """Yield the user's messages up to the first answer. A greeting before them is no answer."""
    has_begun = False
    for item in items:
        role = item.get("role") if isinstance(item, dict) else None
        if role == "user":
            has_begun = True
            yield text_of(item.get("content"))
        elif has_begun and role not in SYSTEM_ROLES:
            return


def session_hint(body: Mapping[str, Any]) -> str:
    """Return what a body says of its session, for clients that send no header of one; or nothing.

    `prompt_cache_key` is OpenAI's: what is sent under one key shares a prefix. Some clients
    send one for each conversation, others one for the whole of an app, so it tells conversations
    apart that begin alike, and never makes one of several that begin differently. A key that
    could be no session id is passed by.
    """
    key = body.get("prompt_cache_key")
    return key.strip() if isinstance(key, str) and is_session_id(key.strip()) else ""
