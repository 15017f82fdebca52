"""A request as the choice of a replica sees it: what would have to be read again elsewhere."""

from __future__ import annotations

from router.placement.affinity import TurnFacts
from serve_app.bodies.json_body import dump
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.bodies.turns import SYSTEM_ROLES

# English text, roughly, in any of the fleet's tokenizers.
BYTES_PER_TOKEN = 4


def turn_facts_of(parsed: ParsedRequest, group: str, session: str, task: str = "") -> TurnFacts:
    """One turn of a session, and of a task if it names one.

    The opening is the system prompt and the tools, which a group's sessions share.
    History is what stands between it and the newest message, be that the user's or a
    tool's answer. Tokens are reckoned from bytes: the comparison they enter needs no
    better figure.
    """
    prompt, tools = parsed.prompt, parsed.body.get("tools")
    opening = len(prompt.system) + (len(dump(tools)) if tools else 0)
    roles = ((x, x.get("role") if isinstance(x, dict) else None) for x in parsed.messages)
    turns = [message for message, role in roles if role not in SYSTEM_ROLES]
    history = prompt.bytes - opening - len(dump(turns[-1])) if len(turns) > 1 else 0
    return TurnFacts(
        group=group,
        session=session,
        history_tokens=max(0, history) // BYTES_PER_TOKEN,
        system_tokens=opening // BYTES_PER_TOKEN,
        task=task,
    )
