"""`/v1/models` as vLLM lists models, and as Anthropic does."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

from router.routing.lane import AUTO, RoutingPolicy
from router.types import TierRules
from serve_app.protocol.errors import Dialect

_PERMISSION = {
    "object": "model_permission",
    "created": 0,
    "allow_create_engine": False,
    "allow_sampling": True,
    "allow_logprobs": True,
    "allow_search_indices": False,
    "allow_view": True,
    "allow_fine_tuning": False,
    "organization": "*",
    "group": None,
    "is_blocking": False,
}

_LIMIT = re.compile("[1-9][0-9]{0,3}")

UNKNOWN_DATE = "1970-01-01T00:00:00Z"
"""What Anthropic says of a model whose release date is not known."""


def model_cards(policy: RoutingPolicy, rules: TierRules) -> list[dict[str, Any]]:
    """List `auto`, the lanes and their model ids, as far as these rules allow them."""
    lanes = [lane for lane in policy.lanes.values() if rules.allows(lane.name)]
    names = dict.fromkeys([AUTO, *(x.name for x in lanes), *(x.model_id for x in lanes)])
    return [_card(name, policy) for name in names]


def _card(name: str, policy: RoutingPolicy) -> dict[str, Any]:
    lane = policy.find(name)
    card = {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "pointsman",
        # The engine would say where its files lie.
        "root": lane.model_id if lane is not None else name,
        "parent": None,
        "permission": [{"id": f"modelperm-{name}", **_PERMISSION}],
    }
    if lane is not None:
        card |= {"lane": lane.name, "max_model_len": lane.window_tokens}
    return card


def anthropic_card(card: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "model",
        "id": card["id"],
        "display_name": card["id"],
        "created_at": UNKNOWN_DATE,
        "lifecycle": "active",
        "max_input_tokens": card.get("max_model_len"),
        "max_tokens": card.get("max_model_len"),
    }


def listing(cards: list[dict[str, Any]], dialect: Dialect, query: bytes) -> dict[str, Any]:
    """List the models in the form of the caller's API."""
    if dialect is Dialect.ANTHROPIC:
        return anthropic_page(cards, query)
    return {"object": "list", "data": cards}


def listed(card: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    return anthropic_card(card) if dialect is Dialect.ANTHROPIC else card


def anthropic_page(cards: list[dict[str, Any]], query: bytes) -> dict[str, Any]:
    """Return one page of them, as `limit`, `after_id` and `before_id` ask for it."""
    asked = {k: v[-1] for k, v in parse_qs(query.decode("latin-1")).items()}
    ids = [card["id"] for card in cards]
    first, last = 0, len(ids)
    if asked.get("after_id") in ids:
        first = ids.index(asked["after_id"]) + 1
    if asked.get("before_id") in ids:
        last = ids.index(asked["before_id"])
    limit = asked.get("limit", "")
    many = int(limit) if _LIMIT.fullmatch(limit) else len(ids)
    shown = cards[first:last][-many:] if "before_id" in asked else cards[first:last][:many]
    return {
        "data": [anthropic_card(card) for card in shown],
        "has_more": len(shown) < last - first,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }
