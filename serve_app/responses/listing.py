"""The input items of a stored response, a page at a time (OpenAI's form of a list)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from serve_app.bodies.steps import Steps
from serve_app.responses.rows import Exchange

MAX_LIMIT = 100


class Item(NamedTuple):
    """One item, as it was sent or answered, and the id under which it is listed."""

    id: str
    given: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """What is asked for; `after`: the id of the last item that was seen."""

    is_descending: bool
    limit: int
    after: str | None


def listing(conversation: Sequence[Exchange], response_id: str) -> Steps[list[Item]]:
    """Return what a response's engine had before it, oldest first, in pieces.

    That is all that it continues, and its own input. No two have the same id.
    """
    *before, own = conversation
    arrays = [array for exchange in before for array in exchange] + [own.input]
    items: list[Item] = []
    taken: set[str] = set()
    number = 0
    for array in arrays:
        for item in orjson.loads(array):
            if isinstance(item, dict):
                known = item.get("id")
                if not isinstance(known, str) or not known or known in taken:
                    # By its place, which stays. Clients need not name what they send, and may
                    # send again what is stored: pages after an id would go in a circle.
                    known = f"item_{number}_{response_id}"
                taken.add(known)
                items.append(Item(known, item))
            number += 1
        yield
    return items


def page_of(items: list[Item], page: Page) -> dict[str, Any] | None:
    """Return a page of items; None: there is none of the id that it comes after."""
    ordered = items[::-1] if page.is_descending else items
    begin = 0
    if page.after is not None:
        places = [at for at, item in enumerate(ordered) if item.id == page.after]
        if not places:
            return None
        begin = places[0] + 1
    data = [_shown(item) for item in ordered[begin : begin + page.limit]]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": begin + page.limit < len(ordered),
    }


def _shown(item: Item) -> dict[str, Any]:
    given = item.given
    shown = {"type": "message", **given} if "role" in given else dict(given)
    content = shown.get("content")
    if isinstance(content, str):
        kind = "output_text" if shown.get("role") == "assistant" else "input_text"
        shown["content"] = [{"type": kind, "text": content}]
    shown["id"] = item.id
    return shown
