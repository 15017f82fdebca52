"""What the span of an LLM call says of it: never a prompt, an argument, a result or a key."""

from __future__ import annotations

from typing import Any

from router.types import Task
from serve_app.protocol.errors import status_of
from serve_app.request.call import Call, Outcome
from serve_app.request.stages import Stage
from serve_app.tracing import conventions as c
from serve_app.tracing.span import Attributes, text

MAX_CALLS = 64
"""Judgements and steps that are listed; an answer may make thousands of calls."""

MAX_NUMBER = 2**53
"""Of a setting that clients choose: a larger one is nothing that an engine takes."""

_STAGES = {stage: c.STAGE.format(stage) for stage in Stage}


def common_attributes(call: Call) -> Attributes:
    """What a call's span has in common with those of its turn and task."""
    known: Attributes = {c.TENANT: call.tenant.name, c.TIER: call.tenant.tier_name}
    if call.session_id:
        known[c.CONVERSATION_ID] = text(call.session_id)
    task = call.headers.get(b"x-task-id")
    if task:
        known[c.TASK_ID] = text(task.decode("utf-8", "replace"))
    return known


def operation_of(call: Call) -> str:
    if call.route.task is not Task.GENERATE:
        # The conventions have no word for scores: an embedding model's are by vectors.
        return c.EMBEDDINGS
    return c.TEXT_COMPLETION if call.route.path == "/v1/completions" else c.CHAT


def call_attributes(call: Call) -> Attributes:
    """Return the attributes of a call that has ended."""
    known: Attributes = {
        c.OPERATION: operation_of(call),
        c.PROVIDER: c.VLLM,
        c.REQUEST_ID: text(call.request_id),
        c.CODE: call.code,
        **common_attributes(call),
        **_asked(call),
        **_decided(call),
        **_done(call),
        **_tools(call),
    }
    if call.refused is not None:
        known[c.HTTP_STATUS] = status_of(call.refused.reason)
    if error := error_of(call):
        known[c.ERROR_TYPE] = error
    return known


def error_of(call: Call) -> str:
    """Return the class of error that a call ended with; a client that left is none."""
    return "" if call.outcome in (Outcome.ANSWERED, Outcome.LEFT) else call.code


def _asked(call: Call) -> Attributes:
    if call.parsed is None:
        return {}
    body = call.parsed.body
    known: Attributes = {c.REQUEST_STREAM: call.parsed.stream}
    if call.parsed.output_tokens is not None:
        known[c.REQUEST_MAX_TOKENS] = call.parsed.output_tokens
    if call.parsed.n != 1:
        known[c.REQUEST_CHOICES] = call.parsed.n
    for field, name in (("temperature", c.REQUEST_TEMPERATURE), ("top_p", c.REQUEST_TOP_P)):
        value = _number(body.get(field))
        if value is not None:
            known[name] = value
    if call.background is not None:
        known[c.BACKGROUND] = call.background
    return known


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # No float holds what an integer in JSON may be.
    return float(value) if is_number and abs(value) <= MAX_NUMBER else None


def _decided(call: Call) -> Attributes:
    decision, plan = call.decision, call.plan
    if decision is None:
        return {}
    asked = decision if plan is None else plan.decision
    known: Attributes = {
        c.REQUEST_MODEL: asked.lane.model_id,
        c.LANE: decision.lane.name,
        c.REASON: decision.reason.value,
    }
    if decision.score is not None:
        known[c.SCORE] = decision.score
    if decision.threshold is not None:
        known[c.THRESHOLD] = decision.threshold
    hold = call.hold
    if hold is not None and hold.outcome is not None:
        known[c.HOLD] = hold.outcome.value
        if (unsure := hold.uncertainty) is not None:
            known[c.UNCERTAINTY] = unsure
    return known


def _done(call: Call) -> Attributes:
    served, known = call.served, Attributes()
    if served.replica is not None:
        known[c.REPLICA] = served.replica.id
    if served.affinity is not None:
        known[c.AFFINITY] = served.affinity.value
    if call.decision is not None and call.outcome is Outcome.ANSWERED:
        known[c.RESPONSE_MODEL] = call.decision.lane.model_id
    usage = served.counted
    if usage is not None:
        known[c.INPUT_TOKENS] = usage.prompt_tokens
        known[c.CACHED_TOKENS] = usage.cached_tokens
        known[c.OUTPUT_TOKENS] = usage.completion_tokens
        if usage.reasoning_tokens:
            known[c.REASONING_TOKENS] = usage.reasoning_tokens
    if served.ttft_s is not None:
        known[c.TIME_TO_FIRST_CHUNK] = served.ttft_s
    if served.paced_s:
        known[c.PACED_S] = served.paced_s
    if call.reply.recoveries:
        known[c.RECOVERY] = list(call.reply.recoveries)
    known |= {_STAGES[stage]: call.stages[stage] for stage in Stage if stage in call.stages}
    return known


def _tools(call: Call) -> Attributes:
    reply, known = call.reply, Attributes()
    if reply.verdicts:
        known[c.TOOL_OUTCOMES] = [x.value for x in reply.verdicts[:MAX_CALLS]]
    if reply.repairs:
        known[c.TOOL_REPAIRS] = reply.repairs[:MAX_CALLS]
    return known
