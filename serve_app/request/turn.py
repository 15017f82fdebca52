"""A request as the choice of a replica sees it: what would have to be read again elsewhere."""

from __future__ import annotations

from typing import Any

from router.placement.affinity import TurnFacts
from serve_app.bodies.json_body import dump
from serve_app.bodies.parsed_request import ParsedRequest

# English text, roughly, in any of the fleet's tokenizers.
BYTES_PER_TOKEN = 4

_OPENING = ("system", "developer")


def turn_facts_of(parsed: ParsedRequest, group: str, session: str) -> TurnFacts:
    """One turn of a session.

    The opening is the system prompt and the tools, which a group's sessions share.
    History is what stands between it and the newest message, be that the user's or a
    tool's answer. Tokens are reckoned from bytes: the comparison they enter needs no
    better figure.
    """
    prompt, tools = parsed.prompt, parsed.body.get("tools")
    opening = len(prompt.system) + (len(dump(tools)) if tools else 0)
    turns = _turns(parsed.body)
    history = prompt.bytes - opening - len(dump(turns[-1])) if len(turns) > 1 else 0
    return TurnFacts(
        group=group,
        session=session,
        history_tokens=max(0, history) // BYTES_PER_TOKEN,
        system_tokens=opening // BYTES_PER_TOKEN,
    )


def _turns(body: dict[str, Any]) -> list[Any]:
    """The messages after the opening; of a bare prompt, none."""
    items = body.get("messages") or body.get("input")
    if not isinstance(items, list):
        return []
    return [x for x in items if not (isinstance(x, dict) and x.get("role") in _OPENING)]
