"""A call that has ended, as objectives see it."""

from __future__ import annotations

from router.errors import RejectReason
from router.slo.judging import End, Ended
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
    served, ttft_s, first_tokens_s = call.served, None, None
    if served.ttft_s is not None and call.plan is not None and not call.reply.verdicts:
        # A tool call is held until it is valid, and of use when it is whole: it has neither.
        ttft_s = served.ttft_s - served.ttft_paced_s
        # Tokens of several answers come mixed.
        first_tokens_s = served.first_tokens_s if call.plan.parsed.num_sequences == 1 else None
    usage = served.usage
    return Ended(
        _end_of(call),
        _read_at(call, now) - call.started,
        ttft_s,
        first_tokens_s,
        tokens=served.delivered_tokens if usage is None else usage.completion_tokens,
        is_stream=call.parsed is not None and call.parsed.stream,
        is_timed=_is_timed(call),
    )


def _read_at(call: Call, now: float) -> float:
    """When the engine had given all of the answer."""
    tokens, at = call.reply.stream.read
    # What came after the last that was held back went out when it came.
    return at if tokens and tokens == call.served.delivered_tokens else now


def _end_of(call: Call) -> End:
    if call.outcome is Outcome.REFUSED and call.refused is not None:
        return _REFUSALS[call.refused.reason]
    return _ENDS.get(call.outcome, End.EXCUSED)


def _is_timed(call: Call) -> bool:
    """Whether somebody waits for the answer of an engine: no background work, no `flex`."""
    if not call.route.generates or call.background is not None or call.parsed is None:
        return False
    return priority_of(call.tenant, call.parsed) <= call.tenant.tier.priority
