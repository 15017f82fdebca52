"""Kept requests, read and scored as the ingress would."""

from __future__ import annotations

import json

from classifier.features.conversation import Conversation
from classifier.scorer import Scorer
from evals.traces.trace import Trace
from router.errors import Rejected
from serve_app.bodies.parsed_request import ParsedRequest, parse
from serve_app.bodies.routes import ROUTES


def parsed_of(trace: Trace) -> ParsedRequest | None:
    """Read a trace's body; None: it was not kept, or no body that is served."""
    route = ROUTES.get(trace.api)
    if route is None or not trace.body:
        return None
    parsed = parse(json.dumps(dict(trace.body)).encode(), route)
    return None if isinstance(parsed, Rejected) else parsed


def score_of(scorer: Scorer, parsed: ParsedRequest) -> float:
    """Score a request that has a user's turn, as redaction has left it."""
    users = parsed.prompt.users
    conversation = Conversation(users[-1], parsed.prompt.system, len(users), parsed.tools)
    return scorer.score(conversation)
