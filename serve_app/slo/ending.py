"""A call that has ended, as objectives see it."""

from __future__ import annotations

from router.errors import RejectReason
from router.slo.judging import FIRST_TOKENS, End, Ended
from serve_app.protocol.errors import status_of
from serve_app.request.call import Call, Outcome
from serve_app.request.priority import priority_of

_ENDS = {
    Outcome.ANSWERED: End.ANSWERED,
    Outcome.LEFT: End.LEFT,
    Outcome.FAILED: End.FAILED,
    Outcome.BROKEN: End.FAILED,
}

_REFUSALS = {
    reason: End.FAILED if reason is RejectReason.SHED or status_of(reason) >= 500 else End.EXCUSED
    for reason in RejectReason
}
"""A shed request is a 429 and still the service's doing: it had no room for it."""


def ended_of(call: Call, now: float) -> Ended:
    """Return what objectives need to know of a call; `now` is `time.perf_counter()`.

    Time that tokens waited under their tenant's own ceiling is not the service's. The first
    is counted as it would have gone out; the others when the engine had given them.
    """
    served, stream = call.served, call.reply.stream
    tokens = served.delivered_tokens
    if served.usage is not None:
        tokens = served.usage.completion_tokens
    read_tokens, read_at = stream.read
    # What came after the last that was held back went out when it came.
    is_paced = read_tokens > 0 and read_tokens == served.delivered_tokens
    took_s = (read_at if is_paced else now) - call.started
    ttft_s = served.ttft_s
    return Ended(
        end=_end_of(call),
        took_s=took_s,
        ttft_s=None if ttft_s is None else ttft_s - served.ttft_paced_s,
        first_tokens_s=_first_tokens_s(call, tokens, took_s),
        tokens=tokens,
        is_stream=call.parsed is not None and call.parsed.stream,
        is_timed=_is_timed(call),
    )


def _end_of(call: Call) -> End:
    if call.outcome is Outcome.REFUSED and call.refused is not None:
        return _REFUSALS[call.refused.reason]
    return _ENDS.get(call.outcome, End.EXCUSED)


def _first_tokens_s(call: Call, tokens: int, took_s: float) -> float | None:
    """When the stream's first tokens were there; those of a held call come with its end."""
    if call.plan is None or call.plan.parsed.num_sequences > 1:
        # Tokens of several answers come mixed.
        return None
    found = call.served.first_tokens_s
    is_held = found is None and call.reply.gate is not None and call.plan.parsed.stream
    if is_held and call.outcome is Outcome.ANSWERED and tokens >= FIRST_TOKENS:
        return took_s
    return found


def _is_timed(call: Call) -> bool:
    """Whether somebody waits for the answer of an engine: no background work, no `flex`."""
    if not call.route.generates or call.background is not None or call.parsed is None:
        return False
    return priority_of(call.tenant, call.parsed) <= call.tenant.tier.priority
