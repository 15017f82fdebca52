"""The input items of a stored response, a page at a time (OpenAI's form of a list)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from serve_app.responses.rows import Exchange

MAX_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Page:
    """What is asked for; `after`: the id of the last item that was seen."""

    is_descending: bool
    limit: int
    after: str | None


def items_of(conversation: Sequence[Exchange], response_id: str) -> list[dict[str, Any]]:
    """Return what a response's engine had before it, oldest first, each with an id of its own.

    That is all that it continues, and its own input.
    """
    *before, own = conversation
    arrays = [array for exchange in before for array in exchange] + [own.input]
    items = [item for array in arrays for item in orjson.loads(array)]
    shown, taken = [], set()
    for number, item in enumerate(items):
        if isinstance(item, dict):
            known = item.get("id")
            if not isinstance(known, str) or not known or known in taken:
                # By its place, which stays. Clients need not name what they send, and may send
                # again what is stored: pages that begin after an id would go in a circle.
                known = f"item_{number}_{response_id}"
            taken.add(known)
            shown.append(_shown(item, known))
    return shown


def page_of(items: list[dict[str, Any]], page: Page) -> dict[str, Any] | None:
    """Return a page of items; None: there is none of the id that it comes after."""
    ordered = items[::-1] if page.is_descending else items
    begin = 0
    if page.after is not None:
        places = [at for at, item in enumerate(ordered) if item["id"] == page.after]
        if not places:
            return None
        begin = places[0] + 1
    data = ordered[begin : begin + page.limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": begin + page.limit < len(ordered),
    }


def _shown(item: dict[str, Any], item_id: str) -> dict[str, Any]:
    shown = {"type": "message", **item} if "role" in item else dict(item)
    content = shown.get("content")
    if isinstance(content, str):
        kind = "output_text" if shown.get("role") == "assistant" else "input_text"
        shown["content"] = [{"type": kind, "text": content}]
    return {**shown, "id": item_id}
