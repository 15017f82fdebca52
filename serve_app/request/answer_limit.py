"""How long an answer may be: what the client wishes, less what its window does not hold.

A wish that may fit reaches the engine as it came. One that does not is made smaller, as
the engine would refuse the request for it (docs/compatibility.md, "Limits and counts").
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from router.routing.window_room import fitted, least_room
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.bodies.routes import Route


def answer_limit(
    parsed: ParsedRequest, longest: int, prompt: int, window: int, session: int | None
) -> int | None:
    """Tokens of each answer at most; None: the client wished for no limit.

    Args:
        parsed: the request.
        longest: estimated tokens of its longest prompt, which has the window for itself.
        prompt: the same of all its prompts together.
        window: the lane's.
        session: tokens that a session may hold, if that is limited.

    """
    wish = parsed.output_tokens
    if wish is None:
        return None
    limit = fitted(wish, longest, window)
    if session is None:
        return limit
    return min(limit, max(1, (session - prompt) // parsed.num_sequences))


def unlimited_tokens(parsed: ParsedRequest, usual: int, room: int) -> int:
    """What an answer without a limit is reckoned at: a usual one, unless it has to be longer.

    `room`: what the window leaves. An answer that may not end by itself takes all of it.
    """
    body = parsed.body
    return room if body.get("ignore_eos") else max(usual, body.get("min_tokens") or 0)


def needed_room(parsed: ParsedRequest, wish: int, session: int) -> int:
    """Return the tokens of a session that have to be left for answers worth having."""
    return least_room(wish, session) * parsed.num_sequences


def limited(parsed: ParsedRequest, limit: int | None) -> ParsedRequest:
    """Return the request with no answer allowed to be longer than `limit`."""
    if limit is None:
        return parsed
    body = limited_body(parsed.body, parsed.route, limit)
    return parsed if body is parsed.body else replace(parsed, body=body)


def limited_body(body: dict[str, Any], route: Route, limit: int) -> dict[str, Any]:
    """Return the body with what it allows an answer cut to `limit`; itself if that is less."""
    longer = [name for name in route.limits if (body.get(name) or 0) > limit]
    return {**body, **dict.fromkeys(longer, limit)} if longer else body
