"""The results of tool calls that a request brings, from the bodies of three dialects."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from serve_app.agents.history import call_id_of, result_field
from serve_app.bodies.routes import CONVERSATIONS
from serve_app.bodies.tool_parts import calls_of, result_blocks
from serve_app.bodies.turns import SYSTEM_ROLES

MAX_RESULTS = 64
"""Of one request: an answer seldom makes more calls."""

MAX_ITEMS = 512
"""Looked at from the end of a conversation."""


class Brought(NamedTuple):
    """The result of a call.

    Attributes:
        name: of the tool; empty where the conversation does not say it.
        is_error: whether the client says that the tool failed.
        place: of the answer that made the call, in the conversation: it tells steps apart
            whose calls have the same id.

    """

    call_id: str
    name: str
    is_error: bool
    place: int


def brought(body: dict[str, Any], path: str) -> list[Brought]:
    """Return the results since the newest answer, in their order, `MAX_RESULTS` at most.

    What came before was brought by an earlier request. Read from the end, so a long
    conversation costs no more than a short one.
    """
    given = body.get(CONVERSATIONS.get(path, ""))
    items = given if isinstance(given, list) else []
    results: list[tuple[str, bool]] = []
    names: dict[str, str] = {}
    place = len(items)
    for item in islice(reversed(items), MAX_ITEMS):
        if not isinstance(item, dict):
            continue
        found = list(_results_in(item))
        if names and (found or _is_users(item)):
            # What led to the answer.
            break
        place -= 1
        results += reversed(found)
        if found or _is_users(item):
            # A user's words or a picture may stand behind a result.
            continue
        if not results:
            # The model has spoken since: whatever was brought, an earlier request did it.
            return []
        names |= {_text(call_id): _text(name) for call_id, name, _ in calls_of(item)}
    results.reverse()
    return [
        Brought(call_id, names.get(call_id, ""), is_error, place)
        for call_id, is_error in results[:MAX_RESULTS]
    ]


def _results_in(item: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Id of the call, and whether it failed, of each result in a message or item."""
    if result_field(item) is not None:
        yield call_id_of(item), False
        return
    for block in result_blocks(item):
        yield call_id_of(block), block.get("is_error") is True


def _is_users(item: dict[str, Any]) -> bool:
    return item.get("role") in ("user", *SYSTEM_ROLES)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
