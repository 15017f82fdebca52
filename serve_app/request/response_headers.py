"""The response headers that are ours."""

from __future__ import annotations

import time

from router.limits.ceiling import TenantCeiling
from router.types import Reason
from serve_app.request.call import Call
from serve_app.request.stages import server_timing

Headers = list[tuple[bytes, bytes]]

SERVER_TIMING = b"server-timing"

_REQUESTS, _TOKENS = (
    (b"x-ratelimit-limit-" + kind, b"x-ratelimit-remaining-" + kind, b"x-ratelimit-reset-" + kind)
    for kind in (b"requests", b"tokens")
)


def response_headers(call: Call) -> Headers:
    """Return what was decided: on every answer, refusals and streams included."""
    # x-request-id is set by Serve's own middleware, from the same header.
    headers: Headers = []
    if call.session_id:
        headers.append((b"x-session-id", call.session_id.encode("latin-1", "replace")))
    if call.decision is not None:
        headers += [
            (b"x-pointsman-lane", call.decision.lane.name.encode()),
            (b"x-pointsman-model", call.decision.lane.model_id.encode()),
            *_reasons(call.decision.reason, is_waking=call.reply.is_waking),
        ]
    headers += shape_headers(call)
    if call.parsed is not None and call.parsed.tool_set is not None:
        headers.append((b"x-pointsman-tools", call.parsed.tool_set.label.encode()))
    if call.parsed is not None and call.parsed.dropped_tools:
        headers.append(
            (b"x-pointsman-tools-dropped", ", ".join(call.parsed.dropped_tools).encode())
        )
    if call.reply.repairs:
        headers.append((b"x-pointsman-tool-repair", ", ".join(call.reply.repairs).encode()))
    if call.charge.ceiling is not None:
        headers += ratelimit_headers(call.charge.ceiling)
    if call.wants_debug:
        headers += _debug_headers(call)
    return headers


def _reasons(routed: Reason, *, is_waking: bool) -> Headers:
    """Return why it is that lane, and before that, if so, that it slept."""
    why = routed.value.encode()
    if is_waking:
        return [(b"x-pointsman-reason", b"waking"), (b"x-pointsman-routed", why)]
    return [(b"x-pointsman-reason", why)]


def shape_headers(call: Call) -> Headers:
    """Return what was changed of the conversation, once that is settled."""
    if call.plan is not None and call.plan.is_open:
        return []
    headers: Headers = []
    if call.history is not None:
        headers.append((b"x-pointsman-history", call.history.header))
    if call.guarded is not None and (cut := call.guarded.header) is not None:
        headers.append((b"x-pointsman-tool-results", cut))
    return headers


def stream_headers(call: Call) -> Headers:
    """Return all headers of a stream, as far as they are known when it begins."""
    return [
        *response_headers(call),
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
    ]


def ratelimit_headers(ceiling: TenantCeiling) -> Headers:
    """Return what is left of the tenant's minute."""
    now = time.monotonic()
    headers: Headers = []
    states = (
        (_REQUESTS, ceiling.requests_state(now=now)),
        (_TOKENS, ceiling.tokens_state(now=now)),
    )
    for (limit, remaining, reset), state in states:
        if state is not None:
            headers += [
                (limit, b"%d" % state.limit),
                (remaining, b"%d" % state.remaining),
                (reset, b"%.3fs" % state.reset_s),
            ]
    return headers


def _debug_headers(call: Call) -> Headers:
    headers: Headers = []
    decision = call.decision
    if decision is not None and decision.score is not None:
        headers += [
            (b"x-pointsman-score", f"{decision.score:.4f}".encode()),
            (b"x-pointsman-threshold", f"{decision.threshold:.4f}".encode()),
        ]
        if decision.propensity < 1:
            headers.append((b"x-pointsman-propensity", f"{decision.propensity:g}".encode()))
    if call.hold is not None and (unsure := call.hold.uncertainty) is not None:
        headers.append((b"x-pointsman-uncertainty", f"{unsure:.4f}".encode()))
    if call.served.replica is not None:
        headers.append((b"x-pointsman-replica", call.served.replica.id.encode()))
    if call.trace is not None and call.trace.is_sampled:
        headers.append((b"x-pointsman-trace-id", call.trace.trace.encode()))
    headers.append((SERVER_TIMING, _timing(call)))
    return headers


def repair_comment(call: Call) -> bytes:
    """What a header says where the head is not out yet: clients pass over comments."""
    if not call.reply.repairs or not call.reply.has_head:
        return b""
    return b": x-pointsman-tool-repair: %b\n\n" % ", ".join(call.reply.repairs).encode()


def timing_comment(call: Call) -> bytes:
    """Return what a stream's head could not say yet of its stages, where that was asked for.

    A comment of the stream: whoever reads server-sent events passes over it.
    """
    return b": %b: %b\n\n" % (SERVER_TIMING, _timing(call)) if call.wants_debug else b""


def _timing(call: Call) -> bytes:
    return server_timing(call.stages, time.perf_counter() - call.started)
