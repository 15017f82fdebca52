"""What marks a request as a background one, from its headers and its body.

Headers are what Claude Code, Codex and OpenCode send (docs/clients.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from router.agents.background import Background, Marks, find_background
from router.routing.aliases import AUTO
from router.routing.policy import RoutingPolicy
from serve_app.agents.json_answers import schema_asked
from serve_app.bodies.parsed_request import ParsedRequest

BACKGROUND_HEADER = b"x-pointsman-background"

_SUB_AGENT = frozenset(
    {
        b"x-claude-code-agent-id",
        b"x-openai-subagent",
        b"x-codex-parent-thread-id",
        b"x-parent-session-id",
    }
)
_AGENT = frozenset(
    {b"x-claude-code-session-id", b"x-session-affinity", b"session-id", b"session_id"}
)

_ASKED = {b"1": True, b"true": True, b"0": False, b"false": False}

_PURPOSE_CHARS = 400
_PURPOSE = re.compile(
    r"\btitle generator\b|\btasked with summari[sz]ing conversations\b", re.IGNORECASE
)

MAX_TITLE_FIELDS = 2
"""Of a title's schema: the title, and perhaps whether the topic is new."""


def background_of(
    parsed: ParsedRequest, headers: Mapping[bytes, bytes], policy: RoutingPolicy
) -> Background | None:
    """Return why nobody waits for a request; None: somebody does."""
    asked = _ASKED.get(headers.get(BACKGROUND_HEADER, b"").strip().lower())
    if not parsed.route.answers:
        return Background.ASKED if asked and parsed.route.generates else None
    model = parsed.model
    # An alias is a vendor's name still.
    is_own = model in (None, AUTO) or model in policy.lanes or model in policy.by_model
    has_tools = parsed.tools > 0
    marks = Marks(
        asked=asked,
        is_sub_agent=_has_any(headers, _SUB_AGENT),
        is_agent=_has_any(headers, _AGENT),
        has_tools=has_tools,
        writes_title=not has_tools and _writes_title(parsed),
        output_tokens=parsed.output_tokens,
        model=None if is_own else model,
    )
    return find_background(marks)


def _has_any(headers: Mapping[bytes, bytes], names: frozenset[bytes]) -> bool:
    if names.isdisjoint(headers):
        # The common case, in a microsecond less.
        return False
    return any(headers.get(name) for name in names)


def _writes_title(parsed: ParsedRequest) -> bool:
    if _PURPOSE.search(parsed.prompt.system[:_PURPOSE_CHARS]) is not None:
        return True
    schema = schema_asked(parsed.body)
    fields = schema.get("properties") if isinstance(schema, dict) else None
    return isinstance(fields, dict) and "title" in fields and len(fields) <= MAX_TITLE_FIELDS
