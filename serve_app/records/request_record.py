"""What is kept of a finished request, by the request log and for feedback."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from serve_app.bodies.parsed_request import Prompt


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One finished generation request.

    Attributes:
        time: when it ended, in UTC.
        lane: None, as `model` and `reason`, when it was refused before there was one.
        code: `200`, `499` (the client left), `broken` (the engine did), or an error code.
        prompt_tokens: as the engine counted; None when it did not.
        ttft_s: None unless it was streamed.
        background: what marked it as one that nobody waits for.
        cached_tokens: of the prompt, found in the prefix cache; None when it was not counted.
        session: a hash of the conversation's key, the same for all of its requests.
        tool_outcomes: how each tool call was judged, as the model made it first; None: there
            was none, or none was offered.
        tool_repairs: steps that were taken to have invalid ones made again.
        trace_id: of its span, 32 hexadecimal digits; None: it has none.
        prompt: its text, for a tenant that keeps prompts; else None.
        keep_prompt_days: how long the tenant keeps prompts; 0: not at all.

    """

    time: datetime
    request_id: str
    tenant: str
    tier: str
    lane: str | None
    model: str | None
    reason: str | None
    score: float | None
    threshold: float | None
    classifier: str | None
    shadow_score: float | None
    shadow_classifier: str | None
    code: str
    prompt_tokens: int | None
    completion_tokens: int | None
    duration_s: float
    ttft_s: float | None
    background: str | None = None
    tool_outcomes: tuple[str, ...] | None = None
    tool_repairs: tuple[str, ...] | None = None
    trace_id: str | None = None
    cached_tokens: int | None = None
    session: str | None = None
    prompt: Prompt | None = None
    keep_prompt_days: int = 0
