"""Whether a plan fits: its lane's window, and what one session may hold."""

from __future__ import annotations

from router.errors import Rejected, RejectReason
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.protocol.too_long import prompt_too_long, session_too_long
from serve_app.request.answer_limit import needed_room
from serve_app.request.call import Call
from serve_app.request.plan import Plan


def check_window(plan: Plan) -> Rejected | None:
    """Refuse what is sure not to fit; what may fit is for the engine to judge."""
    window = plan.decision.lane.window_tokens
    if plan.longest_tokens <= 2 * window:
        return None
    return Rejected(
        RejectReason.CONTEXT_LENGTH_EXCEEDED,
        prompt_too_long(plan.longest_tokens, window),
        param=plan.parsed.route.prompt,
    )


def check_session(call: Call, plan: Plan) -> Rejected | None:
    """Refuse a conversation that outgrows what one session may hold of the KV cache."""
    limit = session_limit(call)
    if limit is None or not call.route.answers:
        return None
    room = needed_room(plan.parsed, wish_of(call, plan.parsed), limit)
    if plan.prompt_tokens + room <= limit:
        return None
    return Rejected(
        RejectReason.CONTEXT_LENGTH_EXCEEDED,
        session_too_long(plan.prompt_tokens, room, limit),
        param=plan.parsed.route.prompt,
    )


def wish_of(call: Call, parsed: ParsedRequest) -> int:
    wish = parsed.output_tokens
    return call.policies.default_output_tokens if wish is None else wish


def session_limit(call: Call) -> int | None:
    kv = call.tenant.kv
    return None if kv is None else kv.tokens_per_session
