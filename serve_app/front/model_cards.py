"""`/v1/models` as vLLM lists models, and as Anthropic does.

A card has the window twice: `max_model_len` is the engine's, by vLLM's name, and
`context_length` (Anthropic's form: `max_input_tokens`) is what the caller may fill, which is
less where the caller's tier bounds what a session holds. Both count prompt and answer
together. What they are for `auto` is `router.routing.lane.auto_window`.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

from router.routing.aliases import AUTO
from router.routing.lane import auto_window
from router.routing.policy import RoutingPolicy
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


class ModelCards:
    """The models of one caller: `auto`, lanes, their model ids, and aliases.

    Args:
        rules: which lanes are open to the caller.
        session_tokens: what a session of the caller may hold; None: as much as a window does.

    """

    def __init__(
        self, policy: RoutingPolicy, rules: TierRules, session_tokens: int | None = None
    ) -> None:
        self._policy = policy
        self._rules = rules
        self._session_tokens = session_tokens
        self._own = {AUTO, *policy.lanes, *policy.by_model}

    def all(self) -> list[dict[str, Any]]:
        """List the names that are open to the caller, and the aliases that are to be listed."""
        policy = self._policy
        lanes = [lane for lane in policy.lanes.values() if self._rules.allows(lane.name)]
        own = [AUTO, *(x.name for x in lanes), *(x.model_id for x in lanes)]
        cards = map(self.find, dict.fromkeys([*own, *policy.aliases.listed]))
        return [card for card in cards if card is not None]

    def find(self, name: str) -> dict[str, Any] | None:
        """Return the card of any name that the caller may ask for, listed or not."""
        if self._policy.is_auto(name):
            window = auto_window(self._policy, self._rules)
            return self._card(name, AUTO, window)
        lane = self._policy.find(name)
        if lane is None or not self._rules.allows(lane.name):
            return None
        card = self._card(name, lane.model_id, lane.window_tokens)
        return card | {"lane": lane.name}

    def _card(self, name: str, root: str, window: int | None) -> dict[str, Any]:
        bounds = (window, self._session_tokens)
        card = {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "pointsman",
            # The engine would say where its files lie.
            "root": root,
            "parent": None,
            "permission": [{"id": f"modelperm-{name}", **_PERMISSION}],
            "max_model_len": window,
            "context_length": min((x for x in bounds if x is not None), default=None),
        }
        alias = self._policy.aliases.find(name)
        is_alias = alias is not None and name != AUTO and name not in self._own
        return card | {"alias_of": alias} if is_alias else card


def anthropic_card(card: dict[str, Any]) -> dict[str, Any]:
    alias = card.get("alias_of")
    return {
        "type": "model",
        "id": card["id"],
        # What pickers show: what an alias is here.
        "display_name": card["id"] if alias is None else f"{card['id']} ({alias})",
        "created_at": UNKNOWN_DATE,
        "lifecycle": "active",
        "max_input_tokens": card["context_length"],
        "max_tokens": card["context_length"],
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
